"""A run's model and its base, asked the same: one set of weights, the adapter on and off.

Both write in turn, a token each, so that neither has to wait for the other, and nothing but the
words tells whose an answer is.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.modelfile import stop_words
from backprop_tui.core.rows import Message
from backprop_tui.core.text import count
from backprop_tui.core.votes import Answer, How, Sampling, Side, as_read
from backprop_tui.train.encoded import Untrainable
from backprop_tui.train.libraries import load_libraries
from backprop_tui.train.trying import Tryable

LIBRARIES = ("torch", "transformers", "datasets", "peft")

Say = Callable[[str], None]
Told = Callable[[Side, Answer], None]


class Duo:
    """The loaded model or models. One answer at a time, of one thread."""

    def __init__(self, found: Tryable, say: Say) -> None:
        """Load. InputError: the weights or the tokenizer cannot be loaded; RunError RUN_NO_CUDA."""
        say("loading the libraries")
        load_libraries(LIBRARIES)
        from backprop_tui.train.batches import Encoder
        from backprop_tui.train.model import load_model, load_tokenizer, use_device

        self.found = found
        run, trust = found.run, found.trust_remote_code
        use_device(run, found.plan, found.tuned)
        # Saved beside the weights, so it has the chat template of the training.
        beside = replace(found.tuned, path=str(found.weights), commit=None)
        templateless = run.model_copy(
            update={"model": run.model.model_copy(update={"chat_template": None})}
        )
        tokenizer = load_tokenizer(templateless, beside, trust_remote_code=trust)
        self._tokenizer = tokenizer
        self._encoder = Encoder(tokenizer, run.data.max_length)
        say(f"loading {found.tuned.name} ({found.where})")
        model = load_model(run, found.plan, found.tuned, trust_remote_code=trust)
        self._beside: Any = None
        if run.lora is not None:
            from peft import PeftModel

            say("loading the adapter")
            model = PeftModel.from_pretrained(model, str(found.weights), is_trainable=False)
        elif found.base is not None:
            say(f"loading {found.base.name} beside it")
            self._beside = load_model(run, found.plan, found.base, trust_remote_code=trust)
            self._beside.eval()
        self._model = model.eval()
        self._stops = self._stop_ids(model)

    def prompt_ids(self, prompt: Sequence[Message]) -> list[int]:
        """Token ids of a prompt as the training rendered it, up to where an answer begins.

        InputError TRY_PROMPT_UNUSABLE: the chat template refuses it, or it fills the context.
        """
        from backprop_tui.train.template import MarksLost

        template, words = self._encoder.template, self._encoder.words
        try:
            try:
                text = template.render(tuple(prompt), opening=True)
            except MarksLost:
                text = replace(template, keep_words=False).render(tuple(prompt), opening=True)
        except Untrainable as error:
            raise InputError(
                "The model's chat template refuses this prompt.",
                hint="some templates take no system prompt, or want user and assistant in turn",
                code="TRY_PROMPT_UNUSABLE",
            ) from error
        ids = words.ids((text,))[text]
        most = self.found.tuned.context
        if most is not None and len(ids) >= most:
            raise InputError(
                f"The prompt has {count(len(ids))} tokens, and the model reads {count(most)}.",
                hint="shorten it",
                code="TRY_PROMPT_UNUSABLE",
            )
        return ids

    def answer(
        self,
        prompt: Sequence[Message],
        sampling: Sampling,
        told: Told,
        stopping: Callable[[], bool] = lambda: False,
        first: Side = "base",
    ) -> dict[Side, Answer]:
        """Both sides write, a token each in turn; `told` hears of each token.

        Sampling draws from the whole distribution (no top-p, no penalty), each side with the same
        seed. stopping: asked before each token. first: the side that begins.

        InputError TRY_PROMPT_UNUSABLE. RunError TRY_FAILED: out of memory, or no numbers.
        """
        import torch

        ids = self.prompt_ids(as_read(tuple(prompt), sampling))
        room = (self.found.tuned.context or 1 << 62) - len(ids)
        most = min(sampling.max_new_tokens, room)
        sides = sorted(self.found.sides, key=lambda side: side != first)
        writers = {side: _Writer(self._on(side), ids, sampling) for side in sides}
        answers: dict[Side, Answer] = {}
        begun = time.monotonic()
        try:
            with torch.inference_mode():
                while len(answers) < len(writers):
                    for side, writer in writers.items():
                        if side in answers:
                            continue
                        how: How = "stopped"
                        if not stopping():
                            with self._as(side):
                                how = writer.step(self._stops, most)
                        text = self._text(writer.written, final=how != "writing")
                        seconds = time.monotonic() - begun
                        now = Answer(text, len(writer.written), how, seconds)
                        if how != "writing":
                            answers[side] = now
                        told(side, now)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise RunError(
                "There is no memory for such a long prompt and answer.",
                hint="shorten the prompt, or lower max new tokens",
                code="TRY_FAILED",
            ) from error
        return answers

    def _on(self, side: Side) -> Any:
        return self._beside if side == "base" and self._beside is not None else self._model

    def _as(self, side: Side) -> AbstractContextManager[Any]:
        """The adapter switched off while the base writes."""
        if side == "base" and self._beside is None:
            off: AbstractContextManager[Any] = self._model.disable_adapter()
            return off
        return nullcontext()

    def _stop_ids(self, model: Any) -> frozenset[int]:
        """The tokens that end an answer: those an export would name as stop words."""
        tokenizer = self._tokenizer
        ended = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        ids = {ended} if isinstance(ended, int) else set(ended or ())
        words = stop_words(
            [tokenizer.eos_token], tokenizer.all_special_tokens, tokenizer.chat_template
        )
        return frozenset(ids | set(tokenizer.convert_tokens_to_ids(list(words))))

    def _text(self, ids: list[int], *, final: bool) -> str:
        """Decoded; a character whose bytes are not all there yet waits."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text if final else text.rstrip("\N{REPLACEMENT CHARACTER}")


class _Writer:
    """One answer as it grows: its tokens, its cache, its draws."""

    def __init__(self, model: Any, ids: list[int], sampling: Sampling) -> None:
        import torch

        self.written: list[int] = []
        self._model, self._all, self._temperature = model, list(ids), sampling.temperature
        self._device = next(model.parameters()).device
        self._cache: Any = None
        self._draws = torch.Generator().manual_seed(sampling.seed)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        takes = inspect.signature(inner.forward).parameters
        # Logits of a whole prompt by the vocabulary would be the largest thing in memory.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def step(self, stops: frozenset[int], most: int) -> How:
        """Write one token; "writing", or how it ended. RunError TRY_FAILED: no number."""
        import torch

        new = self._all if self._cache is None else self._all[-1:]
        found = self._model(
            input_ids=torch.tensor([new], device=self._device),
            past_key_values=self._cache,
            use_cache=True,
            **self._options,
        )
        self._cache = getattr(found, "past_key_values", None)  # without one all is read again
        logits = found.logits[0, -1].float().cpu()
        if torch.isnan(logits).any():
            raise RunError(
                "The model's figures are no numbers, so it writes nothing.",
                hint="the weights may be broken: backprop-tui review RUN",
                code="TRY_FAILED",
            )
        if self._temperature > 0:
            shares = torch.softmax(logits / self._temperature, dim=-1)
            token = int(torch.multinomial(shares, 1, generator=self._draws))
        else:
            token = int(logits.argmax())
        if token in stops:
            return "ended"
        self.written.append(token)
        self._all.append(token)
        return "full" if len(self.written) >= most else "writing"

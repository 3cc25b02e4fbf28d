"""A subject's weights in memory, one side at a time: base + adapter is one model, not two."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from backprop_tui.core.facts import ModelFacts
from backprop_tui.train.evals.subject import Side, Subject
from backprop_tui.train.model import load_model, load_tokenizer, stay_as_loaded, use_device

HALF = ("bf16", "nf4", "int8")  # computed in 16 bits, as training does


def tokenizer_of(subject: Subject, *, trust_remote_code: bool) -> Any:
    """The tokenizer of the run's result, with the chat template it was trained with; of a model by
    itself its own. InputError: it cannot be loaded."""
    run, facts = subject.run, subject.facts
    kept = subject.weights
    if kept is not None and (kept / "tokenizer_config.json").is_file():
        facts = replace(facts, path=str(kept), commit=None)
        # The template of the run file stands in that folder already.
        run = run.model_copy(update={"model": run.model.model_copy(update={"chat_template": None})})
    return load_tokenizer(run, facts, trust_remote_code=trust_remote_code)


class Weights:
    """Loads what is needed when it is needed. say: told what is going on."""

    def __init__(
        self, subject: Subject, say: Callable[[str], None], *, trust_remote_code: bool
    ) -> None:
        self.subject, self.say, self.trust_remote_code = subject, say, trust_remote_code
        self._model: Any = None
        self._loaded: Side | None = None

    @contextmanager
    def of(self, side: Side) -> Iterator[Any]:
        """The model of one side, ready to be read with. InputError: it cannot be loaded."""
        adapter = self.subject.adapter
        if self._loaded is None or (adapter is None and self._loaded != side):
            self._load(side)
        off = adapter is not None and side == "base"
        with self._model.disable_adapter() if off else nullcontext(), computing(self.subject):
            yield self._model

    def _load(self, side: Side) -> None:
        subject = self.subject
        if self._loaded is None:
            use_device(subject.run, subject.plan, subject.facts)
        self.close()  # two of them need not fit in memory
        run, plan, facts = subject.run, subject.plan, subject.facts
        if subject.weights and subject.adapter is None:
            # Full fine-tuning trains in float32, whatever precision its run file names.
            plan = replace(plan, precision="fp32")
            facts = _result(facts, subject) if side == "tuned" else facts
        self.say(f"loading {facts.name} in {plan.precision} on {plan.device}")
        model = load_model(run, plan, facts, trust_remote_code=self.trust_remote_code)
        if plan.precision == "nf4":
            stay_as_loaded(model)
        if subject.adapter is not None:
            model = _with_adapter(model, subject)
        model.eval()
        self._model, self._loaded = model, side

    def close(self) -> None:
        """Give the memory back."""
        if self._loaded is None:
            return
        self._model = self._loaded = None
        gc.collect()
        if self.subject.plan.device == "cuda":
            import torch

            torch.cuda.empty_cache()


def _with_adapter(model: Any, subject: Subject) -> Any:
    from peft import PeftModel

    from backprop_tui.train.engine.build import keep_inputs

    found = PeftModel.from_pretrained(model, str(subject.adapter), is_trainable=False)
    if computes_in(subject) is not None:
        keep_inputs(found)
    return found


def _result(facts: ModelFacts, subject: Subject) -> ModelFacts:
    return replace(facts, name=subject.name, path=str(subject.weights), commit=None)


def computing(subject: Subject) -> Any:
    """Autocast as in training inside, and no gradient."""
    import torch

    dtype = computes_in(subject)
    device = subject.plan.device
    stack = torch.no_grad()
    if dtype is None:
        return stack
    return _both(stack, torch.autocast(device, dtype=dtype))


@contextmanager
def _both(one: Any, other: Any) -> Iterator[None]:
    with one, other:
        yield


def computes_in(subject: Subject) -> Any:
    """The 16-bit type that products are made in, or None for float32."""
    import torch

    plan = subject.plan
    if plan.precision == "fp32":
        return None
    cuda = plan.device == "cuda"
    emulated = cuda and not torch.cuda.is_bf16_supported(including_emulation=False)
    if plan.precision in HALF and not emulated:
        return torch.bfloat16
    return torch.float16 if cuda else None

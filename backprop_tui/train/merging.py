"""An adapter merged into its base model at full precision, and whether both say the same.

Everything runs on the CPU: it works on any machine, and a card may be in use. The adapter of an nf4
or int8 run is merged into the weights those were made from, never into rounded ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backprop_tui.core.effective import effective
from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.modelfile import CONVERSATIONS
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.core.text import count, plural
from backprop_tui.probe.data import glance
from backprop_tui.probe.survey import data_source, rows_for
from backprop_tui.train.batches import Encoder
from backprop_tui.train.encoded import sequences
from backprop_tui.train.model import load_model

ROWS, TOKENS, TRIED = 3, 128, 16  # compared rows, tokens of each, rows that are encoded at most
# Largest difference of two logits, as a share of the largest logit. In float32 only the order of
# sums is left; a half type also rounds each weight and activation, and depth adds that up: a random
# model of 40 layers came to 0.086 in bf16 and 0.010 in fp16. So the weights are checked as well.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 0.15}
ROUNDINGS = 2.0  # of the larger of weight and update; the update is rounded, then the sum
REREAD = 1e-4  # share of the largest logit by which the model read back may differ
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
Logits = list[Any]  # a row: tokens x vocabulary, float32


@dataclass(frozen=True, slots=True)
class Agreement:
    """Merged against base + adapter. rounding: of a merged weight from base + update, in units of
    rounding. reread: difference of a logit once the model was read back. largest: difference of two
    logits. scale: largest logit.
    moved: how far the adapter itself moves a logit. same: of `tokens` places, those where both
    find the same next token likeliest."""

    precision: str
    rows: int
    whose: str
    tokens: int
    same: int
    largest: float
    scale: float
    moved: float
    rounding: float = 0.0
    reread: float = 0.0

    @property
    def tolerance(self) -> float:
        """The largest difference allowed."""
        return TOLERANCE[self.precision] * self.scale

    @property
    def holds(self) -> bool:
        """Whether they agree. Not a number is no agreement."""
        return (
            self.largest <= self.tolerance
            and self.rounding <= ROUNDINGS
            and self.reread <= REREAD * self.scale
        )

    @property
    def drowned(self) -> bool:
        """Whether rounding is as large as half of what the adapter does."""
        return self.largest > self.moved / 2

    def __str__(self) -> str:
        return (
            f"Read back with transformers alone and compared with base + adapter, both in "
            f"{self.precision}, on {plural(self.rows, 'row')} ({self.whose}), "
            f"{count(self.tokens)} tokens: the logits differ by at most {self.largest:.2g}, "
            f"{self.tolerance:.2g} allowed ({TOLERANCE[self.precision]:g} of the largest, "
            f"{self.scale:.3g}); the likeliest next token is the same at {count(self.same)}. "
            f"The adapter itself moves a logit by up to {self.moved:.2g}. Each merged weight is "
            f"base + update within {self.rounding:.2g} units of rounding, {ROUNDINGS:g} allowed."
        )


def merged_precision(run: RunFile) -> str:
    """The type that merged weights are written in: that of the run; of a quantised one bf16, or
    fp32 where it ran on a CPU."""
    made = run.provenance
    held = made.precision if made and made.precision else run.model.precision
    if held in BYTES:
        return held
    return "fp32" if made and made.device.startswith("CPU") else "bf16"


def rows_to_compare(run: RunFile, tokenizer: Any) -> tuple[list[list[int]], str]:
    """Token ids of a few rows, and whose they are: held out, trained on, or of our own where the
    run's data cannot be read any more."""
    try:
        loaded = glance(data_source(run))
    except InputError:
        loaded = None
    rows = rows_for(run, loaded.rows) if loaded else []
    whose = "of the run's data"
    if rows and loaded and loaded.whole:
        train, heldout = split(rows, run.data.heldout, run.data.heldout_seed)
        rows, whose = (heldout, "held out") if heldout else (train, "trained on")
    encoder = Encoder(tokenizer, run.data.max_length, cut_answers=True)
    found = encoder.encode(rows[:TRIED]).rows[:ROWS]
    if found:
        return [[token for token, _ in sequences(one)[0]][:TOKENS] for one in found], whose
    chats = [
        [{"role": role, "content": words} for role, words in turns] for turns in CONVERSATIONS[:2]
    ]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"][:TOKENS] for text in texts]
    return ids, "of our own, as the run's data cannot be read"


def merge(
    run: RunFile,
    facts: ModelFacts,
    adapter: Path,
    into: Path,
    rows: tuple[list[list[int]], str],
    say: Callable[[str], None],
    *,
    trust_remote_code: bool,
) -> Agreement:
    """Write base + adapter to `into` as one model, read it back and compare.

    RunError EXPORT_DIFFERS: they do not agree. InputError: the base cannot be loaded.
    """
    precision = merged_precision(run)
    plan = replace(effective(run, Facts(model=facts)), precision=precision, device="cpu")
    ids, whose = rows
    say(f"loading {facts.name} in {precision}")
    base = load_model(run, plan, facts, trust_remote_code=trust_remote_code)
    say("comparing base and adapter")
    untouched = _logits(base, ids)
    model = _with_adapter(base, adapter)
    wanted = _logits(model, ids)
    say("merging")
    rounding = _merge_layers(model)
    model = _merged(model)
    unread = _logits(model, ids)
    model.config.use_cache = json.loads(facts.config or "{}").get("use_cache", True)
    model.save_pretrained(str(into), safe_serialization=True)
    del base, model  # two of them need not fit in memory
    say("reading it back and comparing")
    found = _logits(_read_back(into, trust_remote_code=trust_remote_code), ids)
    agreement = Agreement(
        precision,
        len(ids),
        whose,
        tokens=sum(map(len, ids)),
        same=sum(
            int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(wanted, found, strict=True)
        ),
        largest=_apart(wanted, found),
        scale=_largest(wanted),
        moved=_apart(untouched, wanted),
        rounding=rounding,
        reread=_apart(unread, found),
    )
    if not agreement.holds:
        raise RunError(
            f"The merged model is not what base and adapter are. {agreement}",
            hint="nothing was kept; export the adapter as it is with --adapter",
            code="EXPORT_DIFFERS",
        )
    return agreement


def _with_adapter(base: Any, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(adapter), is_trainable=False)


def _merge_layers(model: Any) -> float:
    """Merge layer by layer; how far a weight came to lie from base + update, in units of rounding:
    the type's epsilon times the larger of the two."""
    import torch
    from peft.tuners.lora import LoraLayer

    worst = []
    for layer in model.modules():
        if not isinstance(layer, LoraLayer):
            continue
        weight = layer.get_base_layer().weight
        limits = torch.finfo(weight.dtype)
        with torch.no_grad():
            before = weight.detach().clone().float()
            update = sum(layer.get_delta_weight(name).float() for name in layer.active_adapters)
            layer.merge()
            unit = torch.maximum(before.abs(), update.abs()).clamp_min(limits.smallest_normal)
            worst.append(((weight.float() - before - update) / (unit * limits.eps)).abs().max())
    return float(torch.stack(worst).max())


def _merged(model: Any) -> Any:
    return model.unload()


def _read_back(folder: Path, *, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", use_safetensors=True, trust_remote_code=trust_remote_code
    )


def _logits(model: Any, rows: list[list[int]]) -> Logits:
    """Logits of each row by itself, so that nothing is padded."""
    import torch

    model.eval()
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([row])).logits[0].float() for row in rows]


def _apart(a: Logits, b: Logits) -> float:
    return _largest([one - other for one, other in zip(a, b, strict=True)])


def _largest(rows: Logits) -> float:
    """The largest number, whatever its sign; nan where one is nan, which max() would lose."""
    import torch

    return float(torch.stack([row.abs().max() for row in rows]).max())

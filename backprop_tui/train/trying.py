"""What is there to try of a run: its weights, its base, where they go. No library is loaded.

`tryable` refuses before anything slow. A full fine-tuning has no adapter to switch off, so its base
is loaded beside it where there is room.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from backprop_tui.core.effective import Effective, effective
from backprop_tui.core.errors import BackpropError, InputError
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import size
from backprop_tui.core.votes import SIDES, Side
from backprop_tui.probe.gpu import probe_gpu
from backprop_tui.probe.model import probe_model
from backprop_tui.train.exporting import base_changed, base_facts, with_result

# Bytes of a weight in memory; the small parts of quantised ones included.
BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "nf4": 0.65}
HEADROOM = 1.1
PIECE = 1 << 20
UNKNOWN = 1 << 62  # bytes free on a card that does not say


@dataclass(frozen=True, slots=True)
class Tryable:
    """What will be loaded. tuned: facts of the model that is loaded first: the base of an adapter,
    or the model of a full fine-tuning. base: of the latter alone, where it is loaded beside it.
    weights: the folder of the result. sides: that will answer. no_base: why one does not."""

    folder: Path
    run: RunFile
    plan: Effective
    weights: Path
    weights_sha256: str
    tuned: ModelFacts
    base: ModelFacts | None
    sides: tuple[Side, ...]
    no_base: str = ""
    trust_remote_code: bool = False

    @property
    def where(self) -> str:
        """The device and the precision, in words."""
        device = "card" if self.plan.device == "cuda" else "CPU"
        return f"{device}, {'fp32' if self.run.lora is None else self.plan.precision}"


def tryable(folder: Path, *, base: bool | None = None, trust_remote_code: bool = False) -> Tryable:
    """See that it can be done. base: of a full fine-tuning, None for "where there is room".

    InputError: RUN_OWNED, RUN_NOTHING_LEARNED, TRY_BASE_CHANGED, TRY_NO_ROOM, model-remote-code,
    and what reading the run file and the model raises.
    """
    run, _, weights = with_result(folder)
    sha256 = _sha256(weights)
    if run.lora is None:
        return _whole_model(folder, run, weights, sha256, base, trust_remote_code)
    facts = base_facts(run, "try", trust_remote_code=trust_remote_code)
    if base_changed(run, facts):
        raise InputError(
            f"{facts.path}: its weights are not those the run was trained on.",
            hint="put them back: an adapter belongs to the weights it was trained on",
            code="TRY_BASE_CHANGED",
        )
    plan = _plan(run, facts)
    _refuse_memory(run, plan, _needed(facts, plan.precision))
    return Tryable(folder, run, plan, weights, sha256, facts, None, SIDES, "", trust_remote_code)


def _whole_model(
    folder: Path,
    run: RunFile,
    weights: Path,
    sha256: str,
    wanted: bool | None,
    trust_remote_code: bool,
) -> Tryable:
    tuned = probe_model(str(weights), trust_remote_code=trust_remote_code)
    plan = _plan(run, tuned)
    each = _needed(tuned, "fp32")
    _refuse_memory(run, plan, each * (2 if wanted else 1))
    why, base = "", None
    if wanted is False:
        why = "--no-base: the tuned model answers alone."
    elif wanted is None and each * 2 > _free(run, plan):
        why = (
            f"Every weight was trained, and base and tuned together take {size(each * 2)} of "
            f"memory, of which {size(_free(run, plan))} are free: the tuned model answers alone."
        )
    else:
        try:
            base = base_facts(run, "try", trust_remote_code=trust_remote_code)
        except BackpropError as error:
            if wanted:
                raise
            why = f"The base cannot be had ({error.message}): the tuned model answers alone."
        if base and base_changed(run, base):
            why = f"{base.path} has changed since the run: the tuned model answers alone."
            base = None
            if wanted:
                raise InputError(
                    why, hint="put its weights back, or leave --base out", code="TRY_BASE_CHANGED"
                )
    sides: tuple[Side, ...] = SIDES if base else ("tuned",)
    return Tryable(folder, run, plan, weights, sha256, tuned, base, sides, why, trust_remote_code)


def _plan(run: RunFile, facts: ModelFacts) -> Effective:
    """Where it is loaded and how: as it was trained, on the card where there is one."""
    gpu = probe_gpu()
    anywhere = run.model_copy(
        update={"machine": run.machine.model_copy(update={"device": "auto"})}
        if run.machine.device == "cuda" and not gpu.cards
        else {}
    )
    plan = effective(anywhere, Facts(gpu=gpu, model=facts, card=run.machine.card))
    made = run.provenance
    return replace(plan, precision=made.precision) if made and made.precision in BYTES else plan


def _needed(facts: ModelFacts, precision: str) -> float:
    return (facts.parameters or 0) * BYTES[precision] * HEADROOM


def _free(run: RunFile, plan: Effective) -> int:
    if plan.device == "cuda":
        cards = (card for card in probe_gpu().cards if card.index == run.machine.card)
        known = next((card.memory_free for card in cards), None)
        return UNKNOWN if known is None else known
    free: int = psutil.virtual_memory().available
    return free


def _refuse_memory(run: RunFile, plan: Effective, needed: float) -> None:
    if needed > _free(run, plan):
        raise InputError(
            f"Loading takes {size(needed)} of memory, and {size(_free(run, plan))} are free.",
            hint="close something, or wait until what holds it has ended",
            code="TRY_NO_ROOM",
        )


def _sha256(weights: Path) -> str:
    """Of the safetensors of the result, by which votes know what they were cast on."""
    digest = hashlib.sha256()
    for file in sorted(weights.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()

"""How much memory a plan takes, by part, against what is free.

Exact where the answer is there (`train/memory`, on tensors without storage), else rough.
"""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.effective import Effective, TrainRows, effective
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryAnswer
from backprop_tui.core.memory_rough import rough_parts
from backprop_tui.core.runfile import RunFile

TORCH_ON_CPU = 650 * 2**20  # bytes the libraries themselves take in a run (measured)
# overhead: the CUDA context, workspaces, and what the allocator rounds up; on a CPU the libraries.
PARTS = (
    "weights",
    "quantisation",
    "adapter",
    "gradients",
    "optimizer",
    "activations",
    "loss",
    "reference",
    "overhead",
)
# Stored so, but in a way that was not modelled. bitsandbytes itself is what [model] quantises with.
VISION = ("ForConditionalGeneration", "ForVision2Seq", "ForImageTextToText")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by part, and what is there to hold them (None: unknown).

    rough: from the closed form; the exact answer is not there yet.
    at: what is being computed at the peak, where that is known.
    """

    parts: dict[str, int]
    available: int | None
    total: int | None
    rough: bool = True
    at: str = ""

    @property
    def needed(self) -> int:
        """All parts together, bytes."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool | None:
        """Whether the need is below what is free now; None when that is unknown."""
        return None if self.available is None else self.needed <= self.available

    @property
    def spare(self) -> int | None:
        """Bytes left of what is free; negative when it does not fit."""
        return None if self.available is None else self.available - self.needed

    @property
    def headroom(self) -> float | None:
        """Share of the whole card left free; negative when it does not fit."""
        if self.available is None or not self.total:
            return None
        return (self.available - self.needed) / self.total

    @property
    def largest(self) -> str:
        """The part that takes most, of those that a plan can change."""
        return max((part for part in self.parts if part != "overhead"), key=self.parts.__getitem__)


def estimate(
    run: RunFile, facts: Facts, plan: Effective, free_ram: int | None = None
) -> Estimate | None:
    """None while the model is unknown, or where it cannot be estimated: `not_modelled` says why.

    free_ram: bytes, what a CPU run may use.
    """
    model = facts.model
    if model is None or not_modelled(run, facts, plan):
        return None
    answer = _answer(run, facts, plan)
    exact = answer is not None and answer.parts is not None
    parts = dict(answer.parts or {}) if answer and exact else rough_parts(run, model, plan)
    if parts is None:
        return None
    on_card = plan.device == "cuda"
    tensors = sum(parts.values())
    overhead = facts.memory.calibration.overhead(tensors) if on_card else TORCH_ON_CPU
    card = facts.gpu_card if on_card else None
    return Estimate(
        parts={name: parts.get(name, 0) for name in PARTS[:-1]} | {"overhead": overhead},
        available=card.memory_free if card else None if on_card else free_ram,
        total=card.memory_total if card else None if on_card else free_ram,
        rough=not exact,
        at=answer.at if answer and exact else "",
    )


def not_modelled(run: RunFile, facts: Facts, plan: Effective) -> str:
    """Why nothing can be said before it is measured, in words; "" when it can."""
    model = facts.model
    if model is None:
        return ""
    if reason := _unknown_kind(model):
        return reason
    answer = _answer(run, facts, plan)
    return answer.why if answer else ""


def exact_failed(run: RunFile, facts: Facts, plan: Effective) -> bool:
    """Whether the computation of the exact figure broke off, which says nothing of the model."""
    answer = _answer(run, facts, plan)
    return answer is not None and answer.parts is None and not answer.why


def _unknown_kind(model: ModelFacts) -> str:
    """What a model has that was never modelled."""
    if model.remote_code:
        return "it brings code of its own"
    if model.quantisation and model.quantisation != "bitsandbytes":
        return f"its weights are quantised with {model.quantisation}"
    if model.architecture and model.architecture.endswith(VISION):
        return "it reads images as well"
    return ""


def _answer(run: RunFile, facts: Facts, plan: Effective) -> MemoryAnswer | None:
    asked = question(run, facts, plan)
    return facts.memory.answers.get(asked) if asked else None


def estimate_of(
    run: RunFile, facts: Facts, rows: TrainRows | None = None, free_ram: int | None = None
) -> Estimate | None:
    """The estimate of a changed plan, with what is decided anew."""
    return estimate(run, facts, effective(run, facts, rows), free_ram)


def memory_at(run: RunFile, facts: Facts, rows: TrainRows, max_length: int) -> int | None:
    """Bytes the plan would need at another max_length; None while that is unknown."""
    data = run.data.model_copy(update={"max_length": max_length})
    found = estimate_of(run.model_copy(update={"data": data}), facts, rows)
    return found.needed if found else None

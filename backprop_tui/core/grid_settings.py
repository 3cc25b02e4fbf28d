"""What an ablation turns: objective and rank by default, or what papers searched over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import Shape
from backprop_tui.core.grid_text import Axis
from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.core.search_grids import SEARCH_GRIDS, published

RANKS = (8, 16)
PRESETS = ("2x2", "paper", "published")
# The other objective of the 2x2. orpo and simpo are the two that are recommended for pairs; where
# the file names another, it is held against the one that is nearest to it: orpo has the imitation
# term of sft, and is the gentle default; simpo needs no reference and divides by length.
OTHER: dict[MethodName, MethodName] = {
    "orpo": "simpo",
    "simpo": "orpo",
    "sft": "orpo",
    "kto": "orpo",
}
KTO_BETAS = 0.5  # the second beta of an unpaired kto, as a share of the file's


@dataclass(slots=True)
class Turned:
    """The changes of each setting, before seeds; what it is called, and what must be said of it."""

    title: str
    settings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def combinations(axes: Sequence[Axis]) -> Iterable[dict[str, Any]]:
    """Every combination of values, the last key turning fastest."""
    keys = [key for key, _ in axes]
    for values in product(*(values for _, values in axes)):
        yield dict(zip(keys, values, strict=True))


def two_by_two(base: RunFile, shape: Shape | None, rows: int) -> Turned:
    """Objective x rank, or what comes nearest where one of the two is not there."""
    found = Turned("")
    ranks: list[dict[str, Any]] = [{"lora.rank": rank} for rank in RANKS]
    if base.lora is None:
        ranks = [{}]
        found.notes.append("No [lora] in the run file, so every weight is trained: no rank varies.")
    first: list[dict[str, Any]]
    if shape in (None, "paired"):
        other = OTHER.get(base.method, "simpo")
        first, title = [{"method": base.method}, {"method": other}], "objective"
    elif base.method == "kto":
        beta = base.knobs["beta"]
        first = [{"kto.beta": beta}, {"kto.beta": float(f"{beta * KTO_BETAS:.3g}")}]
        title = "kto.beta"
        found.notes.append(
            "Unpaired answers fit kto alone, so its beta stands in for the objective. They are no "
            "pairs, so the rule cannot decide: the cells are shown with their own held-out figures."
        )
    else:
        own = base.training.learning_rate or _ladder(base.method, rows)
        first = [{"training.learning_rate": r} for r in (own, float(f"{own / 2:.3g}"))]
        title = "learning rate"
        found.notes.append(
            "Conversations fit sft alone, which has no knob: its learning rate and half of it "
            "stand in for the objective. There are no pairs, so the rule cannot decide: the cells "
            "are shown with their held-out loss."
        )
    found.settings = [one | two for one in first for two in ranks]
    found.title = f"2x2: {title} x LoRA rank" if base.lora else title
    return found


def _ladder(method: MethodName, rows: int) -> float:
    return next(value for bound, value in METHODS[method].rates if rows < bound)


def from_papers(base: RunFile, preset: str) -> Turned:
    """The search grid ("paper") of the file's method, or its published settings.

    Raises InputError where there are none.
    """
    method = base.method
    entry = SEARCH_GRIDS.get(method)
    if preset == "paper" and entry:
        axes = [(f"{method}.{knob}", values) for knob, values in entry.axes]
        fixed = {f"{method}.{knob}": value for knob, value in entry.fixed}
        title, settings = entry.source, [fixed | changes for changes in combinations(axes)]
    else:
        settings = [
            {f"{method}.{knob}": value for knob, value in knobs} for knobs in published(method)
        ]
        title = f"published settings of {method}"
    if not settings:
        some = SEARCH_GRIDS if preset == "paper" else [name for name in METHODS if published(name)]
        raise InputError(
            f"--preset {preset}: none is published for {method}",
            hint=f"methods with one: {', '.join(some)}",
            code=INVALID,
        )
    return Turned(title, settings)

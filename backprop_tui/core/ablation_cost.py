"""What an ablation costs, before it begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backprop_tui.core.disk import disk_needed
from backprop_tui.core.effective import Effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import estimate
from backprop_tui.core.runfile import RunFile


@dataclass(frozen=True, slots=True)
class Cost:
    """steps: of each cell. rates: learning rate of each, and how it was chosen. disk, free:
    bytes, disk None where the model is not known well enough. pace: seconds a step, measured on
    cells of this ablation; None before the first."""

    steps: tuple[int, ...]
    rates: tuple[str, ...]
    disk: int | None
    free: int
    pace: float | None
    heldout: int

    def seconds(self, done: Sequence[int]) -> float | None:
        """Of training what is left. done: steps taken of each cell."""
        if self.pace is None:
            return None
        left = (max(0, steps - at) for steps, at in zip(self.steps, done, strict=True))
        return self.pace * sum(left)


def cost_of(
    cells: Sequence[tuple[RunFile, Facts, Effective]],
    free_ram: int,
    free_disk: int,
    pace: float | None,
    heldout: int,
) -> Cost:
    """Of cells as they will really be trained. heldout: rows."""
    needed: list[int] = []
    for run, facts, plan in cells:
        memory = estimate(run, facts, plan, free_ram)
        if memory is not None:
            needed.append(disk_needed(run, plan, memory))
    return Cost(
        steps=tuple(plan.steps for _, _, plan in cells),
        rates=tuple(plan.rate.reason for _, _, plan in cells),
        disk=sum(needed) if len(needed) == len(cells) else None,
        free=free_disk,
        pace=pace,
        heldout=heldout,
    )

"""What a card holds beside tensors: learnt from runs on it, stated until then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """context: bytes CUDA and its libraries take in a process. slack: what the allocator reserves
    above the peak of tensors, as a share of it. workspace: bytes that kernels take for themselves.
    runs: how many this was learnt from; 0 are the stated values.
    """

    context: int = 600 * MB
    slack: float = 0.04
    workspace: int = 96 * MB
    runs: int = 0

    def overhead(self, tensors: int) -> int:
        """Bytes beside this many bytes of tensors."""
        return self.context + self.workspace + round(self.slack * tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One run on a card, bytes. predicted: of tensors. reserved: by the allocator at its peak.
    context: beside that; None where it could not be measured."""

    predicted: int
    reserved: int
    context: int | None = None


def calibrated(seen: Sequence[Observation]) -> Calibration:
    """The least that covers everything seen, so that no such run is said to fit when it does not;
    the stated values where nothing was seen."""
    stated = Calibration()
    if not seen:
        return stated
    contexts = [one.context for one in seen if one.context is not None]
    workspace, slack = _covering([(one.predicted, one.reserved - one.predicted) for one in seen])
    return Calibration(
        context=max(contexts, default=stated.context),
        slack=slack,
        workspace=workspace,
        runs=len(seen),
    )


def _covering(points: Sequence[tuple[int, int]]) -> tuple[int, float]:
    """The line on or above all points (predicted, beside it) that is nearest to them in sum:
    where it starts and how it rises, neither below zero.

    Such a line goes through two of the points, or through one and level or through zero.
    """
    points = [(x, max(y, 0)) for x, y in points if x > 0]
    lines = [(0.0, max((y / x for x, y in points), default=0.0))]
    lines.append((float(max((y for _, y in points), default=0)), 0.0))
    for (x, y), (other_x, other_y) in combinations(points, 2):
        if x != other_x:
            rise = (y - other_y) / (x - other_x)
            lines.append((y - rise * x, rise))
    covering = [
        (start, rise)
        for start, rise in lines
        if start >= 0 and rise >= 0 and all(start + rise * x >= y - 1 for x, y in points)
    ]
    start, rise = min(covering, key=lambda line: sum(line[0] + line[1] * x for x, _ in points))
    return round(start) + 1, rise

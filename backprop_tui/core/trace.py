"""The points of a curve, kept small however long the run, so that drawing stays quick. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BUCKETS = 512  # at most so many; a full trace merges neighbours and goes on
HUGE = 1e300  # larger numbers are kept as this: the difference of two stays finite


@dataclass(slots=True)
class Trace:
    """The points of one curve, in order of x, in at most BUCKETS buckets of lowest and highest.

    `last` is the newest value as it came: None before the first one, NaN if it was NaN.
    """

    xs: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    last: float | None = None
    right: float = 0.0  # x of the newest point drawn
    _per: int = 1  # points per bucket
    _filled: int = 0  # points in the newest bucket

    def add(self, x: float, y: float | None) -> None:
        """Take in a point. A missing or non-finite one is remembered in `last` and not drawn."""
        if y is None:
            return
        self.last = y
        if not (math.isfinite(y) and math.isfinite(x)):
            return
        y, self.right = min(HUGE, max(-HUGE, y)), min(HUGE, max(-HUGE, x))
        if self.xs and self._filled < self._per:
            self.lows[-1] = min(self.lows[-1], y)
            self.highs[-1] = max(self.highs[-1], y)
            self._filled += 1
            return
        if len(self.xs) >= BUCKETS:
            self._halve()
        self.xs.append(self.right)
        self.lows.append(y)
        self.highs.append(y)
        self._filled = 1

    def _halve(self) -> None:
        self.xs = self.xs[::2]
        self.lows = [min(self.lows[i : i + 2]) for i in range(0, len(self.lows), 2)]
        self.highs = [max(self.highs[i : i + 2]) for i in range(0, len(self.highs), 2)]
        self._per *= 2

"""Where the labels of an axis stand: nice numbers around the data. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST = 5  # labels on an axis at most


@dataclass(frozen=True, slots=True)
class Ticks:
    """The range of an axis, and the label of each row that has one."""

    low: float
    high: float
    labels: dict[int, str]
    width: int  # of the longest label


def y_ticks(low: float, high: float, rows: int) -> Ticks:
    """Labels for `rows` rows, the highest value in row 0. low and high are finite."""
    low, high = _spread(low, high)
    wanted = max(1, min(MOST - 1, (rows - 1) // 2))
    step = nice_step((high - low) / wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    bottom, top = first * step, last * step
    if not (math.isfinite(bottom) and math.isfinite(top) and top > bottom):
        return Ticks(low, high, {}, 0)
    labels = _labels(first, last, step, rows) if last - first <= 4 * MOST else {}
    return Ticks(bottom, top, labels, max((len(text) for text in labels.values()), default=0))


def _labels(first: int, last: int, step: float, rows: int) -> dict[int, str]:
    """Evenly spaced labels with a free row between them; zero keeps its label."""
    every = 1
    span = last - first
    while every < span and (rows - 1) * every < 2 * span:
        every += 1
    start = first + -first % every if first <= 0 <= last else first
    return {
        min(rows - 1, round((last - i) / span * (4 * rows - 1)) // 4): label(i * step, step)
        for i in range(start, last + 1, every)
    }


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 2.5, 5):
        if factor * power >= rough * (1 - 1e-9):
            return factor * power
    return 10 * power


def label(value: float, step: float) -> str:
    """A tick's value with as many decimals as its step needs."""
    if abs(value) < step / 1000:
        return "0"
    largest = max(abs(value), step)
    if largest >= 1e5 or step < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if step / 10.0**-decimals % 1 > 1e-6:  # 2.5 x a power of ten
        decimals += 1
    return f"{value:.{decimals}f}"


def _spread(low: float, high: float) -> tuple[float, float]:
    """A range with some height: a constant gets room above and below."""
    if high < low:
        low, high = high, low
    size = max(abs(low), abs(high))
    if high - low > max(size * 1e-9, 1e-12):
        return low, high
    room = size * 0.1 if size > 1e-9 else 1.0
    return low - room, high + room

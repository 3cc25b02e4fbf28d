"""Where the labels of an axis stand: nice numbers around the data. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

INTERVALS = 4  # the range is about so many steps; all of them labelled where there is room
ROOMY = 6  # rows from which the range need not end on a label


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
    step = nice_step((high - low) / INTERVALS)
    edge = step / 4 if rows >= ROOMY else step  # the range ends on a multiple of this
    bottom = math.floor(low / edge + 1e-9) * edge
    top = math.ceil(high / edge - 1e-9) * edge
    if not (math.isfinite(bottom) and math.isfinite(top) and top > bottom):
        return Ticks(low, high, {}, 0)
    labels = _labels(bottom, top, step, rows)
    return Ticks(bottom, top, labels, max((len(text) for text in labels.values()), default=0))


def _labels(bottom: float, top: float, step: float, rows: int) -> dict[int, str]:
    """Evenly spaced labels with a free row between them; zero is one of them if in range."""
    first, last = math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9)
    if last - first > 4 * INTERVALS:  # the numbers are too large for their differences
        return {}
    rows_apart = step / (top - bottom) * (rows - 1)
    every = next((n for n in range(1, last - first) if n * rows_apart >= 2), last - first) or 1
    start = first + -first % every if first <= 0 <= last else first
    marked = range(start, last + 1, every)
    dots = (4 * rows - 1) / (top - bottom)
    labels = {
        min(rows - 1, max(0, round((top - i * step) * dots) // 4)): label(i * step, step)
        for i in (marked if len(marked) > 1 else (first, last))
    }
    while all(text == "0" or ("." in text and text[-1] in "0.") for text in labels.values()):
        if all(text == "0" for text in labels.values()):
            break
        labels = {row: text if text == "0" else text[:-1] for row, text in labels.items()}
    return labels


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

"""A line chart as text: braille dots with axes, or plain ASCII. Pure, a fraction of a millisecond.

Every millisecond of drawing is taken from the trainer: it shares the interpreter.
The result is text in runs, each with a role; a screen decides what a role looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from backprop_tui.core.ticks import Ticks, y_ticks
from backprop_tui.core.trace import HUGE, Trace

AXIS = -1  # role of axes, labels and empty cells; a series has its own index as role
GUIDE = -2  # role of guide lines
SEVERAL = "*"
MIN_PLOT = 6  # columns; with less room the axes are left out

Style = Literal["line", "dashed", "marks"]

_LEFT = [sum(bit for i, bit in enumerate((1, 2, 4, 64)) if n >> i & 1) for n in range(16)]
_RIGHT = [sum(bit for i, bit in enumerate((8, 16, 32, 128)) if n >> i & 1) for n in range(16)]


class Run(NamedTuple):
    """A piece of a line in one role: a series index, AXIS or GUIDE."""

    text: str
    role: int


class Series(NamedTuple):
    """A curve and how it is told from the others without colour.

    sign: one character that marks its points instead of the style's own, so that more curves
    than there are styles can be told apart; SEVERAL stands where those of two curves meet.
    """

    trace: Trace
    style: Style = "line"
    sign: str = ""


def key(style: Style, ascii_only: bool = False) -> str:
    """The sign that stands for a style in a legend."""
    if ascii_only:
        return {"line": "..", "dashed": "xx", "marks": "o"}[style]
    return {"line": "━━", "dashed": "╍╍", "marks": "●"}[style]


def draw(
    series: Sequence[Series],
    width: int,
    height: int,
    *,
    include: Sequence[float] = (),
    guides: Sequence[float] = (),
    x_name: str = "",
    empty: str = "",
    ascii_only: bool = False,
) -> list[list[Run]]:
    """`height` lines of `width` cells each, as runs.

    include: values the y axis must hold. guides: values with a faint line across.
    x_name: what x counts, before the first x label. empty: said while there are no points.
    """
    if width <= 0 or height <= 0:
        return [[] for _ in range(max(0, height))]
    drawn = [item.trace for item in series if item.trace.xs]
    if not drawn:
        return _blank(width, height, empty)
    x_axis = height >= 4 and width >= 2 * MIN_PLOT
    rows = height - 1 if x_axis else height
    ticks = y_ticks(
        min(min(min(trace.lows) for trace in drawn), *include, HUGE),
        max(max(max(trace.highs) for trace in drawn), *include, -HUGE),
        rows,
    )
    gutter = ticks.width + 2 if width - ticks.width - 2 >= MIN_PLOT and height > 1 else 0
    left = min(trace.xs[0] for trace in drawn)
    right = max(trace.right for trace in drawn)
    plot = _Plot(width - gutter, rows, left, right, ticks, ascii_only)
    for guide in guides:
        plot.guide(guide)
    for role, item in enumerate(series):
        plot.curve(role, item)
    lines = [
        [*_gutter(ticks, row, gutter, ascii_only), *_runs(plot.cells[row], plot.roles[row])]
        for row in range(rows)
    ]
    if x_axis:
        lines.append([Run(_x_labels(left, right, x_name, gutter, width), AXIS)])
    return lines


def plain(lines: list[list[Run]]) -> list[str]:
    """The chart without its roles."""
    return ["".join(run.text for run in line) for line in lines]


class _Plot:
    """The cells inside the axes. A dot column is one integer, bit 0 at the top."""

    def __init__(
        self, columns: int, rows: int, left: float, right: float, ticks: Ticks, ascii_only: bool
    ) -> None:
        self.columns, self.rows, self.left = columns, rows, left
        self.ticks, self.ascii_only = ticks, ascii_only
        self.x_scale = (2 * columns - 1) / (right - left) if right > left else 0.0
        self.y_scale = (4 * rows - 1) / (ticks.high - ticks.low)
        self.cells = [[" "] * columns for _ in range(rows)]
        self.roles = [[AXIS] * columns for _ in range(rows)]
        self.signed: dict[tuple[int, int], str] = {}  # row, column -> the sign there

    def dot_x(self, x: float) -> int:
        return min(2 * self.columns - 1, max(0, round((x - self.left) * self.x_scale)))

    def dot_y(self, y: float) -> int:
        return min(4 * self.rows - 1, max(0, round((self.ticks.high - y) * self.y_scale)))

    def guide(self, value: float) -> None:
        if not self.ticks.low <= value <= self.ticks.high:
            return
        row = self.dot_y(value) // 4
        self.cells[row] = ["-" if self.ascii_only else "┈"] * self.columns
        self.roles[row] = [GUIDE] * self.columns

    def curve(self, role: int, item: Series) -> None:
        trace = item.trace
        points = [
            (self.dot_x(x), self.dot_y(high), self.dot_y(low))
            for x, high, low in zip(trace.xs, trace.highs, trace.lows, strict=True)
        ]
        dots = [0] * (2 * self.columns)
        for before, point in zip([None, *points], points, strict=False):
            x, top, bottom = point
            dots[x] |= (1 << bottom + 1) - (1 << top)
            if before is not None:
                _join(dots, before, point)
        if item.style == "marks":  # a dotted thread between the marks
            dots = [dot if i % 4 == 0 else 0 for i, dot in enumerate(dots)]
        self._put(dots, role, item.style)
        if item.style == "marks":
            for x, top, bottom in points:
                for dot in (top, bottom):
                    self._mark(dot // 4, x // 2, role, item.sign)

    def _mark(self, row: int, column: int, role: int, sign: str) -> None:
        """A point of a curve. Curves that have a sign share a cell as SEVERAL."""
        if sign and self.signed.get((row, column), sign) != sign:
            self.cells[row][column], self.roles[row][column] = SEVERAL, AXIS
            self.signed[row, column] = SEVERAL
            return
        self.cells[row][column] = sign or ("o" if self.ascii_only else "●")
        self.roles[row][column] = role
        if sign:
            self.signed[row, column] = sign

    def _put(self, dots: list[int], role: int, style: Style) -> None:
        """Set the cells of a curve. An earlier curve keeps its cells: it is never covered."""
        for column in range(self.columns):
            left, right = dots[2 * column], dots[2 * column + 1]
            if not (left or right) or (style == "dashed" and column % 3 == 2):
                continue
            for row in range(self.rows):
                a, b = left >> 4 * row & 15, right >> 4 * row & 15
                if (a or b) and self.roles[row][column] < 0:
                    braille = chr(0x2800 + _LEFT[a] + _RIGHT[b])
                    self.cells[row][column] = _ascii(a | b, style) if self.ascii_only else braille
                    self.roles[row][column] = role


def _join(dots: list[int], before: tuple[int, int, int], point: tuple[int, int, int]) -> None:
    """Connect two buckets by their nearest ends, over the columns between them."""
    x0, top0, bottom0 = before
    x1, top1, bottom1 = point
    if top1 > bottom0:
        start, end = bottom0, top1
    elif bottom1 < top0:
        start, end = top0, bottom1
    else:
        start = end = max(top0, top1)
    width = max(1, x1 - x0)
    y = start
    for x in range(x0, x1 + 1):
        after = round(start + (end - start) * min(1.0, (x - x0 + 0.5) / width))
        low, high = (y, after) if y < after else (after, y)
        dots[x] |= (1 << high + 1) - (1 << low)
        y = after


def _ascii(dots: int, style: Style) -> str:
    if style == "dashed":
        return "x"
    upper, lower = dots & 3, dots & 12
    return ":" if upper and lower else "'" if upper else "."


def _gutter(ticks: Ticks, row: int, gutter: int, ascii_only: bool) -> list[Run]:
    if not gutter:
        return []
    label = ticks.labels.get(row)
    bar = ("|" if ascii_only else "│") if label is None else ("+" if ascii_only else "┤")
    return [Run(f"{label or '':>{ticks.width}} {bar}", AXIS)]


def _runs(cells: list[str], roles: list[int]) -> list[Run]:
    """Neighbouring cells of one role as one run; a blank cell joins its neighbour."""
    runs: list[Run] = []
    start, role = 0, roles[0]
    for i, (cell, here) in enumerate(zip(cells, roles, strict=True)):
        if here != role and cell != " ":
            runs.append(Run("".join(cells[start:i]), role))
            start, role = i, here
    runs.append(Run("".join(cells[start:]), role))
    return runs


def _x_labels(left: float, right: float, name: str, gutter: int, width: int) -> str:
    first, last = f"{name} {left:g}".strip(), f"{right:g}" if right > left else ""
    room = width - gutter - len(last)
    if len(first) >= room:
        first = f"{left:g}"
    if len(first) >= room:
        first = ""
    return (" " * gutter + first.ljust(room) + last)[-width:].ljust(width)


def _blank(width: int, height: int, empty: str) -> list[list[Run]]:
    middle = (height - 1) // 2
    return [
        [Run((empty[:width] if row == middle else "").center(width), AXIS)] for row in range(height)
    ]

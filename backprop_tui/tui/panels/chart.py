"""ChartPanel: the latest figures on the first line, which is also the legend; the chart below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from backprop_tui.core.chart import Run, Series, Style, draw, key
from backprop_tui.core.events import Evaluated, Event, Started, Step
from backprop_tui.core.reading import figure
from backprop_tui.core.trace import Trace
from backprop_tui.tui.panels.panel import LABEL, VALUE, Line, Panel
from backprop_tui.tui.signs import is_plain

signed = partial(figure, signed=True)
FOOT_FROM = 10  # lines of a panel from which a foot does not crowd the chart


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a panel: which attribute of which event, its name and how it is drawn.

    factor: what values are multiplied by before they are drawn (100 for a share in percent).
    """

    name: str
    style: Style
    event: type[Step | Evaluated]
    attribute: str
    write: Callable[[float | None], str] = figure
    factor: float = 1.0


class ChartPanel(Panel):
    """A chart of one or two curves over the steps."""

    CURVES: tuple[Curve, ...] = ()
    INCLUDE: tuple[float, ...] = ()  # values the y axis must hold
    GUIDES: tuple[float, ...] = ()  # values with a faint line across
    EMPTY = "after the first step"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.traces = {curve: Trace() for curve in self.CURVES}
        self.nothing_heldout = False

    def restart(self) -> None:
        """Empty curves."""
        super().restart()
        self.traces = {curve: Trace() for curve in self.traces}
        self.nothing_heldout = False

    def take(self, event: Event) -> None:
        """Add a step or an evaluation to the curves it belongs to."""
        if isinstance(event, Started) and not event.heldout_rows:
            self.nothing_heldout = self.changed = True
        if not isinstance(event, Step | Evaluated):
            return
        for curve, trace in self.traces.items():
            if isinstance(event, curve.event):
                value = getattr(event, curve.attribute)
                trace.add(event.step, None if value is None else value * curve.factor)
                self.changed = True

    def curves(self) -> Sequence[Curve]:
        """The curves drawn now: those of the held-out rows only where there are such rows."""
        hidden = Evaluated if self.nothing_heldout else None
        return [curve for curve in self.traces if curve.event is not hidden]

    def lines(self, width: int, height: int) -> list[Line]:
        """The figures, under them the chart, and at the foot a line where there is room."""
        foot = self.foot(width) if height >= FOOT_FROM else []
        chart = self.chart(width, height - 1 - bool(foot))
        return [self.figures(width), *chart, *([foot] if foot else [])]

    def foot(self, width: int) -> Line:
        """Figures beside the curves, on one line of at most `width` cells; [] for none."""
        return []

    def chart(self, width: int, height: int) -> list[Line]:
        """The chart alone."""
        return draw(
            [Series(self.traces[curve], curve.style) for curve in self.curves()],
            width,
            height,
            include=self.INCLUDE,
            guides=self.GUIDES,
            x_name="step",
            empty=self.EMPTY,
            ascii_only=is_plain(),
        )

    def figures(self, width: int) -> Line:
        """Sign, name and newest value of every curve; the names go when there is no room."""
        curves = self.curves()
        parts = [
            (i, key(curve.style, is_plain()), curve.name, self.value(curve))
            for i, curve in enumerate(curves)
        ]
        length = sum(len(sign) + len(name) + len(value) + 2 for _, sign, name, value in parts)
        gap = " " * max(1, min(3, width - length))
        short = length + len(parts) - 1 > width
        line: Line = []
        for i, sign, name, value in parts:
            label = " " if short else f" {name} "
            line += [Run(sign, i), Run(label, LABEL), Run(value, VALUE), Run(gap, LABEL)]
        return line[:-1]

    def value(self, curve: Curve) -> str:
        """The newest value of a curve as it is written, or a dash before the first."""
        last = self.traces[curve].last
        return "–" if last is None else curve.write(last)

"""Panel: a box of text lines that redraws only when its data changed, and never moves others.

Lines are runs with roles (core/chart.py); a role becomes a component class, so that the colours
stay in CSS. Drawing line by line costs a fraction of a Static with the same text.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from backprop_tui.core.chart import AXIS, GUIDE, Run
from backprop_tui.core.events import Event
from backprop_tui.tui.signs import is_plain

LABEL, VALUE, WARN, GOOD, BAD = -3, -4, -5, -6, -7  # roles beside those of the chart
CLASSES = {
    0: "panel--first",
    1: "panel--second",
    AXIS: "panel--axis",
    GUIDE: "panel--guide",
    LABEL: "panel--label",
    VALUE: "panel--value",
    WARN: "panel--warning",
    GOOD: "panel--success",
    BAD: "panel--error",
}
Line = list[Run]
PLAIN = str.maketrans({"→": "->", "·": "-", "…": "...", "−": "-", "°": " "})


def words(text: str) -> str:
    """Text for this terminal: typographic signs spelt in ASCII where it asked for that."""
    return text.translate(PLAIN) if is_plain() else text


def bar(share: float, width: int) -> tuple[str, str]:
    """The filled and the free part of a bar, together `width` cells."""
    full, free = ("#", ".") if is_plain() else ("━", "─")
    filled = round(min(1.0, max(0.0, share)) * width)
    return full * filled, free * (width - filled)


class Panel(Widget):
    """A box that takes events and draws lines. `changed` asks for a redraw at the next tick."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(CLASSES.values())
    TITLE = ""  # shown on the border: plain words, with a unit

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_title = words(self.TITLE)
        self.changed = True
        self._lines: list[Line] | None = None
        self._drawn: tuple[int, int] = (0, 0)

    def take(self, event: Event) -> None:
        """Keep what this panel shows of an event."""
        raise NotImplementedError

    def lines(self, width: int, height: int) -> list[Line]:
        """At most `height` lines of at most `width` cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again if the data changed. Called by the screen's clock."""
        if self.changed and self.display:
            self.changed, self._lines = False, None
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the box; all of them are made at once, when the first is asked for."""
        width, height = self.size
        if self._lines is None or self._drawn != (width, height):
            self._lines, self._drawn = self.lines(width, height), (width, height)
        base, style = self.rich_style, self.get_component_rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        segments = [
            Segment(run.text, style(CLASSES[run.role])) for run in self._lines[y] if run.text
        ]
        return Strip(segments).adjust_cell_length(width, base)

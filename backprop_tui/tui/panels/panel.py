"""Panel: a box of text lines that redraws only when its data changed, and never moves others.

Lines are runs with roles (core/chart.py); a role becomes a component class, so that the colours
stay in CSS. Drawing line by line costs a fraction of a Static with the same text.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region
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
        self._strips: list[Strip] = []
        self._drawn: tuple[int, int] = (0, 0)

    def take(self, event: Event) -> None:
        """Keep what this panel shows of an event."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what is over: every event that still holds is about to be taken again."""
        self.changed = True

    def lines(self, width: int, height: int) -> list[Line]:
        """At most `height` lines of at most `width` cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again what differs, if the data changed. Called by the screen's clock."""
        if not (self.changed and self.display):
            return
        self.changed = False
        before, width = self._lines, self.size.width
        if before is None or self._drawn != tuple(self.size):
            self._lines = None
            self.refresh()
            return
        self._build()
        after = self._lines or []
        rows = max(len(before), len(after))
        differ = [y for y in range(rows) if before[y : y + 1] != after[y : y + 1]]
        if differ:
            self.refresh(*_stripes(differ, width))

    def _build(self) -> None:
        """All lines at once, as data and as strips: looking a style up costs more than a line."""
        width, height = self.size
        self._lines, self._drawn = self.lines(width, height), (width, height)
        base = self.rich_style
        styles = {
            role: self.get_component_rich_style(CLASSES[role])
            for role in {run.role for line in self._lines for run in line}
        }
        self._strips = [
            Strip(
                Segment(run.text, styles[run.role]) for run in line if run.text
            ).adjust_cell_length(width, base)
            for line in self._lines[:height]
        ]
        self._strips += [Strip.blank(width, base)] * (height - len(self._strips))

    def render_line(self, y: int) -> Strip:
        """One line of the box."""
        if self._lines is None or self._drawn != tuple(self.size):
            self._build()
        return self._strips[y]

    def notify_style_update(self) -> None:
        """New colours: the strips of the old ones are of no use."""
        super().notify_style_update()
        self._lines = None


def _stripes(rows: list[int], width: int) -> list[Region]:
    """Neighbouring rows as one region."""
    stripes: list[Region] = []
    for y in rows:
        if stripes and stripes[-1].bottom == y:
            stripes[-1] = Region(0, stripes[-1].y, width, stripes[-1].height + 1)
        else:
            stripes.append(Region(0, y, width, 1))
    return stripes

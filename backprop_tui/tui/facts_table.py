"""Facts as names and values; a long value wraps under itself, not under its name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from backprop_tui.tui.put import put

NAME, VALUE = 17, 26  # cells of a name, and of a value that has a neighbour

Cell = tuple[str, str]
Line = Cell | tuple[Cell, Cell] | Content


class FactsTable(Static):
    """One fact a line, or two short ones; any line may also be content of its own."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, classes="facts")
        self._lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Show these; without any the table takes no room."""
        self.display = bool(lines)
        if lines != self._lines:
            self._lines = lines
            self._redraw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._redraw)  # a new height is not laid out within a layout

    def _redraw(self) -> None:
        width = self.size.width or 80
        put(self, Content("\n").join(drawn(line, width) for line in self._lines))


def drawn(line: Line, width: int) -> Content:
    """One line of the table, wrapped to the width."""
    if isinstance(line, Content):
        return line
    first, second = line
    if isinstance(first, str):
        assert isinstance(second, str)
        return Content.assemble(_name(first), _wrapped(second, width - NAME))
    assert not isinstance(second, str)
    value = first[1].ljust(VALUE)
    if len(value) > VALUE or NAME * 2 + VALUE + len(second[1]) > width:
        return Content("\n").join([drawn(first, width), drawn(second, width)])
    return Content.assemble(_name(first[0]), value, _name(second[0]), second[1])


def _name(text: str) -> Content:
    return Content.styled(text.ljust(NAME), "$muted")


def _wrapped(text: str, width: int) -> str:
    lines = textwrap.wrap(text, max(10, width)) or [""]
    return ("\n" + " " * NAME).join(lines)

"""The table of what fits: a line a method and precision, a column a max_length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static

from backprop_tui.core.text import count
from backprop_tui.core.what_fits import Cell, Verdict
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS

METHOD, PRECISION = 7, 6  # cells of the two names that begin a line
WIDEST = 22  # cells of a column
WORDY = 19  # from so many a verdict is said in full
COLOURS: dict[Verdict, str] = {
    "fits": "$text-success",
    "changes": "$text-warning",
    "no": "$text-error",
    "unknown": "$muted",
}
Key = tuple[str, str, int]  # method, precision, max_length


class FitTable(Static, can_focus=True):
    """Arrows move in it, enter takes a cell; so does a click on the marked one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", "Up", show=False),
        Binding("down", "move(1, 0)", "Down", show=False),
        Binding("left", "move(0, -1)", "Left", show=False),
        Binding("right", "move(0, 1)", "Right", show=False),
        Binding("enter", "take", "Take it", show=False),
    ]

    class Moved(Message):
        """Another cell is marked."""

    class Taken(Message):
        """A cell was chosen."""

        def __init__(self, cell: Cell) -> None:
            super().__init__()
            self.cell = cell

    def __init__(self, id: str) -> None:
        super().__init__("", id=id)
        self._cells: dict[Key, Cell] = {}
        self._lines: list[tuple[str, str]] = []
        self._lengths: list[int] = []
        self._plan: Key | None = None
        self._at = (0, 0)
        self._moved = False  # by the user; until then the plan's own cell is marked

    def show(self, cells: Sequence[Cell], plan: Key) -> None:
        """Show these; plan: the cell that the plan stands for now."""
        self._cells = {key(cell): cell for cell in cells}
        self._lines = list(dict.fromkeys((cell.method, cell.precision) for cell in cells))
        self._lengths = sorted({cell.max_length for cell in cells})
        if plan != self._plan:
            self._plan, self._moved = plan, False
        if not self._moved and plan in self._cells:
            self._at = (self._lines.index(plan[:2]), self._lengths.index(plan[2]))
        self._at = (
            max(0, min(self._at[0], len(self._lines) - 1)),
            max(0, min(self._at[1], len(self._lengths) - 1)),
        )
        self._redraw()

    @property
    def marked(self) -> Cell | None:
        """The cell that enter takes."""
        if not self._lines:
            return None
        line, column = self._at
        return self._cells.get((*self._lines[line], self._lengths[column]))

    def on_focus(self) -> None:
        self._redraw()

    def on_blur(self) -> None:
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def action_move(self, down: int, right: int) -> None:
        """Mark a neighbour."""
        self._mark(self._at[0] + down, self._at[1] + right)

    def action_take(self) -> None:
        """Choose the marked cell."""
        if (cell := self.marked) is not None:
            self.post_message(self.Taken(cell))

    def on_click(self, event: Click) -> None:
        """Mark a cell, or choose the one that is marked."""
        line, column = event.y - 1, (event.x - METHOD - PRECISION) // self._width
        if event.x < METHOD + PRECISION or line < 0:
            return
        if (line, column) == self._at:
            self.action_take()
        else:
            self._mark(line, column)

    def _mark(self, line: int, column: int) -> None:
        if 0 <= line < len(self._lines) and 0 <= column < len(self._lengths):
            self._at, self._moved = (line, column), True
            self._redraw()
            self._keep_in_view(line)
            self.post_message(self.Moved())

    def _keep_in_view(self, line: int) -> None:
        """Scroll what the table stands in; on the first line back to its beginning."""
        around = self.parent
        if not isinstance(around, VerticalScroll):
            return
        if line == 0:
            around.scroll_home(animate=False)
        else:  # one line more: the lowest is covered by what is docked there
            marked = Region(0, line + 1, 1, 2).translate(self.virtual_region.offset)
            around.scroll_to_region(marked, animate=False)

    @property
    def _width(self) -> int:
        room = self.size.width - METHOD - PRECISION
        return max(1, min(WIDEST, room // max(1, len(self._lengths))))

    def _redraw(self) -> None:
        if not self._lines or self.size.width < METHOD + PRECISION:
            put(self, "")
            return
        titles = "".join(f"  {count(n)}".ljust(self._width) for n in self._lengths)
        head = Content.styled(f"{'':{METHOD + PRECISION}}{titles}", "$muted")
        put(self, Content("\n").join([head, *(self._line(i) for i in range(len(self._lines)))]))

    def _line(self, index: int) -> Content:
        method, precision = self._lines[index]
        again = index > 0 and self._lines[index - 1][0] == method
        parts = [
            Content.styled(("" if again else method).ljust(METHOD), "bold"),
            Content(precision.ljust(PRECISION)),
        ]
        for column, length in enumerate(self._lengths):
            cell = self._cells.get((method, precision, length))
            text = Content(" " * self._width) if cell is None else self._cell(cell)
            if self._at == (index, column) and self.has_focus:
                text = text.stylize("on $primary-muted")
            parts.append(text)
        return Content.assemble(*parts)

    def _cell(self, cell: Cell) -> Content:
        here = SIGNS.here if key(cell) == self._plan else " "
        style = COLOURS[cell.verdict] + (" bold" if here != " " else "")
        text = f"{here} {said(cell, wordy=self._width >= WORDY)}"
        return Content.styled(text.ljust(self._width)[: self._width], style)


def key(cell: Cell) -> Key:
    """Where a cell stands."""
    return (cell.method, cell.precision, cell.max_length)


def said(cell: Cell, *, wordy: bool) -> str:
    """A verdict as a sign and a word; ~ before the word is roughly."""
    signs = {"fits": SIGNS.done, "changes": SIGNS.warning, "no": SIGNS.problem, "unknown": " "}
    word = {"changes": "with changes" if wordy else "changes", "unknown": "?"}
    rough = "~" if cell.rough and cell.verdict != "unknown" else ""
    return f"{signs[cell.verdict]} {rough}{word.get(cell.verdict, cell.verdict)}"

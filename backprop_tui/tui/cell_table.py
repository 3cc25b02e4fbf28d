"""The table of an ablation: a line a cell, the base first; enter takes the marked one."""

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

from backprop_tui.core.ablation_text import clean_words, margin_words, right_words
from backprop_tui.core.cells import BASE
from backprop_tui.core.text import count, duration
from backprop_tui.runs.ablation_table import Row
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS

COLUMNS = (("right", 8), ("margin", 8), ("clean", 7), ("train", 8), ("time", 8))
STATE = 19  # cells: "▸ step 1,200/3,000"
NAME = (12, 40)  # cells, at least and at most
FIGURES = sum(width for _, width in COLUMNS)


class CellTable(Static, can_focus=True):
    """Arrows move in it, enter or a click on the marked line takes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("enter", "take", "Watch", id="ablation.watch", tooltip="The monitor of this cell"),
    ]

    class Taken(Message):
        """A cell was chosen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, id: str) -> None:
        super().__init__("", id=id)
        self._rows: Sequence[Row] = ()
        self._at = 1  # the base has no monitor
        self._preferred: str | None = None

    def show(self, rows: Sequence[Row], preferred: str | None = None) -> None:
        """Show these. preferred: the setting that was decided for."""
        self._rows, self._preferred = rows, preferred
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def action_move(self, down: int) -> None:
        """Mark a neighbour."""
        if 1 <= self._at + down < len(self._rows):
            self._at += down
            self._redraw()
            around = self.parent
            if isinstance(around, VerticalScroll):
                line = Region(0, self._at, 1, 2).translate(self.virtual_region.offset)
                around.scroll_to_region(line, animate=False)

    def action_take(self) -> None:
        """Choose the marked cell."""
        if self._at < len(self._rows):
            self.post_message(self.Taken(self._rows[self._at].name))

    def on_click(self, event: Click) -> None:
        """Mark a line, or choose the one that is marked."""
        line = event.y - 1
        if line == self._at:
            self.action_take()
        elif 1 <= line < len(self._rows):
            self.action_move(line - self._at)

    def _redraw(self) -> None:
        room = self.size.width - STATE - FIGURES - 2
        if room < NAME[0]:
            put(self, "")
            return
        longest = max((len(row.name) for row in self._rows), default=0) + 3
        name = max(NAME[0], min(room, longest, NAME[1]))
        titles = "".join(f"{title:>{width}}" for title, width in COLUMNS)
        head = Content.styled(f"  {'cell':<{name}}{'state':<{STATE}}{titles}", "$muted")
        lines = [self._line(index, row, name) for index, row in enumerate(self._rows)]
        put(self, Content("\n").join([head, *lines]))

    def _line(self, index: int, row: Row, name: int) -> Content:
        chosen = self._preferred is not None and _setting(row.name, self._preferred)
        shown = row.name if len(row.name) < name else f"{row.name[: name - 2]}{SIGNS.more}"
        figures = (
            right_words(row.right, row.n),
            margin_words(row.margin),
            clean_words(row.clean),
            margin_words(row.train),
            "" if row.seconds is None else duration(row.seconds),
        )
        text, style = state_words(row)
        parts = [
            Content(f"{SIGNS.here if chosen else ' '} "),
            Content.styled(f"{shown:<{name}}", "bold" if chosen else ""),
            Content.styled(f"{text:<{STATE}}", style),
            *(
                Content(f"{figure:>{width}}")
                for figure, (_, width) in zip(figures, COLUMNS, strict=True)
            ),
        ]
        line = Content.assemble(*parts)
        return line.stylize("on $primary-muted") if index == self._at else line


def state_words(row: Row) -> tuple[str, str]:
    """A sign and a word, and a style that says the same."""
    steps = f"step {count(row.step)}/{count(row.steps)}" if row.steps else "starting"
    match row.state:
        case "running":
            return f"{SIGNS.here} {steps}", "$text-primary bold"
        case "scored":
            return f"{SIGNS.done} scored", "$text-success"
        case "scoring":
            return f"{SIGNS.here} being scored", "$text-primary bold"
        case "trained":
            return f"{SIGNS.note} trained", ""
        case "failed":
            return f"{SIGNS.problem} failed", "$text-error"
        case "stopped":
            return f"{SIGNS.pause} at {steps}", "$text-warning"
        case _:
            return f"{SIGNS.todo} {'not scored' if row.name == BASE else 'waiting'}", "$muted"


def _setting(name: str, setting: str) -> bool:
    """Whether a cell is of a setting: it, or one of its seeds."""
    return name == setting or name.removeprefix(f"{setting}-s").isdigit()

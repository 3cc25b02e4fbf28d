"""Advice on the screen: under its field, and the one line that is always visible."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from backprop_tui.core.rules import Advice, Level
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View, places, summary

COLOURS: dict[Level, str] = {
    "problem": "$text-error",
    "warning": "$text-warning",
    "note": "$muted",
}

NO_BREAK = "\N{NO-BREAK SPACE}"  # a key and what it does stay on one line


def heading(item: Advice, *, todo: bool = False) -> Content:
    """The level as a sign and a word, in its colour."""
    if todo:
        return Content.from_markup("[$text-primary]$sign to do[/]", sign=SIGNS.todo)
    return Content.from_markup(
        f"[{COLOURS[item.level]}]$sign $word[/]", sign=SIGNS.level(item.level), word=item.level
    )


def headline(message: str, width: int) -> str:
    """A message cut at a word to fit; the whole text stands under its field and at review."""
    if len(message) <= width:
        return message
    cut = message[: max(1, width - len(SIGNS.more) - 1)]
    return cut.rsplit(" ", 1)[0].rstrip(" ,;:(") + " " + SIGNS.more


class Notes(Static):
    """The advice under a field. Takes no room while there is none."""

    class FixClicked(Message):
        """A fix was clicked."""

        def __init__(self, item: Advice) -> None:
            super().__init__()
            self.item = item

    def __init__(self) -> None:
        super().__init__(classes="notes")
        self._items: tuple[Advice, ...] = ()
        self._keyed: str | None = None
        self._todo = False
        self.display = False

    def show(self, items: tuple[Advice, ...], *, todo: bool = False) -> None:
        """Show these, or nothing."""
        if (items, todo) != (self._items, self._todo):
            self._items, self._todo = items, todo
            self._redraw()

    def mark(self, code: str | None) -> None:
        """Say which advice the fix key answers now."""
        if code != self._keyed:
            self._keyed = code
            self._redraw()

    def _redraw(self) -> None:
        self.display = bool(self._items)
        put(self, Content("\n").join(self._line(i) for i in range(len(self._items))))

    def _line(self, index: int) -> Content:
        item = self._items[index]
        message = item.message
        if self._todo:  # an empty field is no mistake: only say what belongs there
            message = message.partition('"": ')[2] or message
        parts = [heading(item, todo=self._todo), Content(f"  {message}")]
        if item.source:
            parts.append(Content.styled(f"  {item.source}", "$muted"))
        if item.fix:
            key = "f6" if item.code == self._keyed else "fix:"
            label = f"{key} {item.fix.label}".replace(" ", NO_BREAK)
            parts.append(Content.from_markup(f"  [@click='fix({index})']$label[/]", label=label))
        return Content.assemble(*parts)

    def action_fix(self, index: int) -> None:
        """A fix was clicked."""
        self.post_message(self.FixClicked(self._items[index]))


class AdviceBar(Static):
    """How many problems and warnings there are, and the one that matters most now."""

    def __init__(self) -> None:
        super().__init__(id="advice-bar")
        self._view: View | None = None
        self._step = ""

    def show(self, view: View, step: str) -> None:
        """Show the advice of a view, as seen from a step."""
        self._view, self._step = view, step
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        if self._view is not None:
            put(self, bar(self._view, self._step, self.size.width), layout=False)


def bar(view: View, step: str, room: int) -> Content:
    """The line: counts, then the most important advice that is not already in front of the user."""
    todo = [item for item in view.problems if view.is_todo(item)]
    counts = summary(item for item in view.advice if item not in todo)
    parts: list[Content] = []
    if counts["problem"]:
        parts.append(_counted(counts["problem"], "problem"))
    if counts["warning"]:
        parts.append(_counted(counts["warning"], "warning"))
    if todo:
        names = " and ".join(places(item)[0] for item in todo)
        parts.append(
            Content.from_markup(
                "[$text-primary]$sign[/] to do: $names", sign=SIGNS.todo, names=names
            )
        )
    if busy := [what for what in ("machine", "model", "data") if what in view.reading]:
        parts.append(Content(f"{SIGNS.more} reading the {' and the '.join(busy)}"))
    if not parts:
        return Content.from_markup(
            "[$text-success]$sign[/] nothing in the way of this plan", sign=SIGNS.done
        )
    line = Content("   ").join(parts)
    item = most_important(view, todo)
    if item is None:
        return line
    where = "" if step in places(item) else f" ({SIGNS.arrow} {places(item)[0]})"
    text = headline(item.message, room - line.cell_length - len(where) - 6)
    return Content.assemble(line, "   ", Content.styled(text + where, "$muted"))


def most_important(view: View, todo: Iterable[Advice]) -> Advice | None:
    """The first problem that is more than an empty field, else the first warning."""
    left = [item for item in view.advice if item not in todo and item.level != "note"]
    return left[0] if left else None


def _counted(n: int, level: Level) -> Content:
    word = level if n == 1 else f"{level}s"
    return Content.from_markup(
        f"[{COLOURS[level]}]$sign $n $word[/]", sign=SIGNS.level(level), n=n, word=word
    )

"""Which column is which: the mapping, with three rows that change as it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.markup import escape
from textual.screen import ModalScreen
from textual.widgets import Label, Select, Static

from backprop_tui.core.mask import visible
from backprop_tui.core.runfile import DataSection
from backprop_tui.core.text import count, plural
from backprop_tui.tui.put import put
from backprop_tui.tui.readings import (
    BAD,
    COLUMNS,
    GOOD,
    HELP,
    MEANINGS,
    NEEDED,
    NONE,
    OFFER,
    OUT,
    PLAIN_LABELS,
    READINGS,
    TRUE_OR_FALSE,
    offered,
    reading_of,
)
from backprop_tui.tui.signs import SIGNS

if TYPE_CHECKING:
    from backprop_tui.probe.data import Loaded
    from backprop_tui.probe.data.preview import Preview

SHOWN = 300  # characters of one part of a row
READ, RAW = (
    "three of its rows, as they will be read",
    "three of its rows, as they stand in the file",
)

Changes = dict[str, Any]


class MappingScreen(ModalScreen[Changes | None]):
    """Returns the run-file keys to set, or None when cancelled. Nothing is written before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f10,ctrl+s", "take", "Use it", id="mapping.take"),
        Binding("escape", "cancel", "Cancel", id="mapping.cancel"),
    ]

    def __init__(self, loaded: Loaded, data: DataSection) -> None:
        super().__init__()
        from backprop_tui.probe.data.preview import names

        self.loaded = loaded
        self.names = names(loaded)
        self.reading = reading_of(data)
        self.columns = dict(data.columns or offered(loaded))
        self.labels = dict(data.labels or {})

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="mapping"):
            name = Path(self.loaded.table.name).name
            yield Label(f"Columns of {name}", classes="dialog--title", markup=False)
            with Horizontal(classes="mapping--row"):
                yield Label("read it as", classes="field--label")
                yield _select("reading", self._readings(), self.reading)
            for name in COLUMNS:
                with Horizontal(classes="mapping--row", id=f"row-{name}"):
                    yield Label(name, classes="field--label")
                    options = [("(none)", NONE), *((column, column) for column in self.names)]
                    yield _select(f"column-{name}", options, self._column(name))
                    yield Static(HELP[name], classes="field--help", markup=False)
            yield Vertical(id="meanings")
            yield Static("", id="mapping-counts", markup=False)
            with VerticalScroll(id="mapping-rows"):
                yield Static("", id="mapping-text", markup=False)
            keys = "tab next   enter opens a list   f10 use it   escape cancel"
            yield Static(keys, classes="dialog--keys")

    async def on_mount(self) -> None:
        await self._show()
        self.query_one("#reading", Select).focus()

    def _readings(self) -> list[tuple[str, str]]:
        """As recognised, what reading the file offered, and every way there is."""
        offers = self.loaded.decision.offers
        found, *rest = [(title, key) for key, (title, _, _) in READINGS.items()]
        return [found, *((each.text, f"{OFFER}{i}") for i, each in enumerate(offers)), *rest]

    def _wanted(self) -> tuple[str, ...]:
        """The columns that the present reading asks for."""
        return () if self.reading.startswith(OFFER) else READINGS[self.reading][2]

    def _column(self, name: str) -> str:
        """The file's column for one of ours: as mapped, else of the same name."""
        mapped = self.columns.get(name, name if name in self.names else NONE)
        return mapped if mapped in self.names else NONE

    async def _show(self) -> None:
        """Show the columns this reading asks for, and what becomes of three rows."""
        wanted = self._wanted()
        for name in COLUMNS:
            self.query_one(f"#row-{name}").display = name in wanted
        await self._show_meanings()
        self._show_rows()

    async def _show_meanings(self) -> None:
        """One line for each text of a label column that is not already true and false."""
        box = self.query_one("#meanings", Vertical)
        await box.remove_children()
        for i, value in enumerate(self._texts() if self.is_attached else ()):
            said = {True: GOOD, False: BAD}.get(self.labels.get(value, None), OUT)  # type: ignore[arg-type]
            await box.mount(
                Horizontal(
                    Label(visible(value[:16]), classes="field--label", markup=False),
                    _select(f"meaning-{i}", MEANINGS[self._judge()], said),
                    classes="mapping--row",
                )
            )

    def _texts(self) -> tuple[str, ...]:
        from backprop_tui.probe.data.preview import values

        if self.reading not in ("marks", "winner"):
            return ()
        found = values(self.loaded, self._column(self._judge()))
        plain = PLAIN_LABELS if self.reading == "marks" else TRUE_OR_FALSE
        return () if {value.lower() for value in found} <= plain else found

    def _judge(self) -> str:
        """The column that says which answer is good."""
        return "winner" if self.reading == "winner" else "label"

    @on(Select.Changed)
    async def changed(self, event: Select.Changed) -> None:
        """Any list was changed: the rows follow at once."""
        event.stop()
        name, value = event.select.id or "", str(event.value)
        if name == "reading":
            if value == self.reading:
                return
            self.reading = value
        elif name.startswith("column-"):
            ours = name.removeprefix("column-")
            if value == self._column(ours):
                return
            self.columns[ours] = value
        else:
            text = self._texts()[int(name.removeprefix("meaning-"))]
            self.labels.pop(text, None)
            if value != OUT:
                self.labels[text] = value == GOOD
            self._show_rows()
            return
        await self._show()

    def changes(self) -> Changes:
        """The run-file keys this mapping stands for; None removes a key."""
        nothing: Changes = {"data.shape": None, "data.columns": None, "data.labels": None}
        if self.reading.startswith(OFFER):
            return nothing | dict(
                self.loaded.decision.offers[int(self.reading.removeprefix(OFFER))].changes
            )
        _, shape, wanted = READINGS[self.reading]
        columns = {name: self._column(name) for name in wanted if self._column(name)}
        columns = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
        labels = {text: good for text, good in self.labels.items() if text in self._texts()}
        return {
            "data.shape": shape,
            "data.columns": columns or None,
            "data.labels": labels or None,
        }

    def _missing(self) -> list[str]:
        return [name for name in self._wanted() if name in NEEDED and not self._column(name)]

    def _show_rows(self) -> None:
        """Three rows as this mapping reads them, or what is still to be chosen."""
        from backprop_tui.probe.data.layouts.decision import Asked
        from backprop_tui.probe.data.preview import preview

        missing = self._missing()
        if missing:
            text = f"{SIGNS.todo} choose a column for {' and '.join(missing)}"
            put(self.query_one("#mapping-counts", Static), Content.styled(text, "$text-primary"))
            self._show_columns()
            return
        changes = self.changes()
        asked = Asked(
            columns=changes["data.columns"],
            labels=changes["data.labels"],
            shape=changes["data.shape"],
        )
        tried = preview(self.loaded, asked)
        if not tried.layout:
            self._show_columns()
            put(self.query_one("#mapping-counts", Static), counts(tried))
            return
        self.query_one("#mapping-rows").border_title = READ
        put(self.query_one("#mapping-counts", Static), counts(tried))
        put(self.query_one("#mapping-text", Static), drawn(tried))

    def _show_columns(self) -> None:
        """What stands in the file, while it is not clear what the columns mean."""
        from backprop_tui.probe.data.preview import raw

        self.query_one("#mapping-rows").border_title = RAW
        put(self.query_one("#mapping-text", Static), rows_drawn(raw(self.loaded)))

    def action_take(self) -> None:
        """Put it in the plan; half a mapping stays open."""
        if not self._missing():
            self.dismiss(self.changes())

    def action_cancel(self) -> None:
        """Leave the plan as it is."""
        self.dismiss(None)


def _select(id: str, options: list[tuple[str, str]], value: str) -> Select[str]:
    known = {option for _, option in options}
    # A column may be called anything, also what Textual would read as markup.
    shown = [(escape(visible(title)), option) for title, option in options]
    first = value if value in known else options[0][1]
    return Select[str](shown, value=first, allow_blank=False, compact=True, id=id)


def counts(tried: Preview) -> Content:
    """How many of the sampled rows this reading can train."""
    if not tried.kept:
        why = tried.problem or ", ".join(f"{n:,} {reason}" for reason, n in tried.dropped.items())
        return Content.assemble(
            Content.styled(f"{SIGNS.problem} no row can be trained: ", "$text-error"), why
        )
    head = f"{SIGNS.done} {count(tried.kept)} of {plural(tried.of, 'row')} looked at can be trained"
    lost = ", ".join(f"{count(n)} {reason}" for reason, n in tried.dropped.items())
    style = "$text-warning" if lost else "$text-success"
    return Content.assemble(Content.styled(head, style), f"; dropped: {lost}" if lost else "")


def drawn(tried: Preview) -> Content:
    """Three rows, part by part."""
    return rows_drawn(tried.rows)


def rows_drawn(rows: Sequence[tuple[int, dict[str, str]]]) -> Content:
    """Rows as names and texts."""
    blocks = []
    for number, parts in rows:
        wide = max((len(name) for name in parts), default=0) + 2
        lines = [Content.styled(f"row {number}", "bold")]
        for name, value in parts.items():
            style = "$text-warning" if name == "dropped" else "$text-primary"
            flat = visible(" ".join(value.split()))
            shown = flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + SIGNS.more
            lines.append(Content.assemble(Content.styled(f"{visible(name):<{wide}}", style), shown))
        blocks.append(Content("\n").join(lines))
    return Content("\n\n").join(blocks)

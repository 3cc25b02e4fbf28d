"""Step 6: whether the plan fits, what would make it fit, and what else would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.disk import disk_needed
from backprop_tui.core.facts import Gpu
from backprop_tui.core.memory import exact_failed
from backprop_tui.core.text import NA, count, plural, size
from backprop_tui.core.what_fits import LARGEST_BATCH, Cell, largest_batch, table
from backprop_tui.tui.facts_table import FactsTable, Line
from backprop_tui.tui.field import planner
from backprop_tui.tui.panels import memory
from backprop_tui.tui.panels.advice import NO_BREAK
from backprop_tui.tui.panels.fit_table import FitTable
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.view import View

OWN = ("method", "model.precision", "data.max_length")  # what a cell stands for itself


class MemoryStep(Step):
    """The verdict and its fix, the bar, what is free, and the table of what fits."""

    SCOPED_CSS = False  # -narrow is a class of the screen
    DEFAULT_CSS = """
    MemoryStep #memory-verdict, MemoryStep #memory-parts, MemoryStep #memory-facts {
        margin: 0 0 1 0;
    }
    MemoryStep #memory-stack, MemoryStep #memory-title {
        height: 1;
    }
    MemoryStep #memory-cell {
        dock: bottom;
        height: 1;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    .-narrow MemoryStep #memory-verdict, .-narrow MemoryStep #memory-parts,
    .-narrow MemoryStep #memory-facts {
        margin: 0;
    }
    """

    name_ = "memory"
    title = "Memory"
    intro = "Whether the plan fits, before it starts. The table says what else would."
    first = "FitTable"

    def __init__(self) -> None:
        super().__init__()
        self._view: View | None = None

    def compose_body(self) -> ComposeResult:
        yield Static("", id="memory-verdict")
        yield Static("", id="memory-stack")
        yield Static("", id="memory-parts")
        yield FactsTable("memory-facts")
        yield Static(title(), id="memory-title")
        yield FitTable("memory-table")
        yield Static("", id="memory-cell")

    def show_body(self, view: View) -> None:
        self._view = view
        put(self.query_one("#memory-verdict", Static), verdict(view))
        self._draw_parts()
        self.query_one("#memory-facts", FactsTable).show(facts(view))
        cells = cells_of(view)
        for name in ("title", "table", "cell"):
            self.query_one(f"#memory-{name}").display = bool(cells)
        used = view.effective
        found = self.query_one(FitTable)
        found.show(cells, (view.plan.method, used.precision, used.max_length))
        self._draw_cell()

    def on_resize(self) -> None:
        self._draw_parts()

    def _draw_parts(self) -> None:
        found = self._view.memory if self._view else None
        stack, parts = self.query_one("#memory-stack", Static), self.query_one("#memory-parts")
        assert isinstance(parts, Static)
        stack.display = parts.display = found is not None
        if found is not None and (width := stack.size.width or parts.size.width) > 20:
            put(stack, memory.stacked(found, width))
            put(parts, memory.figures(found, width))

    @on(FitTable.Moved)
    def _draw_cell(self) -> None:
        """Say more of the cell that is marked."""
        cell = self.query_one(FitTable).marked
        if cell is not None and self._view is not None:
            put(self.query_one("#memory-cell", Static), about(cell, self._view), layout=False)

    @on(FitTable.Taken)
    def take(self, event: FitTable.Taken) -> None:
        """Make the plan that cell's."""
        event.stop()
        cell = event.cell
        if cell.verdict == "no":
            self.notify("Nothing that can be changed makes it fit.", severity="warning")
        elif cell.changes:
            planner(self).apply(dict(cell.changes))
            taken = f"{cell.method}, {cell.precision}, max_length {count(cell.max_length)}"
            self.notify(sentence(cell), title=f"{taken}: taken")


def title() -> Content:
    """What the table is, and what its signs mean."""
    return Content.from_markup(
        "[bold $text-primary]What fits, by max_length[/]   "
        "[$muted]$here the plan   $changes with changes   ~ roughly[/]",
        here=SIGNS.here,
        changes=SIGNS.warning,
    )


def verdict(view: View) -> Content:
    """Whether it fits, what is needed of what is free, and the key of the fix."""
    lines = [memory.said(view)]
    found = view.memory
    if found is not None:
        text = f"{size(found.needed)} needed, {memory.free(view)}"
        if found.at:
            text += f"; peak: {found.at}"
        if exact_failed(view.plan, view.facts, view.effective):
            text += "   the exact figure could not be computed"
        elif found.rough:
            text += f"   computing the exact figure {SIGNS.more}"
        lines.append(Content.styled(text, "$muted"))
    if view.change is not None:
        label = f"f6 applies: {view.change.label}".replace(" ", NO_BREAK)
        lines.append(Content.from_markup("[@click='screen.fix']$label[/]", label=label))
    return Content("\n").join(lines)


def facts(view: View) -> list[Line]:
    """What is free, who holds the rest, and what else a run costs."""
    if view.facts.model is None:
        return []
    rows = largest_batch(view.plan, view.facts, view.rows, view.free_ram)
    more = " or more" if rows == LARGEST_BATCH else ""
    fit = "none fits" if rows == 0 else f"{plural(rows, 'row')}{more}" if rows else "not known"
    batch = ("largest batch", fit)
    time = ("time per step", "check --probe measures it on the saved run file")
    found = view.memory
    disk = size(disk_needed(view.plan, view.effective, found)) if found else "not known"
    costs = (batch, ("disk for a run", disk))
    card = memory.card_of(view)
    if card is None:
        return [("free now", f"{size(view.free_ram)} of main memory"), costs, time]
    room = f"{size(card.memory_free)} of {size(card.memory_total)}"
    return [(("free now", room), ("held by", others(card))), costs, time]


def others(card: Gpu) -> str:
    """Who holds memory of the card."""
    if not card.processes:
        return NA if card.processes is None else "no other process"
    return ", ".join(
        f"{process.name or f'pid {process.pid}'} {size(process.memory)}"
        for process in card.processes
    )


def cells_of(view: View) -> tuple[Cell, ...]:
    """The table, once there is something to tell."""
    if view.facts.model is None or view.not_modelled:
        return ()
    return table(view.plan, view.facts, view.rows, view.free_ram)


def about(cell: Cell, view: View) -> Content:
    """One cell in a sentence."""
    name = f"{cell.method}, {cell.precision}, {count(cell.max_length)}: "
    return Content.assemble(Content.styled(name, "bold"), sentence(cell))


def sentence(cell: Cell) -> str:
    """What a cell takes, and what enter changes."""
    roughly = "roughly " if cell.rough else ""
    needed = "" if cell.needed is None else f"needs {roughly}{size(cell.needed)}"
    changed = changes_in_words(dict(cell.changes))
    match cell.verdict:
        case "unknown":
            return "cannot be told"
        case "no":
            return f"{needed}, and no change makes it fit" if needed else "no change makes it fit"
        case _:
            return f"{needed} with {changed}" if changed else needed


def changes_in_words(changes: Mapping[str, Any]) -> str:
    """What more a cell changes than its own method, precision and length."""
    said = {True: "on", False: "off"}
    return ", ".join(
        f"{name.split('.')[-1].replace('_', ' ')} "
        f"{said[value] if isinstance(value, bool) else value}"
        for name, value in changes.items()
        if name not in OWN
    )

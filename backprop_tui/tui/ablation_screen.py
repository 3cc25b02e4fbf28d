"""The table of an ablation: a line a cell; below it the decision, or what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer, Static

from backprop_tui.core.ablation_text import MEASURES
from backprop_tui.core.decision import Decision
from backprop_tui.core.grid import Ablation
from backprop_tui.core.text import duration, plural
from backprop_tui.runs.ablation_table import Row, seconds_a_step
from backprop_tui.tui.cell_table import CellTable
from backprop_tui.tui.panels.panel import words
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS, is_plain
from backprop_tui.tui.too_small import TooSmall, watch_size

EVERY = 0.5  # seconds between two looks


class Owner(Protocol):
    """The app under the screen, which has the work."""

    def begin(self) -> None:
        """The screen is there: what is said has a place to stand."""

    def watch_cell(self, name: str) -> None:
        """Show the monitor of a cell."""

    def ask_to_leave(self) -> None:
        """Leave what is over; else ask whether to stop."""


class AblationScreen(Screen[None]):
    """A line a cell; below it the decision, or what it waits for."""

    CSS_PATH = "ablation.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "q,ctrl+q",
            "stop",
            "Stop",
            key_display="q",
            id="ablation.stop",
            tooltip="Stop and save the running cell, then leave",
            priority=True,
        ),
        Binding(
            "q,ctrl+q",
            "leave",
            "Leave",
            key_display="q",
            id="ablation.leave",
            tooltip="Everything is kept in the folder",
            priority=True,
        ),
        Binding("ctrl+c", "stop", "Stop", show=False, priority=True),
        Binding("ctrl+c", "leave", "Leave", show=False, priority=True),
    ]

    def __init__(
        self,
        plan: Ablation,
        look: Callable[[], list[Row]],
        clock: Callable[[], float],
        *,
        paired: bool = True,
    ) -> None:
        super().__init__()
        self.paired = paired  # so that a cell that was trained is yet to be scored
        self.plan, self._look, self._clock = plan, look, clock
        self._began = clock()
        self._took: float | None = None  # seconds, once everything is over
        self.rows: list[Row] = []
        self.decision: Decision | None = None

    @property
    def owner(self) -> Owner:
        """The app."""
        return cast(Owner, self.app)

    def compose(self) -> ComposeResult:
        """Head, table, decision, what is going on, keys."""
        yield Static("", id="head")
        with VerticalScroll(id="around", can_focus=False) as around:
            around.border_title = "cells"
            yield CellTable(id="table")
        with VerticalScroll(id="decision-box") as box:
            box.border_title = "decision"
            yield Static("", id="decision")
        yield Static("", id="said")
        yield Footer(show_command_palette=False)
        yield TooSmall()

    def on_mount(self) -> None:
        """Begin to look."""
        self.set_class(is_plain(), "plain")
        self.query_one(CellTable).focus()
        self._explain()
        self.run_worker(self._follow())
        self.owner.begin()

    def on_resize(self, event: Resize) -> None:
        """Too small a window is said."""
        watch_size(self, event.size)

    async def _follow(self) -> None:
        while True:
            try:
                self.show(await asyncio.to_thread(self._look))
            except OSError as error:
                self.say(f"{error.filename}: {error.strerror or error}; it is tried again")
            await asyncio.sleep(EVERY)

    def show(self, rows: list[Row]) -> None:
        """Show the cells as they are."""
        self.rows = [
            replace(row, state="scoring") if self.paired and row.state == "trained" else row
            for row in rows
        ]
        chosen = self.decision.setting if self.decision else None
        self.query_one(CellTable).show(self.rows, chosen)
        put(self.query_one("#head", Static), self._head(), layout=False)
        if self.decision is None:
            self._explain()

    def decided(self, decision: Decision) -> None:
        """Show what came of it."""
        self.decision = decision
        self._took = self._clock() - self._began
        title = {"winner": f"{SIGNS.done} decision: a winner"}.get(
            decision.kind, f"{SIGNS.note} decision: {decision.kind.replace('-', ' ')}"
        )
        box = self.query_one("#decision-box", VerticalScroll)
        box.border_title = title
        box.set_class(decision.kind == "winner", "decided")
        text = [Content.styled(words(decision.sentence), "bold")]
        text += [Content(words(f"{SIGNS.dot} {reason}")) for reason in decision.reasons]
        text += [Content(), *self._small_print()]
        put(self.query_one("#decision", Static), Content("\n").join(text))
        self.refresh_bindings()
        if self.rows:
            self.show(self.rows)

    def say(self, text: str) -> None:
        """One line of what is going on."""
        put(self.query_one("#said", Static), Content(words(text)), layout=False)

    def _explain(self) -> None:
        rule = (
            "The winner needs at least one more held-out pair right than the runner-up and a "
            "cleaner margin; else the simpler setting is preferred."
        )
        text = [
            Content.styled(words(f"{row.name} failed: {row.why}"), "$text-error")
            for row in self.rows
            if row.state == "failed"
        ]
        text += [Content(words(rule)), Content(), *self._small_print()]
        put(self.query_one("#decision", Static), Content("\n").join(text))

    def _small_print(self) -> list[Content]:
        """What the columns are, and what else differs between the cells."""
        return [Content.styled(words(text), "$muted") for text in (*self.plan.notes, MEASURES)]

    def _head(self) -> Content:
        cells = self.rows[1:]
        over = sum(row.state in ("scored", "trained", "failed") for row in cells)
        parts = [f"{over} of {plural(len(cells), 'cell')} done"]
        parts.append(f"{duration(self._seconds())} elapsed")
        left, pace = self._steps_left(), seconds_a_step(cells)
        if left and pace:
            parts.append(f"about {duration(left * pace)} of training left")
        elif left is None:
            parts.append("time left not known yet")
        first = Content.assemble(("ablate", "bold"), f"  {words(self.plan.grid)}")
        return Content("\n").join([first, Content(f" {SIGNS.dot} ".join(parts))])

    def _seconds(self) -> float:
        return self._clock() - self._began if self._took is None else self._took

    def _steps_left(self) -> int | None:
        """Of all cells; one that has not begun takes as many as those that have. None: unknown."""
        known = [row.steps for row in self.rows if row.steps]
        if not known:
            return None
        return sum(
            max(0, (row.steps or max(known)) - row.step)
            for row in self.rows[1:]
            if row.state != "failed"
        )

    @on(CellTable.Taken)
    def watch_cell(self, event: CellTable.Taken) -> None:
        """The monitor of a cell."""
        self.owner.watch_cell(event.name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Stopping while there is something to stop, then leaving."""
        if action in ("stop", "leave"):
            return (self.decision is None) == (action == "stop")
        return True

    def action_stop(self) -> None:
        """Ask whether to stop."""
        self.action_leave()

    def action_leave(self) -> None:
        """Leave what is over; else ask whether to stop."""
        self.owner.ask_to_leave()

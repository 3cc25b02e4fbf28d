"""The monitor of one cell, over the table of its ablation: leaving it leads back there."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from backprop_tui.core.events import Failed
from backprop_tui.tui.ending import EndScreen, FailureScreen, SummaryScreen
from backprop_tui.tui.watch_screen import WatchScreen


class CellScreen(WatchScreen):
    """A run of the ablation; q, escape and ctrl+q lead back to the table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "request_quit", "Table", priority=True, tooltip="Back to the table"),
        Binding("escape,q,d", "request_quit", "Table", show=False),
        Binding("ctrl+c", "request_quit", "Table", show=False, priority=True),
    ]

    def request_quit(self) -> None:
        """Back to the table: nothing ends by it."""
        self.dismiss(None)

    def action_quit_charts(self) -> None:
        """The same, from the charts of a run that is over."""
        self.request_quit()

    def action_summary(self) -> None:
        """How the cell ended."""
        if self.history.ended is not None and self.is_current:
            failed = isinstance(self.history.ended, Failed)
            screen: EndScreen = (_Failure if failed else _Summary)(self.history)
            self.app.push_screen(screen)


TO_THE_TABLE = Binding(
    "q,ctrl+q", "leave", "Table", tooltip="Back to the table of the ablation", priority=True
)


class _Summary(SummaryScreen):
    """Leaving it leads to the table, not out of the program."""

    BINDINGS: ClassVar[list[BindingType]] = [TO_THE_TABLE]

    def action_leave(self) -> None:
        """Close this and the monitor below."""
        _to_the_table(self)


class _Failure(FailureScreen):
    """The same of a cell that failed."""

    BINDINGS: ClassVar[list[BindingType]] = [TO_THE_TABLE]

    def action_leave(self) -> None:
        """Close this and the monitor below."""
        _to_the_table(self)


def _to_the_table(ending: EndScreen) -> None:
    below = ending.app.screen_stack[-2]
    ending.dismiss(None)
    if isinstance(below, CellScreen):
        ending.app.call_later(below.request_quit)

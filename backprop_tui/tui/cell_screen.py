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


class _Summary(SummaryScreen):
    """Leaving it leads to the charts, not out of the program."""

    def action_leave(self) -> None:
        self.dismiss(None)


class _Failure(FailureScreen):
    """The same of a cell that failed."""

    def action_leave(self) -> None:
        self.dismiss(None)

"""An app that shows the monitor alone, and plays a run into it when started by hand.

python -m tests.tui.monitor_harness simpo 120 [--cuda] [--end|--stop|--fail] [--live]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from textual.app import App

from backprop_tui.core.control import Control
from backprop_tui.core.events import Event
from backprop_tui.core.methods import MethodName
from backprop_tui.core.runfile import MachineSection, ModelSection, RunFile
from backprop_tui.tui.messages import RunEvent
from backprop_tui.tui.monitor import MonitorScreen
from tests.tui import histories


class MonitorHarness(App[None]):
    """The monitor as the real app pushes it."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, method: MethodName = "simpo", *, cuda: bool = False) -> None:
        super().__init__()
        self.control = Control()
        self.helped = False
        self.monitor = MonitorScreen(
            RunFile(
                method=method,
                model=ModelSection(id="pocket"),
                machine=MachineSection(device="auto" if cuda else "cpu"),
            ),
            self.control,
        )

    def on_mount(self) -> None:
        self.push_screen(self.monitor)

    def action_help(self) -> None:
        self.helped = True

    async def action_quit(self) -> None:
        self.monitor.request_quit()

    def post(self, events: Iterable[Event]) -> None:
        """What the training thread does."""
        for event in events:
            self.monitor.post_message(RunEvent(event))


class Player(MonitorHarness):
    """Plays a stream at the pace of its own clock."""

    def __init__(self, method: MethodName, events: list[Event], *, cuda: bool, live: bool) -> None:
        super().__init__(method, cuda=cuda)
        self.events, self.live = events, live

    def on_ready(self) -> None:
        self.run_worker(self.play())

    async def play(self) -> None:
        before = 0.0
        for event in self.events:
            if self.live:
                await asyncio.sleep(min(1.0, max(0.0, event.t - before)))
                before = event.t
            self.post([event])
            if self.control.stopping and self.monitor.history.ended is None:
                last = self.monitor.history.last
                self.post(histories.ending("simpo", last.step if last else 0, stopped=True))
                return


def main(arguments: list[str]) -> None:
    names = [item for item in arguments if not item.startswith("--")]
    method: MethodName = names[0] if names else "simpo"
    upto = int(names[1]) if len(names) > 1 else 120
    cuda = "--cuda" in arguments
    events = list(histories.training(method, upto=upto, cuda=cuda))
    if "--end" in arguments or "--stop" in arguments:
        events += histories.ending(method, upto, stopped="--stop" in arguments)
    if "--fail" in arguments:
        events.append(histories.failure())
    Player(method, events, cuda=cuda, live="--live" in arguments).run()


if __name__ == "__main__":
    main(sys.argv[1:])

"""The monitor: events of a run, as they come, in panels. What is asked of it: monitor_requests.py.

Events arrive as RunEvent messages, go into one History and into the panels, and are drawn by a
clock: the header twice a second, the panels once, so that the screen takes next to nothing from
the trainer (tests/tui/redraw_cost.py counts it).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize
from textual.widgets import Footer

from backprop_tui.core.control import Control
from backprop_tui.core.events import Failed, Finished, Saved, Started
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import Question
from backprop_tui.tui.messages import RunEvent
from backprop_tui.tui.monitor_requests import AskingScreen
from backprop_tui.tui.panels.accuracy import AccuracyPanel
from backprop_tui.tui.panels.gpu import GpuPanel
from backprop_tui.tui.panels.log import LogPanel
from backprop_tui.tui.panels.loss import GradientPanel, LossPanel
from backprop_tui.tui.panels.margin import MarginPanel
from backprop_tui.tui.panels.memory_live import MemoryPanel
from backprop_tui.tui.panels.panel import Panel
from backprop_tui.tui.panels.progress import ProgressPanel
from backprop_tui.tui.panels.reading import ReadingPanel
from backprop_tui.tui.panels.rewards import RewardsPanel
from backprop_tui.tui.signs import SIGNS, is_plain
from backprop_tui.tui.too_small import TooSmall, watch_size

TICK = 0.5  # seconds between two looks at the header
PANELS_EVERY = 2  # ticks between two redraws of everything
COMPACT_WIDTH, COMPACT_HEIGHT = 108, 33  # below either, fewer and smaller panels


class MonitorScreen(AskingScreen):
    """One run, live. The app posts RunEvent to it and asks `request_quit` to leave."""

    CSS_PATH = "monitor.tcss"
    AUTO_FOCUS = ""  # the log takes the focus only when asked

    def __init__(
        self, run: RunFile, control: Control, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(control)
        self.run, self.clock = run, clock
        self._now = (0.0, clock())  # time of the newest event, and when it came

    def compose(self) -> ComposeResult:
        """Header, panels of the method, log, keys."""
        sft = self.run.method == "sft"
        yield ProgressPanel(self.history, self.run.method, self.run.model.id, id="progress")
        with Container(id="panels", classes="sft" if sft else "preference"):
            if sft:
                yield LossPanel(id="loss", classes="large")
                yield GradientPanel(id="gradient")
            else:
                yield MarginPanel(id="margin", classes="large")
                yield RewardsPanel(id="rewards")
                yield LossPanel(id="loss")
                yield AccuracyPanel(id="accuracy")
            yield MemoryPanel(on_cpu=self.run.machine.device == "cpu", id="memory")
            yield ReadingPanel(self.history, id="reading")
            yield GpuPanel(id="gpu")
        yield LogPanel(id="log")
        yield Footer(show_command_palette=False)
        yield TooSmall()

    def on_mount(self) -> None:
        """Start the clock that draws."""
        self.set_class(is_plain(), "plain")
        self.set_class(self.run.machine.device == "cpu", "on-cpu")
        self._panels = list(self.query(Panel))
        self._log = self.query_one(LogPanel)
        self._progress = self.query_one(ProgressPanel)
        self._reading = self.query_one(ReadingPanel)
        self._ticks = 0
        self._timer = self.set_interval(TICK, self.tick)

    def on_resize(self, event: Resize) -> None:
        """Fewer panels where there is little room."""
        small = event.size.width < COMPACT_WIDTH or event.size.height < COMPACT_HEIGHT
        self.set_class(small, "compact")
        watch_size(self, event.size)

    def on_run_event(self, message: RunEvent) -> None:
        """Take in what happened; the clock draws it."""
        event = message.event
        self.history.add(event)
        self._now = (event.t, self.clock())
        for panel in self._panels:
            panel.take(event)
        self._log.take(event)
        match event:
            case Started():
                self.set_class(event.device.lower().startswith("cpu"), "on-cpu")
                self.refresh_bindings()
            case Saved() if not self.control.stopping:
                self.ask("")
            case Finished() | Failed():
                self._end()

    def tick(self) -> None:
        """Draw the header; every other time the rest, too."""
        if self._ticks % PANELS_EVERY == 0:
            self.draw()
        else:
            self._tell_time()
            self._progress.redraw()
        self._ticks += 1

    def draw(self) -> None:
        """Draw everything that changed, now."""
        self._tell_time()
        with self.app.batch_update():
            for panel in self._panels:
                panel.redraw()
            self._log.redraw()
            self._reading.redraw()

    def _tell_time(self) -> None:
        then, came = self._now
        if self.history.ended is None:
            self._progress.tick(then + self.clock() - came)

    def ask(self, note: str) -> None:
        """In the header."""
        self._progress.ask(note)

    def record(self, text: str) -> None:
        """In the log, at the time of the newest event."""
        self._log.write(self._now[0], SIGNS.here, text)

    def _end(self) -> None:
        """The run is over: draw the last state, close a question about it, show how it ended."""
        self.ask("")
        self.refresh_bindings()
        self._timer.stop()
        self.draw()
        if self.leaving:
            self.run_worker(self.leave())
            return
        if isinstance(self.app.screen, Question):
            self.app.screen.dismiss(False)
        self.call_later(self.action_summary)

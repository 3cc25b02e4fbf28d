"""The monitor: events of a run, as they come, in panels. What is asked of it: monitor_requests.py.

Events arrive as RunEvent messages, go into one History and into the panels, and are drawn by a
clock: the header twice a second, the panels once, so that the screen takes next to nothing from
the trainer (tests/tui/redraw_cost.py counts it).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize
from textual.widgets import Footer

from backprop_tui.core.control import Control
from backprop_tui.core.events import (
    Continued,
    Evaluated,
    Event,
    Paused,
    Resumed,
    Saved,
    Started,
    Step,
)
from backprop_tui.core.history import History
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import EndScreen, Question
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
        self.take([message.event])

    def take(self, events: Sequence[Event]) -> None:
        """Take in what happened, in order."""
        if not events:
            return
        before = self.history.ended
        for event in events:
            self.history.add(event)
            self._log.take(event)
        self._now = (events[-1].t, self.clock())
        if any(isinstance(event, Resumed) for event in events):
            self._rebuild()
        else:
            for panel in self._panels:
                for event in events:
                    panel.take(event)
        for event in events:
            self._answer(event)
        if self.history.ended is not None and self.history.ended is not before:
            self._end()

    def _answer(self, event: Event) -> None:
        """What was asked of the run and is done by this event; which keys work after it."""
        match event:
            case Started():
                self.set_class(event.device.lower().startswith("cpu"), "on-cpu")
                self.refresh_bindings()
            case Paused() | Continued():
                self.wanted = None
                if not self.control.stopping:
                    self.ask("")
                self.refresh_bindings()
            case Saved() if not (self.control.stopping or self.wanted):
                self.ask("")
            case Resumed():
                self.live_again()
                self.refresh_bindings()

    def live_again(self) -> None:
        """A run that had ended, or was thought to have, was taken up."""
        self.wanted = None
        self.ask("")
        self._timer.resume()
        if isinstance(self.app.screen, EndScreen):
            self.app.screen.dismiss()

    def forget(self) -> None:
        """Begin anew: what was shown is not the run that is there."""
        fresh = History()
        for item in fields(fresh):
            setattr(self.history, item.name, getattr(fresh, item.name))
        self._log.clear()
        self._rebuild()

    def _rebuild(self) -> None:
        """Fill the panels with what holds: a part of the run was done again, or will be."""
        told = self.history
        measured: list[Step | Evaluated] = [*told.steps, *told.evaluations]
        measured.sort(key=lambda event: event.step)
        kept: list[Event | None] = [told.started, told.probed, *measured, *told.gpu]
        for panel in self._panels:
            panel.restart()
            for event in kept:
                if event is not None:
                    panel.take(event)

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
        self.wanted = None
        self.ask("")
        self.refresh_bindings()
        self._timer.pause()
        self.draw()
        if self.leaving:
            self.run_worker(self.leave())
            return
        if isinstance(self.app.screen, Question):
            self.app.screen.dismiss(False)
        self.call_later(self.action_summary)

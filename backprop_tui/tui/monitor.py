"""The monitor: events of a run, as they come, in panels. Asks before anything ends.

Events arrive as RunEvent messages, go into one History and into the panels, and are drawn by a
clock: the header twice a second, the panels once, so that the screen takes next to nothing from
the trainer (tests/tui/redraw_cost.py counts it).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import WorkerError

from backprop_tui.core.control import Control
from backprop_tui.core.events import Failed, Finished, History, Saved, Started
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import EndScreen, FailureScreen, Question, SummaryScreen, exit_code
from backprop_tui.tui.messages import RunEvent
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

TRAINING = "training"  # the group of the thread that trains
TICK = 0.5  # seconds between two looks at the header
PANELS_EVERY = 2  # ticks between two redraws of everything
COMPACT_WIDTH, COMPACT_HEIGHT = 108, 33  # below either, fewer and smaller panels


class MonitorScreen(Screen[None]):
    """One run, live. The app posts RunEvent to it and asks `request_quit` to leave."""

    CSS_PATH = "monitor.tcss"
    AUTO_FOCUS = ""  # the log takes the focus only when asked
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", id="monitor.help", tooltip="What the panels mean"),
        Binding(
            "f2,ctrl+s",
            "save_now",
            "Save now",
            id="monitor.save",
            tooltip="Write a checkpoint after this step and go on",
        ),
        Binding(
            "f4,ctrl+x",
            "stop",
            "Stop and save",
            id="monitor.stop",
            tooltip="Stop after this step and keep what was learned",
        ),
        Binding("enter", "summary", "Summary", id="monitor.summary", tooltip="How the run ended"),
        Binding(
            "b,ctrl+b",
            "plan",
            "Plan",
            id="monitor.plan",
            tooltip="Back to the plan, to change it and start again",
        ),
        Binding("q", "quit_charts", "Quit", show=False),
        Binding(
            "ctrl+q",
            "request_quit",
            "Quit",
            id="monitor.quit",
            tooltip="Leave; while training, stop and save first",
            priority=True,
        ),
        Binding("ctrl+c", "request_quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self, run: RunFile, control: Control, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.run, self.control, self.clock = run, control, clock
        self.history = History()
        self.leaving = False  # quit as soon as the run has ended
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
                self._progress.ask("")
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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make sense now: saving needs a step, stopping a run, a summary an end."""
        over = self.history.ended is not None
        match action:
            case "help":
                return hasattr(self.app, "action_help")
            case "save_now":
                return not over and (self._can_save() or None)
            case "stop":
                return not over and (not self.control.stopping or None)
            case "summary" | "quit_charts":
                return over
            case "plan":
                return over and hasattr(self.app, "action_back_to_plan")
        return True

    def _can_save(self) -> bool:
        return self.history.started is not None and not self.control.stopping

    def action_help(self) -> None:
        """The app's help."""
        self.call_later(self.app.run_action, "app.help")

    def action_save_now(self) -> None:
        """Ask for a checkpoint."""
        self.control.save()
        self._progress.ask(f"{SIGNS.here} checkpoint after this step")
        self._log.write(self._now[0], SIGNS.here, "you asked for a checkpoint")

    def action_stop(self) -> None:
        """Stop after a question."""
        self._ask_to_stop(
            "Stop and save?",
            "The run stops after the step in progress. What it learned so far is saved as a "
            "usable adapter.",
            yes="Stop and save",
            leave=False,
        )

    def action_plan(self) -> None:
        """Back to the wizard."""
        self.call_later(self.app.run_action, "app.back_to_plan")

    def action_quit_charts(self) -> None:
        """Leave the charts of a run that is over."""
        self.request_quit()

    def action_request_quit(self) -> None:
        """Leave by key."""
        self.request_quit()

    def request_quit(self) -> None:
        """Leave: at once when the run is over; else ask, stop, save, and leave then."""
        if self.history.ended is not None:
            self.app.exit(return_code=exit_code(self.history.ended))
        elif self.leaving:
            self._push_question(
                "Leave without waiting?",
                "The run was asked to stop and is still saving. Leaving now may lose what was "
                "learned since the last checkpoint.",
                yes="Leave now",
                no="Wait",
                then=lambda: self.app.exit(return_code=exit_code(None)),
            )
        elif self.control.stopping:
            self._leave_after_stop()
        else:
            self._ask_to_stop(
                "Stop and save, then quit?",
                "The model is still training. It stops after the step in progress, saves a "
                "usable adapter, and then the program ends.",
                yes="Stop, save, quit",
                leave=True,
            )

    def action_summary(self) -> None:
        """How the run ended."""
        if self.history.ended is not None:
            failed = isinstance(self.history.ended, Failed)
            screen: EndScreen = (FailureScreen if failed else SummaryScreen)(self.history)
            self.app.push_screen(screen)

    def _ask_to_stop(self, title: str, text: str, *, yes: str, leave: bool) -> None:
        def stop() -> None:
            if self.history.ended is not None:
                return
            self.control.stop()
            self._log.write(self._now[0], SIGNS.here, "you asked to stop and save")
            self._progress.ask(f"{SIGNS.here} stopping after this step{SIGNS.more}")
            self.refresh_bindings()
            if leave:
                self._leave_after_stop()

        self._push_question(title, text, yes=yes, no="Keep training", then=stop)

    def _push_question(
        self, title: str, text: str, *, yes: str, no: str, then: Callable[[], None]
    ) -> None:
        def answered(answer: bool | None) -> None:
            if answer:
                then()

        if not isinstance(self.app.screen, Question):
            self.app.push_screen(Question(title, text, yes=yes, no=no), answered)

    def _leave_after_stop(self) -> None:
        self.leaving = True
        self._progress.ask(f"{SIGNS.here} stopping after this step and saving{SIGNS.more}")

    def _end(self) -> None:
        """The run is over: draw the last state, close a question about it, show how it ended."""
        self._progress.ask("")
        self.refresh_bindings()
        self._timer.stop()
        self.draw()
        if self.leaving:
            self.run_worker(self._leave())
            return
        if isinstance(self.app.screen, Question):
            self.app.screen.dismiss(False)
        self.call_later(self.action_summary)

    async def _leave(self) -> None:
        """The screen stays until the thread is done: an empty terminal would seem to hang."""
        self._progress.ask(f"{SIGNS.here} saved, closing{SIGNS.more}")
        for worker in [item for item in self.app.workers if item.group == TRAINING]:
            with suppress(WorkerError):
                await worker.wait()
        self.app.exit(return_code=exit_code(self.history.ended))

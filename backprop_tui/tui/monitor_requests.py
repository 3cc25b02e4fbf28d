"""What can be asked of a run: save, stop, leave. Nothing ends without a question."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.worker import WorkerError

from backprop_tui.core.control import Control
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Failed
from backprop_tui.core.history import History
from backprop_tui.tui.ending import EndScreen, FailureScreen, Question, SummaryScreen, exit_code
from backprop_tui.tui.signs import SIGNS

TRAINING = "training"  # the group of the thread that trains

NOTHING_YET = "No step has been taken yet, so there is nothing to save."


class AskingScreen(Screen[None]):
    """The keys of a screen over one run. What it shows is its subclass's: see `ask`, `record`."""

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
            "f3",
            "pause",
            "Pause",
            id="monitor.pause",
            tooltip="Wait after this step; everything stays in memory",
        ),
        Binding("f3", "go_on", "Go on", id="monitor.go_on", tooltip="Train on where it was paused"),
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

    def __init__(self, control: Control) -> None:
        super().__init__()
        self.control = control
        self.history = History()
        self.leaving = False  # quit as soon as the run has ended
        self.wanted: bool | None = None  # a pause, or none, that was asked for and has not come

    def ask(self, note: str) -> None:
        """Show at once what was asked of the run and is not done yet; "" when it is."""
        raise NotImplementedError

    def record(self, text: str) -> None:
        """Keep among the events what the user asked for."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that make sense now: saving needs a step, stopping a run, a summary an end."""
        over, reachable = self.history.ended is not None, self.reachable()
        match action:
            case "help":
                return hasattr(self.app, "action_help")
            case "save_now":
                return not over and ((reachable and self._can_save()) or None)
            case "pause":
                return not (over or self.paused) and ((reachable and self._can_save()) or None)
            case "go_on":
                return not over and self.paused and ((reachable and self._can_save()) or None)
            case "stop":
                return not over and ((reachable and not self.control.stopping) or None)
            case "summary" | "quit_charts":
                return over
            case "plan":
                return over and hasattr(self.app, "action_back_to_plan")
        return True

    def reachable(self) -> bool:
        """Whether a process is there that would hear a request."""
        return True

    @property
    def paused(self) -> bool:
        """Whether the run waits, or was asked to and has not said so yet."""
        return self.history.paused is not None if self.wanted is None else self.wanted

    def _can_save(self) -> bool:
        return self.history.started is not None and not self.control.stopping

    def action_help(self) -> None:
        """The app's help."""
        self.call_later(self.app.run_action, "app.help")

    def action_save_now(self) -> None:
        """Ask for a checkpoint."""
        if self._heard(self.control.save):
            self.ask(f"{SIGNS.here} checkpoint after this step")
            self.record("you asked for a checkpoint")

    def action_pause(self) -> None:
        """Ask for a pause."""
        if self._heard(self.control.pause):
            self.wanted = True
            self.ask(f"{SIGNS.here} pausing after this step")
            self.record("you asked for a pause")
            self.refresh_bindings()

    def action_go_on(self) -> None:
        """Take the pause back. What pauses for another reason keeps its own."""
        if self._heard(self.control.go_on):
            self.wanted = None if self.history.paused else False
            self.ask("")
            self.record("you asked it to go on")
            self.refresh_bindings()

    def _heard(self, ask: Callable[[], None]) -> bool:
        """Whether a request could be made; why not is said."""
        try:
            ask()
        except BackpropError as error:
            self.notify(f"{error.message}. {error.hint}", severity="error", title="Not asked")
            return False
        return True

    def action_stop(self) -> None:
        """Stop after a question."""
        learned = bool(self.history.steps)
        self._ask_to_stop(
            "Stop and save?" if learned else "Stop?",
            "The run stops after the step in progress. What it learned so far is saved as a "
            "usable adapter."
            if learned
            else NOTHING_YET,
            yes="Stop and save" if learned else "Stop",
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
            self.leave_after_stop()
        else:
            learned = bool(self.history.steps)
            self._ask_to_stop(
                "Stop and save, then quit?" if learned else "Stop and quit?",
                "The model is still training. It stops after the step in progress, saves a "
                "usable adapter, and then the program ends."
                if learned
                else NOTHING_YET,
                yes="Stop, save, quit" if learned else "Stop and quit",
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
            if self.history.ended is not None or not self._heard(self.control.stop):
                return
            self.record("you asked to stop and save")
            self.ask(f"{SIGNS.here} stopping after this step{SIGNS.more}")
            self.refresh_bindings()
            if leave:
                self.leave_after_stop()

        self._push_question(title, text, yes=yes, no="Keep training", then=stop)

    def _push_question(
        self, title: str, text: str, *, yes: str, no: str, then: Callable[[], None]
    ) -> None:
        def answered(answer: bool | None) -> None:
            if answer:
                then()

        if not isinstance(self.app.screen, Question):
            self.app.push_screen(Question(title, text, yes=yes, no=no), answered)

    def leave_after_stop(self) -> None:
        """The run was asked to stop; the program ends when it has."""
        self.leaving = True
        self.ask(f"{SIGNS.here} stopping after this step and saving{SIGNS.more}")

    async def leave(self) -> None:
        """The screen stays until the thread is done: an empty terminal would seem to hang."""
        self.ask(f"{SIGNS.here} saved, closing{SIGNS.more}")
        for worker in [item for item in self.app.workers if item.group == TRAINING]:
            with suppress(WorkerError):
                await worker.wait()
        self.app.exit(return_code=exit_code(self.history.ended))

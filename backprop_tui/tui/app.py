"""The app: one plan, the wizard that fills it in, the monitor that watches it train."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.worker import Worker, WorkerState

from backprop_tui.core.control import Control
from backprop_tui.core.errors import EXIT_INTERRUPTED
from backprop_tui.core.events import Event, Failed, Finished
from backprop_tui.core.facts import Facts
from backprop_tui.core.history import History
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import Question, exit_code
from backprop_tui.tui.last_words import STILL_STOPPING, last_words
from backprop_tui.tui.memory_asker import MemoryAsker
from backprop_tui.tui.messages import RunEvent
from backprop_tui.tui.signs import is_plain
from backprop_tui.tui.terminal import captured_output
from backprop_tui.tui.warm import warm_imports
from backprop_tui.tui.wizard import WizardScreen
from backprop_tui.tui.words import output_path

if TYPE_CHECKING:
    from backprop_tui.tui.monitor import MonitorScreen

TRAINING = "training"  # as in monitor_requests.py, which is loaded late
WARM_AFTER = 2.0  # seconds: well after the first paint, well before the training
# Absolute, so that a subclass elsewhere finds them too.
STYLES: list[str | PurePath] = [
    Path(__file__).with_name(name) for name in ("app.tcss", "steps.tcss")
]
BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # columns from which a class is set


class BackpropApp(MemoryAsker):
    """The wizard and the monitor. run: a plan to begin with. save_to: where ctrl+s proposes."""

    TITLE = "backprop-tui"
    CSS_PATH = STYLES
    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", id="app.help", tooltip="Keys, steps and files"),
        Binding(
            "ctrl+q",
            "quit",
            "Quit",
            id="app.quit",
            priority=True,
            tooltip="Leave; asks first when something would be lost",
        ),
        Binding("ctrl+c", "interrupt", "Interrupt", id="app.interrupt", priority=True, show=False),
    ]

    def __init__(
        self, run: RunFile | None = None, facts: Facts | None = None, save_to: Path | None = None
    ) -> None:
        super().__init__(run, facts)
        self.save_to = save_to
        self.control: Control | None = None
        # Set by the training thread, read when the app has ended: one write of a frozen value.
        self.ending: Finished | Failed | None = None
        self.history: History | None = None  # of the newest training
        self.saved_plan = self.plan  # as begun with, or as last saved
        self._given = facts

    def on_mount(self) -> None:
        self.set_class(is_plain(), "-plain")
        self.start_reading(self._given)
        self.set_timer(WARM_AFTER, self._warm)

    def _warm(self) -> None:
        gpu = self.facts.gpu
        warm_imports(one_card=gpu is not None and len(gpu.cards) < 2)

    def get_key_display(self, binding: Binding) -> str:
        """A key in the footer; in words where the terminal asked for plain signs."""
        shown = super().get_key_display(binding)
        return shown.replace("⏎", "enter") if is_plain() else shown

    def get_css_variables(self) -> dict[str, str]:
        variables = super().get_css_variables()
        # For second-rank text; the theme's own $text-muted does not work inside a text.
        variables["muted"] = variables["foreground-muted"]
        self.theme_variables = variables
        return variables

    def get_default_screen(self) -> WizardScreen:
        return WizardScreen()

    def proposed_name(self) -> Path:
        """Where ctrl+s would write: as asked, as last time, or after the plan."""
        return self.save_to or Path(f"{output_path(self.plan).name}.toml")

    def saved(self, path: Path) -> None:
        """The plan is on disk: nothing would be lost by leaving."""
        self.save_to, self.saved_plan = path, self.plan

    # Training

    def start_training(self) -> None:
        """Watch the plan train. The caller has seen to it that no problem is left."""
        from backprop_tui.tui.monitor import MonitorScreen

        self.stop_asking()  # what it holds is wanted for the training
        self.control = Control()
        self.ending = None
        screen = MonitorScreen(self.plan, self.control)
        self.history = screen.history
        self.push_screen(screen)
        # From the app, so that the thread does not die with a screen.
        self.run_worker(
            partial(self._train, self.plan, self.control, screen),
            name=TRAINING,
            group=TRAINING,
            thread=True,
            exit_on_error=False,
        )

    def _train(self, run: RunFile, control: Control, screen: MonitorScreen) -> None:
        """The training thread. Touches no widget: every event is posted."""
        from backprop_tui.train.runner import train

        def emit(event: Event) -> None:
            if isinstance(event, Finished | Failed):
                self.ending = event
            screen.post_message(RunEvent(event))

        train(run, emit, control)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A trainer that could not even be loaded ends like one that failed."""
        super().on_worker_state_changed(event)
        if event.worker.group == TRAINING and event.state is WorkerState.ERROR:
            self.ending = Failed(
                t=0.0,
                code="TRAINER_BROKEN",
                message=f"The trainer could not be started: {event.worker.error}",
                hint="backprop-tui doctor says which library is missing",
                log="",
            )
            if (monitor := self._monitor()) is not None:
                monitor.post_message(RunEvent(self.ending))

    def _monitor(self) -> MonitorScreen | None:
        if self.control is None:
            return None
        from backprop_tui.tui.monitor import MonitorScreen

        return next((s for s in reversed(self.screen_stack) if isinstance(s, MonitorScreen)), None)

    def on_unmount(self) -> None:
        """Quitting waits for threads: let the training end within a step, an answer at once."""
        self.stop_asking()
        if self.control is not None:
            self.control.stop()

    def action_back_to_plan(self) -> None:
        """After the end of a run: the wizard, with the plan as it was."""
        monitor = self._monitor()
        if monitor is None or monitor.history.ended is None:
            return
        while not isinstance(self.screen, WizardScreen):
            self.pop_screen()
        self.control = None
        self.ask_again()
        self.look_at_card()  # what the run took was learnt
        self.refresh_view()  # the run folder exists now

    # Leaving

    async def run_async(self, *args: Any, **options: Any) -> int | None:
        """Say what the terminal waits for when the training thread outlives the screen."""
        result = await super().run_async(*args, **options)
        if self.history is not None and self.ending is None:
            print(STILL_STOPPING, file=sys.__stdout__, flush=True)
        return result

    async def action_quit(self) -> None:
        """Leave. The monitor asks while a training runs, the wizard when the plan is unsaved."""
        monitor = self._monitor()
        if isinstance(self.screen, Question):
            self.screen.dismiss(False)
        elif monitor is not None:
            monitor.request_quit()
        elif self.plan == self.saved_plan:
            self.exit()
        else:
            self._ask_to_lose_the_plan(0)

    async def action_interrupt(self) -> None:
        """ctrl+c: leave as interrupted, after a question when something would be lost."""
        asked = isinstance(self.screen, Question)
        if self._monitor() is not None:
            await self.action_quit()
        elif asked or self.plan == self.saved_plan:
            self.exit(return_code=EXIT_INTERRUPTED)
        else:
            self._ask_to_lose_the_plan(EXIT_INTERRUPTED)

    def _ask_to_lose_the_plan(self, code: int) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.exit(return_code=code)

        question = Question(
            "Quit without saving?",
            "What you have filled in is not saved to a run file.",
            yes="Quit",
            no="Stay",
        )
        self.push_screen(question, answered)

    def action_help(self) -> None:
        """Keys, steps and files."""
        from backprop_tui.tui.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(training=self._monitor() is not None))

    @property
    def exit_code(self) -> int:
        """What the process returns: how the training ended, else how the wizard was left."""
        return (self.return_code or 0) if self.ending is None else exit_code(self.ending)


def run_app(run: RunFile | None = None, save_to: Path | None = None) -> int:
    """The wizard until the user leaves it; the exit code."""
    app = BackpropApp(run, save_to=save_to)
    with captured_output(output_log()):
        app.run()
    for text in last_words(app.history, app.ending):
        print(text)  # noqa: T201 - the terminal is the user's again
    return app.exit_code


def output_log() -> Path:
    """The file for what libraries print: the user's state folder, else the temporary one."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(home).expanduser() / "backprop-tui"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home
        folder = Path(tempfile.gettempdir())
    if not os.access(folder, os.W_OK):
        folder = Path(tempfile.gettempdir())
    return folder / f"tui-{os.getuid()}.log"

"""The app: one plan, the wizard that fills it in, the monitor that watches it train."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import ClassVar

from textual.binding import Binding, BindingType

from backprop_tui.core.errors import EXIT_INTERRUPTED
from backprop_tui.core.facts import Facts
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import Question
from backprop_tui.tui.outlive import outliving
from backprop_tui.tui.signs import is_plain
from backprop_tui.tui.terminal import captured_output, output_log
from backprop_tui.tui.training import TrainingApp
from backprop_tui.tui.warm import warm_imports
from backprop_tui.tui.wizard import WizardScreen
from backprop_tui.tui.words import output_path

WARM_AFTER = 2.0  # seconds: well after the first paint, well before the training
# Absolute, so that a subclass elsewhere finds them too.
STYLES: list[str | PurePath] = [
    Path(__file__).with_name(name) for name in ("app.tcss", "steps.tcss")
]
BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # columns from which a class is set


class BackpropApp(TrainingApp):
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

    def action_back_to_plan(self) -> None:
        """After the end of a run: the wizard, with the plan as it was."""
        monitor = self.monitor()
        if monitor is None or monitor.history.ended is None:
            return
        while not isinstance(self.screen, WizardScreen):
            self.pop_screen()
        self.forget_training()
        self.ask_again()
        self.look_at_card()  # what the run took was learnt
        self.refresh_view()  # the run folder exists now

    # Leaving

    async def action_quit(self) -> None:
        """Leave. The monitor asks while a training runs, the wizard when the plan is unsaved."""
        monitor = self.monitor()
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
        if self.monitor() is not None:
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
            watching = self.background is not None
            self.push_screen(HelpScreen(training=self.monitor() is not None, watching=watching))


def run_app(run: RunFile | None = None, save_to: Path | None = None) -> int:
    """The wizard until the user leaves it, or the training it leaves behind ends; the exit code."""
    app = BackpropApp(run, save_to=save_to)
    with captured_output(output_log()) as let_go, outliving(app, let_go):
        app.run()
        app.wait_for_training()
    for text in app.last_words():
        print(text)  # noqa: T201 - the terminal is the user's again
    return app.exit_code

"""`ablate` on a terminal: the table of the cells while they are trained, then the decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import ClassVar

from backprop_tui.core import runfile_io
from backprop_tui.core.cells import Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.grid import Ablation
from backprop_tui.runs.ablation import AblationFolder
from backprop_tui.runs.ablation_table import Row, Table
from backprop_tui.runs.requests import is_run
from backprop_tui.runs.state import as_typed
from backprop_tui.tui.ablation_screen import AblationScreen
from backprop_tui.tui.cell_screen import CellScreen
from backprop_tui.tui.ending import Question
from backprop_tui.tui.outlive import OutlivingApp, outliving
from backprop_tui.tui.signs import SIGNS, is_plain
from backprop_tui.tui.terminal import captured_output, output_log

Done = tuple[Field, Decision]
Stopping = Callable[[], bool]
Work = Callable[[Stopping, Callable[[str], None]], Done | None]


class AblationApp(OutlivingApp):
    """The table, and a thread that does the work. When the terminal goes, the work goes on."""

    TITLE = "backprop-tui"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).with_name(name) for name in ("app.tcss", "steps.tcss")
    ]

    def __init__(
        self,
        folder: AblationFolder,
        plan: Ablation,
        work: Work,
        *,
        paired: bool = True,
        look: Callable[[], list[Row]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.folder, self.plan = folder, plan
        self.table = AblationScreen(plan, look or Table(folder, plan).rows, clock, paired=paired)
        self.done: Done | None = None
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._work = work
        self.thread = threading.Thread(target=self._run, name="ablation", daemon=True)

    def on_mount(self) -> None:
        """The table is all there is; the work begins."""
        self.set_class(is_plain(), "-plain")
        self.push_screen(self.table)

    def begin(self) -> None:
        """The table is there: the work begins, and what it says has a place to stand."""
        self.thread.start()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is no plan to go back to."""
        return action != "back_to_plan" and super().check_action(action, parameters)

    def _run(self) -> None:
        try:
            self.done = self._work(self._stop.is_set, self._tell)
        except (BackpropError, OSError) as error:
            self.error = error
        self._in_loop(self._over)

    def _tell(self, text: str) -> None:
        self._in_loop(lambda: self.table.say(text) if self._there() else None)

    def _there(self) -> bool:
        """Whether the screen still is; a work outlives it when the terminal is lost."""
        return self.is_running and self.table.is_mounted

    def _over(self) -> None:
        """The work has ended: show what came of it, or leave when that was asked for."""
        if not self._there():
            return
        if self.done is None or self._stop.is_set():
            self.exit(return_code=0)
            return
        if isinstance(self.screen, Question):
            self.screen.dismiss(False)
        self.table.decided(self.done[1])
        self.table.say(f"kept in {as_typed(self.folder.path)}; q leaves")

    def watch_cell(self, name: str) -> None:
        """Its monitor, once it has begun."""
        path = self.folder.cell(name)
        if not (is_run(path) and (path / "run.toml").is_file()):
            self.table.say(f"{name} has not begun")
            return
        try:
            run, _ = runfile_io.read(path / "run.toml", (), {})
        except BackpropError as error:
            self.table.say(error.message)
            return
        self.push_screen(CellScreen(run, path))

    def ask_to_leave(self) -> None:
        """Leave what is over; else ask whether to stop."""
        if not self.thread.is_alive():
            self.exit(return_code=0)
        elif self._stop.is_set():
            self.table.say(f"still stopping: the cell finishes its step and saves{SIGNS.more}")
        elif not isinstance(self.screen, Question):
            title = "Stop the ablation?"
            text = (
                "The running cell stops after the step in progress and saves. The same command "
                "goes on from there; what is finished is not done again."
            )
            self.push_screen(Question(title, text, yes="Stop and save", no="Go on"), self._answered)

    def _answered(self, yes: bool | None) -> None:
        if yes:
            self.stop()

    def stop(self) -> None:
        """Stop and save the running cell, then leave."""
        self._stop.set()
        self.table.say(f"stopping after this step and saving{SIGNS.more}")
        if not self.thread.is_alive():
            self.exit(return_code=0)

    def terminate(self) -> None:
        """SIGTERM: the running cell saves first."""
        self.stop()

    async def action_quit(self) -> None:
        """As q."""
        self.ask_to_leave()


def show_ablation(
    folder: AblationFolder, plan: Ablation, work: Work, *, paired: bool = True
) -> Done | None:
    """The screen until the user leaves it; what the work came to, None when it was stopped.

    Raises what the work raised. A terminal that goes ends the screen, not the work.
    """
    app = AblationApp(folder, plan, work, paired=paired)
    with captured_output(output_log()) as let_go, outliving(app, let_go):
        app.run()
        app.thread.join()
    if app.error is not None:
        raise app.error
    return app.done

"""`watch`: the monitor of any run, from its folder."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import ClassVar

from textual.binding import Binding, BindingType

from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.help import HelpScreen
from backprop_tui.tui.last_words import last_words, way_back, way_on
from backprop_tui.tui.outlive import OutlivingApp, outliving
from backprop_tui.tui.signs import is_plain
from backprop_tui.tui.terminal import captured_output, output_log
from backprop_tui.tui.watch_screen import WatchScreen


class WatchApp(OutlivingApp):
    """One WatchScreen, its help and its end screens."""

    TITLE = "backprop-tui"
    CSS_PATH: ClassVar[list[str | PurePath]] = [  # not of app.py, which loads the wizard
        Path(__file__).with_name(name) for name in ("app.tcss", "steps.tcss")
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", id="app.help", tooltip="Keys and panels"),
    ]

    def __init__(self, run: RunFile, folder: Path) -> None:
        super().__init__()
        self.monitor = WatchScreen(run, folder)

    def on_mount(self) -> None:
        """The monitor is all there is."""
        self.set_class(is_plain(), "-plain")
        self.push_screen(self.monitor)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is no plan to go back to."""
        return action != "back_to_plan" and super().check_action(action, parameters)

    def action_help(self) -> None:
        """Keys, panels and files."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(watching=True))

    async def action_quit(self) -> None:
        """Leave."""
        self.monitor.request_quit()

    def last_words(self) -> list[str]:
        """How the run ended, how to come back to it, or how to take it up."""
        monitor = self.monitor
        if monitor.history.ended is not None:
            return last_words(monitor.history, monitor.history.ended)
        if not monitor.interrupted:
            return way_back(monitor.folder)
        last = monitor.history.last
        where = f"at step {last.step}" if last else "before the first step"
        return [f"The run was interrupted {where}. Take it up: {way_on(monitor.folder)}"]


def watch(run: RunFile, folder: Path) -> int:
    """The screen until the user leaves it; how the run ended as an exit code, 0 before that."""
    app = WatchApp(run, folder)
    with captured_output(output_log()) as let_go, outliving(app, let_go):
        app.run()
    for text in app.last_words():
        print(text)  # noqa: T201 - the terminal is the user's again
    return app.return_code or 0

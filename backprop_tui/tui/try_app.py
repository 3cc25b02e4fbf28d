"""`try` on a screen."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from backprop_tui.core.votes import Sampling, tally, told
from backprop_tui.runs.vote_file import read_votes
from backprop_tui.tui.help import HelpScreen
from backprop_tui.tui.outlive import OutlivingApp, outliving
from backprop_tui.tui.signs import is_plain
from backprop_tui.tui.terminal import captured_output, output_log
from backprop_tui.tui.try_screen import TryScreen

if TYPE_CHECKING:
    from backprop_tui.train.trying import Tryable


GRACE = 0.2  # seconds; the terminal echoes keys meanwhile


class TryApp(OutlivingApp):
    """One TryScreen, its settings and its help."""

    TITLE = "backprop-tui"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).with_name(name) for name in ("app.tcss", "steps.tcss")
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual has it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", id="app.help", tooltip="Keys"),
    ]

    def __init__(
        self,
        found: Tryable,
        *,
        sampling: Sampling | None = None,
        blind: bool = False,
        prompts: Path | None = None,
    ) -> None:
        super().__init__()
        self.trying = TryScreen(
            found, sampling=sampling or Sampling(), blind=blind, prompts=prompts
        )

    def on_mount(self) -> None:
        """The screen is all there is."""
        self.set_class(is_plain(), "-plain")
        self.push_screen(self.trying)

    def action_help(self) -> None:
        """Keys and how votes count."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(trying=True))

    async def action_quit(self) -> None:
        """Leave."""
        self.trying.action_leave()


def try_run(found: Tryable, *, sampling: Sampling, blind: bool, prompts: Path | None) -> int:
    """The screen until the user leaves it; then the votes in sentences. The exit code."""
    before = len(read_votes(found.folder)[0])
    app = TryApp(found, sampling=sampling, blind=blind, prompts=prompts)
    with captured_output(output_log()) as let_go, outliving(app, let_go):
        app.run()
    votes, _ = read_votes(found.folder)
    if len(votes) > before and not app.screen_lost:
        for line in told(tally(votes, found.weights_sha256)):
            print(line)  # noqa: T201 - the terminal is the user's again
    _leave_behind(app)
    return app.return_code or 0


def _leave_behind(app: TryApp) -> None:
    """Without a thread that is still loading: no library can be interrupted in that, and some
    abort a process that ends around them."""
    app.trying.writer.join(GRACE)
    if app.trying.writer.is_alive():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(app.return_code or 0)

"""What becomes of a program whose terminal hangs up, or that is asked to end from outside.

A closed window and a dead SSH connection come as SIGHUP, or, where the program is not the
terminal's own, as a terminal that is none any more. Either ends the screen; a training goes on
to its end, and its run folder says all there is to say.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from textual.app import App

from backprop_tui.tui.driver import TerminalDriver

EXIT_HANGUP = 128 + signal.SIGHUP
EXIT_TERMINATED = 128 + signal.SIGTERM
LOOK = 1.0  # seconds between two looks at whether the terminal is there


class OutlivingApp(App[int]):
    """Ends its screen when the terminal is gone. What goes on without one is its subclass's."""

    def __init__(self) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.screen_lost = False
        self.let_go: Callable[[], None] = lambda: None  # of the terminal, see captured_output
        self._own_loop: asyncio.AbstractEventLoop | None = None

    def on_mount(self) -> None:
        """Signals arrive in the middle of anything; the loop takes them in order."""
        self._own_loop = asyncio.get_running_loop()
        if self.screen_lost:  # before there was a loop
            self.end_screen()
        elif os.isatty(0) and not self.is_headless:
            self.set_interval(LOOK, self._look_for_terminal)

    def _look_for_terminal(self) -> None:
        if not (self.screen_lost or os.isatty(0)):
            self.lose_screen()

    def lose_screen(self) -> None:
        """Nobody looks any more. Called by the signal handler: does what cannot wait at once."""
        self.let_go()
        self.screen_lost = True
        self._in_loop(self.end_screen)

    def end_screen(self) -> None:
        """Close the screen of a terminal that is gone."""
        self.exit(return_code=EXIT_HANGUP)

    def terminate(self) -> None:
        """SIGTERM: end in good order."""
        self.exit(return_code=EXIT_TERMINATED)

    def _in_loop(self, act: Callable[[], None]) -> None:
        if self._own_loop is None:
            return
        try:
            self._own_loop.call_soon_threadsafe(act)
        except RuntimeError:  # it is closed, and the main thread waits for a training
            act()

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """SIGHUP or SIGTERM."""
        if number == signal.SIGHUP:
            self.lose_screen()
        else:
            self._in_loop(self.terminate)


@contextmanager
def outliving(app: OutlivingApp, let_go: Callable[[], None]) -> Iterator[None]:
    """Around `app.run()` and whatever it leaves behind: signals go to the app."""
    app.let_go = let_go
    before = {
        number: signal.signal(number, app.on_signal) for number in (signal.SIGHUP, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

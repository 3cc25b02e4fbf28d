"""Textual's driver on a terminal that may hang up."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Reads keys until the terminal is gone, which is the app's to notice (tui/outlive.py)."""

    def run_input_thread(self) -> None:
        """A read that fails because nobody is there ends the thread, not the program."""
        try:
            super().run_input_thread()
        except OSError:
            return

    def _sigcont_application(self, *_: object) -> None:
        """The kernel sends SIGCONT along with SIGHUP. Only who was suspended takes up again: a
        second pair of threads would keep the program from ending."""
        if self._must_signal_resume:
            super()._sigcont_application()

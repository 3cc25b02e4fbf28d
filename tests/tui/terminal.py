"""A program in a real pseudo-terminal, and the picture it shows."""

from __future__ import annotations

import os
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parents[2]
ALTERNATE_SCREEN_OFF = "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"


class Terminal:
    """python -m MODULE ARGUMENTS, drawn on lines x columns."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        size: tuple[int, int] = (24, 80),
        cwd: Path = ROOT,
        seconds: float = 30,
        env: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.seconds = seconds  # the longest wait for words or for the end
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", module, *arguments],
            cwd=str(cwd),
            dimensions=size,
            env={
                **os.environ,
                **(env or {}),
                "TERM": "xterm-256color",
                "TEXTUAL_ANIMATIONS": "none",
                "PYTHONPATH": str(ROOT),
            },
            encoding="utf-8",
            preexec_fn=before,
        )
        self.before = termios.tcgetattr(self.child.child_fd)[3]
        self.screen = pyte.Screen(size[1], size[0])
        self.stream = pyte.Stream(self.screen)
        self.raw = ""

    def read(self) -> bool:
        """Take in what came; False at the end."""
        try:
            chunk = self.child.read_nonblocking(65536, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += chunk
        # pyte does not know these two answers to terminal queries
        self.stream.feed(chunk.replace("\x1b[>q", "").replace("\x1b[>4;1m", ""))
        return True

    @property
    def text(self) -> str:
        """The picture, line by line."""
        return "\n".join(self.screen.display)

    def send(self, keys: str) -> None:
        """Type."""
        self.child.send(keys)

    def until(self, words: str) -> None:
        """Read until the words are on the screen."""
        end = time.monotonic() + self.seconds
        while words not in self.text:
            assert time.monotonic() < end, f"no {words!r} on\n{self.text}"
            assert self.read() or words in self.text, f"it ended without {words!r}:\n{self.text}"

    def finish(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + self.seconds
        while self.read():
            assert time.monotonic() < end, f"the program does not end:\n{self.text}"
        self.child.close()
        return int(self.child.exitstatus if self.child.exitstatus is not None else -1)

    def hang_up(self) -> None:
        """The terminal is gone, as when its window is closed or the connection drops."""
        pty = self.child.ptyproc
        pty.fileobj.close()
        # Neither is to close that number once more: somebody else may have it by then.
        pty.fd = self.child.child_fd = -1
        pty.closed = self.child.closed = True

    def outlived(self) -> int:
        """Wait for the end of a program that has no terminal; its exit code, or minus a signal."""
        end = time.monotonic() + self.seconds
        while True:
            pid, status = os.waitpid(self.child.pid, os.WNOHANG)
            if pid:
                self.child.terminated = self.child.ptyproc.terminated = True
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, "the program does not end"
            time.sleep(0.05)

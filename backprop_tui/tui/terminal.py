"""Keep the output of libraries and child processes off the screen.

Textual catches `print`, but not what C code or a child process writes to file descriptors 1
and 2. So the screen is given descriptors of its own, and 1 and 2 go to a log file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_STREAMS = ((1, "__stdout__"), (2, "__stderr__"))


@contextlib.contextmanager
def captured_output(log: Path) -> Iterator[None]:
    """Around `app.run()`: the screen draws on the terminal, everything else goes to `log`.

    Textual draws on `sys.__stderr__`. It gets the terminal even where only stdout is one
    (`2>errors.txt`). Everything is put back however the block ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        saved = {fd: os.dup(fd) for fd, _ in _STREAMS}
        for fd in saved.values():
            undo.callback(os.close, fd)
        terminal = next((fd for fd in (2, 1) if os.isatty(fd)), 2)
        for fd, name in _STREAMS:
            original = getattr(sys, name)
            _flush(original)
            drawn_on = os.dup(saved[terminal] if fd == 2 else saved[fd])
            screen = os.fdopen(drawn_on, "w", encoding="utf-8", errors="replace", newline="")
            undo.callback(_close, screen)
            undo.callback(setattr, sys, name, original)
            setattr(sys, name, screen)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for fd, name in _STREAMS:
            # Undone last to first: what the streams still hold goes to the log, then the
            # descriptors come back.
            undo.callback(os.dup2, saved[fd], fd)
            undo.callback(_flush, getattr(sys, name.strip("_")))
            os.dup2(file, fd)
        os.close(file)
        yield


def _flush(stream: TextIO | None) -> None:
    """Flush a stream that may be missing or closed."""
    if stream is not None and not stream.closed:
        with contextlib.suppress(OSError):
            stream.flush()


def _close(stream: TextIO) -> None:
    """Close a stream whose other end may be gone (a terminal that hung up)."""
    with contextlib.suppress(OSError):
        stream.close()

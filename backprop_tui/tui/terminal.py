"""Keep the output of libraries and child processes off the screen, and outlive the terminal.

Textual catches `print`, but not what C code or a child process writes to file descriptors 1
and 2. So the screen is given descriptors of its own, and 1 and 2 go to a log file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

_STREAMS = ((1, "__stdout__"), (2, "__stderr__"))


@contextlib.contextmanager
def captured_output(log: Path) -> Iterator[Callable[[], None]]:
    """Around `app.run()`: the screen draws on the terminal, everything else goes to `log`.

    Textual draws on `sys.__stderr__`. It gets the terminal even where only stdout is one
    (`2>errors.txt`). Everything is put back however the block ends.

    Yields a function that lets go of the terminal for good, for when it has hung up: what would
    be drawn or printed goes nowhere, and stdin stays silent. Safe in a signal handler, and twice.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        saved = {fd: os.dup(fd) for fd, _ in _STREAMS}
        for fd in saved.values():
            undo.callback(os.close, fd)
        terminal = next((fd for fd in (2, 1) if os.isatty(fd)), 2)
        drawn_on: list[int] = []
        for fd, name in _STREAMS:
            original = getattr(sys, name)
            _flush(original)
            drawn_on.append(os.dup(saved[terminal] if fd == 2 else saved[fd]))
            buffer = io.BufferedWriter(_Deaf(drawn_on[-1], "w"))
            screen = io.TextIOWrapper(buffer, encoding="utf-8", errors="replace", newline="")
            undo.callback(_close, screen)
            undo.callback(setattr, sys, name, original)
            setattr(sys, name, screen)
        held = [fd for fd in (0, *saved.values(), *drawn_on) if os.isatty(fd)]
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for fd, name in _STREAMS:
            # Undone last to first: what the streams still hold goes to the log, then the
            # descriptors come back.
            undo.callback(os.dup2, saved[fd], fd)
            undo.callback(_flush, getattr(sys, name.strip("_")))
            os.dup2(file, fd)
        os.close(file)
        yield partial(_let_go, held)


class _Deaf(io.FileIO):
    """A terminal that may hang up at any moment. Textual's writer would die of the error, and
    the whole screen wait for it forever."""

    def write(self, data: Any, /) -> int:
        """All of it, as far as the caller can tell."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(data)


def _let_go(held: list[int]) -> None:
    """Point the descriptors of a terminal elsewhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Not /dev/null: it is always ready to be read, and who waits for keys would never rest.
    # Nor one that blocks: who was about to read the terminal would wait for ever.
    silent, _kept_open = os.pipe2(os.O_NONBLOCK)
    for fd in held:
        os.dup2(nowhere if fd else silent, fd)
    os.close(nowhere)
    os.close(silent)


def _flush(stream: TextIO | None) -> None:
    """Flush a stream that may be missing or closed."""
    if stream is not None and not stream.closed:
        with contextlib.suppress(OSError):
            stream.flush()


def _close(stream: TextIO) -> None:
    """Close a stream whose other end may be gone (a terminal that hung up)."""
    with contextlib.suppress(OSError):
        stream.close()


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

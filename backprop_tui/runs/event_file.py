"""The one writer of events.jsonl: a whole line at a time, whatever the disk does."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from backprop_tui.core.events import (
    Event,
    Failed,
    Finished,
    Paused,
    Resumed,
    Saved,
    Started,
    from_line,
    to_line,
)
from backprop_tui.core.redact import redacted

BLOCK = 1 << 16
# What a power cut must not lose: a run goes on from what these say.
KEPT = (Started, Saved, Paused, Resumed, Finished, Failed)


class EventFile:
    """events.jsonl, open for adding. Only the owner of the run may have one.

    waiting: events that are not on disk yet, because it is full.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file (0600). A last line that was torn is cut off; one that only lacks
        its end gets it. Raises OSError when that is not possible."""
        self._lock = threading.Lock()
        self._lines: deque[tuple[bytes, bool]] = deque()  # line, to be kept in a power cut
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o600)
        try:
            os.fchmod(self._file, 0o600)
            self._size = _repaired(self._file)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def waiting(self) -> int:
        """Events not yet on disk."""
        return len(self._lines)

    def append(self, event: Event) -> None:
        """Write one event, after those that wait. On a full disk it waits too. From any thread."""
        line = to_line(redacted(event)).encode("utf-8", "replace") + b"\n"
        with self._lock:
            if self._file is None:
                raise ValueError("the event file is closed")
            self._lines.append((line, isinstance(event, KEPT)))
            self._write(self._file)

    def close(self) -> None:
        """Try once more what waits, and close; a second call does nothing."""
        with self._lock:
            if self._file is not None:
                self._write(self._file)
                os.close(self._file)
                self._file = None

    def _write(self, file: int) -> None:
        """Every line that waits, until one does not go."""
        while self._lines:
            line, kept = self._lines[0]
            try:
                whole = self._size == os.fstat(file).st_size
                if not whole:  # half a line that could not be cut off then
                    os.ftruncate(file, self._size)
                if os.write(file, line) != len(line):
                    os.ftruncate(file, self._size)
                    return
            except OSError:
                with suppress(OSError):  # tried again before the next line
                    os.ftruncate(file, self._size)
                return
            self._size += len(line)
            self._lines.popleft()
            if kept:
                with suppress(OSError):  # a pipe or a file system that cannot
                    os.fsync(file)


def _repaired(file: int) -> int:
    """Make the file end in a whole line; returns its size."""
    size = os.fstat(file).st_size
    start, tail = size, b""
    while start and b"\n" not in tail:
        step = min(BLOCK, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return size
    if from_line(last.decode("utf-8", "replace")) is not None:
        return size + os.write(file, b"\n")
    os.ftruncate(file, size - len(last))
    return size - len(last)

"""events.jsonl, read while it is written: quick to open however long the run has been."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backprop_tui.core.events import Event
from backprop_tui.runs.choice import chosen, parsed

CHUNK = 1 << 21  # bytes read at once
WHOLE = 1 << 21  # what is no longer than this is parsed line by line
SAME = 1 << 10  # bytes before the place reached, by which a file is known again


class Follower:
    """The events of a file in their order: first those there are, then what has come since.

    restarted: the last `read` began anew, because the file was replaced or cut.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        """whole: every event, however long that takes."""
        self._whole = whole
        self.restarted = False
        self._path = path
        self._at = 0  # bytes read, always whole lines
        self._before = b""  # the last of them
        self._file: tuple[int, int] | None = None  # device and inode

    def read(self) -> list[Event]:
        """What is new. A last line without its end waits; a line that is no event is left out.

        A file that is not there has no events. Raises OSError when it may not be read.
        """
        self.restarted = False
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return []
        try:
            return self._news(file)
        finally:
            os.close(file)

    def _news(self, file: int) -> list[Event]:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        if not stat.S_ISREG(found.st_mode):  # a pipe has no end
            return []
        known = (found.st_dev, found.st_ino)
        if self._file is not None and (known != self._file or not self._is_same(file)):
            self.restarted, self._at, self._before = True, 0, b""
        self._file = known
        if found.st_size <= self._at:
            return []
        end = _last_end(file, self._at, found.st_size)
        if end == self._at:
            return []
        begin, self._at = self._at, end
        start = max(0, end - SAME)
        self._before = os.pread(file, end - start, start)
        if self._whole or end - begin <= WHOLE:
            return parsed(file, begin, end)
        return chosen(file, begin, end)

    def _is_same(self, file: int) -> bool:
        """Whether what was read last still stands where it stood."""
        return os.pread(file, len(self._before), self._at - len(self._before)) == self._before


def _last_end(file: int, begin: int, size: int) -> int:
    """The place after the last line end; `begin` where there is none."""
    at = size
    while at > begin:
        start = max(begin, at - CHUNK)
        found = os.pread(file, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return begin

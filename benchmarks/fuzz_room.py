"""Where damaged files are read: a folder that nothing may leave, for a second at most."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

LONGEST = 1.0  # seconds of processor time a case may take
HUNG = 60.0  # seconds of any time
CHANGING = ("mkdir", "rename", "remove", "rmdir", "link", "symlink", "truncate", "chmod", "chown")
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")


class Fault(BaseException):
    """What must not be; a BaseException, so that nothing under test takes it for its own."""


class Watchman:
    """Hears of every file that is opened to be written, and of every process started."""

    def __init__(self) -> None:
        self.room = ""  # "": nobody is watched
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self.room:
            return
        if name in FORBIDDEN:
            self.seen.append(name)
        elif name == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._changed(name, path)
        elif name.startswith("os.") and name[3:] in CHANGING:
            for path in arguments[: 2 if name[3:] in ("rename", "link") else 1]:
                self._changed(name, path)

    def _changed(self, name: str, path: Any) -> None:
        if isinstance(path, int):  # a descriptor: opened here before
            return
        where = os.path.abspath(os.fsdecode(path))
        if where != self.room and not where.startswith(self.room + os.sep):
            self.seen.append(f"{name} {where}")


@contextmanager
def an_empty_room() -> Iterator[Path]:
    """An empty folder four folders deep to work in, with files beside it that nobody may touch."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        room = Path(name).resolve() / "a" / "b" / "room"
        (room / "here").mkdir(parents=True)
        for place in (room.parent, room.parent.parent):
            (place / "x").write_text("not yours")
        os.chdir(room / "here")
        try:
            yield room
        finally:
            os.chdir(before)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file outside of the room, with its size and time."""
    files = (path for path in folder.rglob("*") if "room" not in path.parts and path.is_file())
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@contextmanager
def limits() -> Iterator[None]:
    """Fault after a second of processor time, or a minute of waiting."""

    def over(number: int, _frame: FrameType | None) -> None:
        raise Fault(f"not done in time ({signal.Signals(number).name})")

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, LONGEST),
        (signal.ITIMER_REAL, signal.SIGALRM, HUNG),
    )
    before = [(kind, signal.signal(number, over), number) for kind, number, _ in timers]
    for kind, _, seconds in timers:
        signal.setitimer(kind, seconds)
    try:
        yield
    finally:
        for kind, handler, number in before:
            signal.setitimer(kind, 0)
            signal.signal(number, handler)

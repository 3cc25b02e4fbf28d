"""RUN/run.lock: one owner a run. A dead process holds nothing, whatever the file says."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from backprop_tui.core.errors import InputError

NAME = "run.lock"
PATIENCE = 2.0  # seconds; somebody who only looks holds the lock for microseconds
TURN = 0.005  # seconds between two tries
LOOKING = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would be waited for
LONGEST = 4096  # bytes of the file that are read
_held: set[int] = set()  # descriptors of this process


@dataclass(frozen=True)
class Owner:
    """Who runs a folder. since: ISO 8601, UTC. pid 0 and "" where the file does not say."""

    pid: int
    host: str
    since: str


class Lock:
    """A run folder that is this process's own until `release`, or until the process is gone.

    The kernel holds the lock for an open file, so it ends with the process, even under kill -9.
    A child made by fork gives its copy back at once; otherwise it would own the run as well.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> Lock:
        """Own the run. Raises InputError: RUN_OWNED when another does, WRITE_REFUSED when no file
        can be locked there."""
        until = time.monotonic() + PATIENCE
        while True:
            descriptor = _open(folder)
            try:
                if _locked(descriptor, fcntl.LOCK_EX):
                    # On some network file systems it never seems to be.
                    if _is_there(descriptor, folder) or time.monotonic() > until:
                        _held.add(descriptor)
                        _sign(descriptor)
                        return cls(descriptor)
                elif not _locked(descriptor, fcntl.LOCK_SH) or time.monotonic() > until:
                    raise owned(folder, _read(descriptor))
            except OSError as error:
                _held.discard(descriptor)
                os.close(descriptor)
                raise _refused(folder, error) from error
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(TURN)

    def still_in(self, folder: Path) -> bool:
        """Whether the locked file is still the one in that folder."""
        return _is_there(self._descriptor, folder)

    def release(self) -> None:
        """Give the run back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor not in _held:
            return
        _held.discard(descriptor)
        with suppress(OSError):  # a full disk; the text means nothing without the lock
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def owner(folder: Path) -> Owner | None:
    """Who runs this folder; None when nobody does.

    Looks with a shared lock, given back at once: lookers do not disturb each other, and a starter
    knows a looker from an owner.
    """
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY | LOOKING)
    except OSError:  # no such file, or not ours to read
        return None
    try:
        for _ in range(10):
            if _locked(descriptor, fcntl.LOCK_SH):
                return None
            found = _read(descriptor)
            if found.pid and (found.host != socket.gethostname() or _alive(found.pid)):
                break
            time.sleep(TURN)  # taken this moment and not signed yet
        return found
    except OSError:  # a file system without locks has no owners
        return None
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | LOOKING
    try:
        return os.open(folder / NAME, flags, 0o600)
    except OSError as error:
        raise _refused(folder, error) from error


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(descriptor: int, folder: Path) -> bool:
    """Whether the locked file is still the one that others will find."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(folder / NAME))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), since)))
    os.ftruncate(descriptor, 0)
    with suppress(OSError):  # a full disk; the lock holds all the same
        os.pwrite(descriptor, text.encode() + b"\n", 0)


def _read(descriptor: int) -> Owner:
    try:
        text = json.loads(os.pread(descriptor, LONGEST, 0))
        return Owner(int(text["pid"]), str(text["host"]), str(text["since"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return Owner(0, "", "")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # alive, of another user
        return True
    except (OSError, OverflowError):
        return False
    return True


def owned(folder: Path, found: Owner) -> InputError:
    """The error for a run that another process runs."""
    who = f"process {found.pid} on {found.host}, since {found.since}" if found.pid else "a process"
    return InputError(
        f"{folder} is being run by {who}",
        hint=f"look at it with: backprop-tui watch {folder}; "
        f"end it with: backprop-tui stop {folder}",
        code="RUN_OWNED",
    )


def _refused(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder / NAME} cannot be locked: {error.strerror or error}",
        hint="choose a folder on a local disk that you may write to with --output",
        code="WRITE_REFUSED",
    )


def _give_back_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)  # the parent's lock stays: it is of the open file both have
    _held.clear()


os.register_at_fork(after_in_child=_give_back_in_child)

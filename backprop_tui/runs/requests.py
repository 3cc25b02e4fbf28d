"""What another process asks of a run: files RUN/control/stop, save, pause, go_on."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from backprop_tui.core.control import ASKED, PERSON, Control
from backprop_tui.core.errors import InputError
from backprop_tui.runs.lock import Owner, owner

REQUESTS = ("stop", "save", "pause", "go_on")
OPPOSITE = {"pause": "go_on", "go_on": "pause"}  # the later one holds
FOLDER = "control"
EVERY = 0.25  # seconds between two looks
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_run(folder: Path) -> bool:
    """Whether this is the folder of a run."""
    # A run.toml alone is a run file. Of a folder that may not be looked into, os.path says no
    # where Path raises.
    return any(os.path.lexists(folder / name) for name in ("events.jsonl", "checkpoints"))


def not_found(folder: Path) -> InputError:
    """The error for a folder that is no run."""
    return InputError(
        f"{folder} is not a run folder: it has no events.jsonl",
        hint="backprop-tui runs lists those under ./runs",
        code="RUN_NOT_FOUND",
    )


def ask(folder: Path, request: str) -> None:
    """Leave a request for the process that runs this folder; it is seen within a quarter second.

    Raises InputError: RUN_NOT_FOUND, RUN_NOT_RUNNING, WRITE_REFUSED.
    """
    assert request in REQUESTS, request
    if not is_run(folder):
        raise not_found(folder)
    found = owner(folder)
    if found is None:
        raise InputError(
            f"{folder} is not running, so there is nothing to ask of it",
            hint=f"backprop-tui resume {folder} goes on with a run that did not finish",
            code="RUN_NOT_RUNNING",
        )
    control = folder / FOLDER
    try:
        for _ in range(3):  # a listener that begins sweeps the folder
            with suppress(FileNotFoundError):
                control.mkdir(mode=0o700, exist_ok=True)
                return _put(control, request, found)
        raise FileNotFoundError(f"{control} is being emptied")
    except OSError as error:
        raise InputError(
            f"{control / request} cannot be written: {error.strerror or error}",
            hint="only the user who started the run may ask something of it",
            code="WRITE_REFUSED",
        ) from error


def _put(control: Path, request: str, to: Owner) -> None:
    folder = os.open(control, DIRECTORY)
    name = f".{request}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            with suppress(OSError):  # on a full disk the name alone says it
                os.write(file, _address(to))
        finally:
            os.close(file)
        os.rename(name, request, src_dir_fd=folder, dst_dir_fd=folder)
        if request in OPPOSITE:
            with suppress(FileNotFoundError):
                os.unlink(OPPOSITE[request], dir_fd=folder)
    finally:
        os.close(folder)


def _address(to: Owner | None) -> bytes:
    """Whom a request is for: not for the next one who takes the run up."""
    return repr(asdict(to)).encode() if to else b""


class Listener:
    """Looks four times a second for requests to this run and hands them to `control`.

    A context manager around the time in which the run can honour them. Only regular files of
    this user count; anything else in the folder is removed and told to `warn`. What was asked of
    an earlier owner of the run is void.
    """

    def __init__(self, folder: Path, control: Control, warn: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._control = control
        self._warn = warn
        self._over = threading.Event()
        self._seen: set[tuple[str, int, int]] = set()  # those that cannot be removed
        self._thread = threading.Thread(target=self._listen, name="requests", daemon=True)

    def __enter__(self) -> Listener:
        with suppress(OSError):  # said by the first look
            (self._folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
        self._look(_address(owner(self._folder)))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._over.wait(EVERY):
            self._look(None)

    def _look(self, only: bytes | None) -> None:
        """Everything that is there now. only: leave out requests to somebody else."""
        try:
            self._look_into(self._folder / FOLDER, only)
        except FileNotFoundError:  # nobody has asked yet
            return
        except OSError as error:
            why = f"{self._folder / FOLDER} cannot be read: {error.strerror or error}."
            self._once(why, (FOLDER, 0, 0), code="request-refused")

    def _look_into(self, path: Path, only: bytes | None) -> None:
        folder = os.open(path, DIRECTORY)
        try:
            if os.fstat(folder).st_uid != os.getuid():
                raise PermissionError(errno.EPERM, "it belongs to another user")
            for name in sorted(os.listdir(folder)):
                if only is not None or not name.startswith("."):  # else it is being written
                    self._take(folder, name, only)
        finally:
            os.close(folder)

    def _take(self, folder: int, name: str, only: bytes | None) -> None:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        sound = name in REQUESTS and stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
        stale = only is not None and (not sound or _text(folder, name) != only)
        mark = (name, found.st_ino, found.st_mtime_ns)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError:
            if mark in self._seen:
                return
            self._seen.add(mark)
        if sound and not stale:
            _hand_over(self._control, name)
        elif not sound and not name.startswith("."):
            why = (
                f"{self._folder / FOLDER / name} was refused: a request is a file of this user, "
                f"named one of {', '.join(REQUESTS)}."
            )
            self._once(why, mark, code="request-refused")

    def _once(self, message: str, mark: tuple[str, int, int], *, code: str) -> None:
        told = (f"told {mark[0]}", *mark[1:])
        if told not in self._seen:
            self._seen.add(told)
            self._warn(message, code)


def _text(folder: int, name: str) -> bytes:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _hand_over(control: Control, request: str) -> None:
    match request:
        case "stop":
            control.stop()
        case "save":
            control.save()
        case "pause":
            control.pause()
        case "go_on":
            control.go_on()


class RemoteControl(Control):
    """The interface of Control for a process that watches a run of another one.

    Each call raises InputError as `ask` does. A reason cannot be sent: the run says a person asked.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def stop(self, why: str = "") -> None:
        """Ask to stop after the step in progress and to keep what was learned."""
        ask(self._folder, "stop")
        super().stop(why)

    def save(self) -> None:
        """Ask for a checkpoint after the step in progress."""
        ask(self._folder, "save")

    def pause(self, who: str = PERSON, why: str = ASKED) -> None:
        """Ask to wait after the step in progress."""
        ask(self._folder, "pause")
        super().pause(who, why)

    def go_on(self, who: str = PERSON) -> None:
        """Ask to go on after a pause."""
        ask(self._folder, "go_on")
        super().go_on(who)

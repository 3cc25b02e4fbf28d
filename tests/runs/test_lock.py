"""One owner a run, shown with real processes: racing, killed, forked, looked at."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.runs.lock import NAME, Lock, Owner, _open, owner

HOLD = """
import sys, time
from pathlib import Path
from backprop_tui.core.errors import InputError
from backprop_tui.runs.lock import Lock
print("ready", flush=True)
sys.stdin.readline()
try:
    lock = Lock.take(Path(sys.argv[1]))
except InputError as error:
    print(error.code, flush=True)
else:
    print("taken", flush=True)
    sys.stdin.readline()
"""


class Starter:
    """A process that takes the lock when it is told to, and keeps it until it ends."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hear("ready")

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self, *expected: str) -> str:
        assert self.process.stdout
        said = self.process.stdout.readline().strip()
        assert said in expected, said
        return said

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll a condition."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_a_folder_nobody_runs_has_no_owner(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind


def test_the_owner_is_named_and_a_second_start_refused(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path)
    found = owner(tmp_path)
    assert found is not None
    assert (found.pid, found.host) == (os.getpid(), os.uname().nodename)
    with pytest.raises(InputError) as refused:
        Lock.take(tmp_path)
    assert refused.value.code == "RUN_OWNED"
    for word in (str(tmp_path), str(os.getpid()), found.host, found.since):
        assert word in refused.value.message
    assert "watch" in refused.value.hint
    assert "stop" in refused.value.hint
    lock.release()
    assert owner(tmp_path) is None
    lock.release()  # a second time does nothing
    Lock.take(tmp_path).release()


def test_the_file_is_private(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    starter = Starter(tmp_path)
    starter.go()
    starter.hear("taken")
    found = owner(tmp_path)
    assert found is not None
    assert found.pid == starter.process.pid
    with pytest.raises(InputError):
        Lock.take(tmp_path)
    os.kill(starter.process.pid, signal.SIGKILL)
    starter.end()
    assert (tmp_path / NAME).read_text()  # it still names the dead one
    assert owner(tmp_path) is None
    lock = Lock.take(tmp_path)
    assert owner(tmp_path) == Owner(os.getpid(), os.uname().nodename, owner_since(tmp_path))
    lock.release()


def owner_since(folder: Path) -> str:
    found = owner(folder)
    return found.since if found else ""


def test_of_racing_starters_one_owns_the_run(tmp_path: Path) -> None:
    for turn in range(3):
        folder = tmp_path / str(turn)
        folder.mkdir()
        starters = [Starter(folder) for _ in range(4)]
        for starter in starters:
            starter.go()
        heard = sorted(starter.hear("taken", "RUN_OWNED") for starter in starters)
        for starter in starters:
            starter.end()
        assert heard == ["RUN_OWNED"] * 3 + ["taken"]


def test_who_looks_does_not_keep_a_starter_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lock.take(tmp_path).release()
    looker = (tmp_path / NAME).open()
    fcntl.flock(looker, fcntl.LOCK_SH)
    assert owner(tmp_path) is None  # one looker does not take another for an owner

    def wait(_seconds: float) -> None:
        looker.close()

    monkeypatch.setattr("backprop_tui.runs.lock.time.sleep", wait)
    lock = Lock.take(tmp_path)
    assert looker.closed
    lock.release()


def test_a_lock_on_a_file_that_went_meanwhile_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def open_(folder: Path) -> int:
        found = _open(folder)
        if not opened:
            (folder / NAME).unlink()
        opened.append(found)
        return found

    monkeypatch.setattr("backprop_tui.runs.lock._open", open_)
    lock = Lock.take(tmp_path)
    assert len(opened) == 2
    assert owner(tmp_path) is not None
    lock.release()


def test_a_forked_child_does_not_own_the_run(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path)
    down, up = os.pipe()
    child = os.fork()
    if child == 0:  # a worker that outlives its parent's run
        os.close(up)
        os.read(down, 1)
        os._exit(0)
    os.close(down)
    lock.release()
    found = owner(tmp_path)
    os.close(up)
    os.waitpid(child, 0)
    assert found is None


def test_a_lock_file_that_was_removed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    first = Lock.take(tmp_path)
    (tmp_path / NAME).unlink()
    assert owner(tmp_path) is None  # it cannot be seen any more
    first.release()
    second = Lock.take(tmp_path)
    assert owner(tmp_path) is not None
    second.release()


@pytest.mark.parametrize(
    "text", [b"", b"\0\xff", b"[]", b'{"pid": "x"}', b'{"pid": 1e999}', b"[" * 4000]
)
def test_a_lock_whose_text_is_damaged_still_holds(tmp_path: Path, text: bytes) -> None:
    lock = Lock.take(tmp_path)
    (tmp_path / NAME).write_bytes(text)
    assert owner(tmp_path) == Owner(0, "", "")
    with pytest.raises(InputError, match="is being run by a process"):
        Lock.take(tmp_path)
    lock.release()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / NAME).symlink_to(outside)
    with pytest.raises(InputError) as refused:
        Lock.take(folder)
    assert refused.value.code == "WRITE_REFUSED"
    assert outside.read_text() == "precious"


def test_a_folder_that_is_not_there_cannot_be_owned(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        Lock.take(tmp_path / "none")
    assert refused.value.code == "WRITE_REFUSED"

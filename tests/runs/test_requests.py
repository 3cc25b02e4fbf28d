"""Requests as files: heard once, from their owner alone, by the run they were meant for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.errors import InputError
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.requests import REQUESTS, Listener, RemoteControl, ask
from tests.runs.test_lock import until


class Heard(Control):
    """A Control that writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def stop(self, why: str = "") -> None:
        self.words.append("stop")

    def save(self) -> None:
        self.words.append("save")

    def pause(self, who: str = "person", why: str = "") -> None:
        self.words.append("pause")

    def go_on(self, who: str = "person") -> None:
        self.words.append("go_on")


class Run:
    """A run folder that this process owns, and what its listener told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = Heard()
        self.warnings: list[tuple[str, str]] = []
        (folder / "events.jsonl").touch()
        self.lock = Lock.take(folder)

    def listener(self) -> Listener:
        return Listener(self.folder, self.control, lambda *said: self.warnings.append(said))

    def left(self) -> list[str]:
        return sorted(os.listdir(self.folder / "control"))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.lock.release()


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_heard_once_and_its_file_removed(run: Run, request_: str) -> None:
    with run.listener():
        ask(run.folder, request_)
        until(lambda: run.control.words == [request_])
        assert run.left() == []
        ask(run.folder, request_)
        until(lambda: run.control.words == [request_] * 2)
    assert run.warnings == []


def test_a_request_made_before_the_run_listens_is_heard(run: Run) -> None:
    ask(run.folder, "stop")
    with run.listener():
        assert run.control.words == ["stop"]
    assert run.left() == []


def test_a_request_to_an_earlier_owner_is_void(run: Run) -> None:
    ask(run.folder, "stop")
    (run.folder / "control" / "save").write_text("somebody else")
    (run.folder / "control" / ".pause.123.ab").touch()  # half written, by a process that died
    run.lock.release()
    text = (run.folder / "control" / "stop").read_text()
    (run.folder / "control" / "stop").write_text(text.replace(str(os.getpid()), "1"))
    run.lock = Lock.take(run.folder)
    with run.listener():
        assert run.left() == []
    assert (run.control.words, run.warnings) == ([], [])


def test_the_later_of_pause_and_go_on_holds(run: Run) -> None:
    ask(run.folder, "go_on")
    ask(run.folder, "pause")
    assert run.left() == ["pause"]
    ask(run.folder, "go_on")
    assert run.left() == ["go_on"]


def test_what_is_no_request_is_removed_and_told(run: Run, tmp_path: Path) -> None:
    control = run.folder / "control"
    target = tmp_path / "target"
    target.write_text("precious")
    with run.listener():
        (control / "stop").symlink_to(target)
        (control / "rm -rf").touch()
        os.mkfifo(control / "save")
        until(lambda: len(run.warnings) == 3)
        assert run.left() == []
    assert run.control.words == []
    assert {code for _, code in run.warnings} == {"request-refused"}
    assert any(str(control / "stop") in message for message, _ in run.warnings)
    assert target.read_text() == "precious"


def test_what_cannot_be_removed_is_told_once(run: Run) -> None:
    listener = run.listener()
    with listener:
        (run.folder / "control" / "stop").mkdir()
        until(lambda: len(run.warnings) == 1)
        for _ in range(3):
            listener._look(None)
        assert len(run.warnings) == 1
    assert run.control.words == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(run: Run) -> None:
    with run.listener():
        hidden = run.folder / "stop"
        hidden.touch()
        os.chown(hidden, 12345, 12345)
        hidden.rename(run.folder / "control" / "stop")
        until(lambda: len(run.warnings) == 1)
    assert run.control.words == []


def test_a_control_folder_that_leads_elsewhere_is_not_read(run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "stop").touch()
    (run.folder / "control").symlink_to(elsewhere)
    with run.listener():
        until(lambda: len(run.warnings) == 1)
    assert run.control.words == []
    assert (elsewhere / "stop").exists()
    with pytest.raises(InputError) as refused:
        ask(run.folder, "stop")
    assert refused.value.code == "WRITE_REFUSED"


def test_a_run_nobody_runs_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        ask(tmp_path, "stop")
    assert refused.value.code == "RUN_NOT_FOUND"
    (tmp_path / "events.jsonl").touch()
    with pytest.raises(InputError) as refused:
        ask(tmp_path, "stop")
    assert refused.value.code == "RUN_NOT_RUNNING"
    assert not (tmp_path / "control").exists()


def test_a_request_needs_no_room_on_the_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _text: bytes) -> int:
        raise OSError(28, "No space left on device")

    with run.listener():
        with monkeypatch.context() as patch:
            patch.setattr("backprop_tui.runs.requests.os.write", full)
            ask(run.folder, "go_on")
        until(lambda: run.control.words == ["go_on"])


def test_a_watching_process_asks_through_the_same_interface(run: Run) -> None:
    remote = RemoteControl(run.folder)
    assert not remote.stopping
    with run.listener():
        remote.pause()
        until(lambda: run.control.words == ["pause"])
        remote.go_on()
        until(lambda: run.control.words == ["pause", "go_on"])
        remote.save()
        until(lambda: run.control.words == ["pause", "go_on", "save"])
        remote.stop()
        assert remote.stopping
        until(lambda: run.control.words == ["pause", "go_on", "save", "stop"])


def test_a_request_that_could_not_be_left_was_not_made(tmp_path: Path) -> None:
    remote = RemoteControl(tmp_path)
    with pytest.raises(InputError):
        remote.stop()
    assert not remote.stopping


def test_the_owner_of_a_request_is_this_machine_too(run: Run) -> None:
    ask(run.folder, "save")
    assert socket.gethostname() in (run.folder / "control" / "save").read_text()

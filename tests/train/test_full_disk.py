"""A disk that is really full: a file system of a few megabytes in memory."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.events import (
    Continued,
    Event,
    Failed,
    Finished,
    Paused,
    Resumed,
    Saved,
    Started,
    Step,
)
from backprop_tui.runs.stream import Follower
from backprop_tui.train import saving
from backprop_tui.train.runner import train
from tests.conftest import pocket_run
from tests.train.test_resume import figures, resume

SIZE = 120 << 20
PLAN = {"training.max_steps": 6, "training.save_steps": 2}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk. Mounting needs the right to; without it there is nothing to test on."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        block = b"x" * (1 << 16)
        try:
            while True:
                file.write(block)
        except OSError:
            pass  # that is when it is full
    return ballast


def test_a_checkpoint_waits_for_room_and_the_run_goes_on(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "TRY_EVERY", 0.2)
    whole = train(pocket_run("simpo", tmp_path / "whole", PLAN), lambda _: None, Control())
    assert isinstance(whole, Finished)
    run = pocket_run("simpo", disk / "run", PLAN)
    events: list[Event] = []
    kept: list[str] = []

    def make_room() -> None:
        kept.extend(path.name for path in (disk / "run/checkpoints").glob("checkpoint-*"))
        (disk / "ballast").unlink()

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 4:
            fill(disk)
        if isinstance(event, Paused):
            threading.Timer(0.5, make_room).start()

    ending = train(run, emit, Control())
    assert isinstance(ending, Finished), ending
    assert not ending.stopped
    (paused,) = [event for event in events if isinstance(event, Paused)]
    assert "no room for the checkpoint of step 4" in paused.why
    assert str(disk / "run/checkpoints") in paused.why
    assert kept == ["checkpoint-2"], "the one before is intact"
    assert len([event for event in events if isinstance(event, Continued)]) == 1
    assert figures(disk / "run") == figures(tmp_path / "whole")
    told = Follower(disk / "run/events.jsonl").read()
    assert told == events[-len(told) :], "none was lost"
    assert Started in map(type, told)


def test_stopped_while_the_disk_is_full_it_can_be_resumed(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "TRY_EVERY", 0.2)
    control = Control()

    def emit(event: Event) -> None:
        if isinstance(event, Step) and event.step == 4:
            fill(disk)
        if isinstance(event, Paused):
            control.stop()

    ending = train(pocket_run("simpo", disk / "run", PLAN), emit, control)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_DISK_FULL"
    assert "resume" in ending.hint
    (disk / "ballast").unlink()
    _, ending = resume(disk / "run")
    assert isinstance(ending, Finished), ending
    assert not ending.stopped
    assert train(pocket_run("simpo", tmp_path / "whole", PLAN), lambda _: None, Control())
    assert figures(disk / "run") == figures(tmp_path / "whole")


def test_a_disk_without_room_is_refused_before_step_1(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (SIZE - (40 << 20)))
    events: list[Event] = []
    ending = train(pocket_run("simpo", disk / "run", PLAN), events.append, Control())
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_DISK_FULL"
    assert not [event for event in events if isinstance(event, Step | Saved)]
    assert "has 3" in ending.message or "has 4" in ending.message, ending.message


def test_a_folder_that_becomes_read_only_ends_the_run_in_words(disk: Path) -> None:
    checkpoints = disk / "run/checkpoints"

    def emit(event: Event) -> None:
        if isinstance(event, Step) and event.step == 4:
            for options in ("bind", "remount,ro,bind"):
                subprocess.run(["mount", "-o", options, checkpoints, checkpoints], check=True)

    ending = train(pocket_run("simpo", disk / "run", PLAN), emit, Control())
    subprocess.run(["umount", checkpoints], check=True)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_IO"
    assert "Read-only file system" in ending.message
    assert "Read-only file system" in Path(ending.log).read_text(), "the log that is named has it"
    _, ending = resume(disk / "run")
    assert isinstance(ending, Finished), ending
    told = Follower(disk / "run/events.jsonl").read()
    assert [event.step for event in told if isinstance(event, Resumed)] == [2]

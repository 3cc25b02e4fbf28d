"""What a run is doing, from its folder alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import (
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    Paused,
    Preparing,
    Resumed,
    Started,
    Step,
    to_line,
)
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.state import as_typed, find_run, find_runs, read_state
from tests.conftest import pocket_run

STARTED = Started(
    t=0.5,
    method="simpo",
    model="/models/pocket",
    data="pocket",
    device="cpu",
    output="out",
    steps=40,
    train_rows=9,
    heldout_rows=1,
    dropped={},
    trainable=1,
    parameters=2,
    learning_rate=1e-6,
    seed=0,
)
STEP = Step(
    t=1.0, step=1, steps=40, epoch=0.1, loss=1.0, learning_rate=1e-6, margin=0.5, accuracy=0.75
)
BEGUN: list[Event] = [STARTED, STEP, replace(STEP, t=3.0, step=2)]
DONE = Finished(
    t=4.0, step=2, stopped=False, seconds=4.0, memory_peak=None, path="a", replay="again"
)
FAILED = Failed(t=4.0, code="RUN_FAILED", message="no", hint="", log="")
PAUSED = Paused(t=4.0, step=2, why="hot")


def folder(path: Path, *events: Event) -> Path:
    path.mkdir(parents=True)
    runfile_io.write(pocket_run("orpo", path), path / "run.toml")
    (path / "events.jsonl").write_text("".join(to_line(event) + "\n" for event in events))
    return path


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "prepared"),
        ((Preparing(t=0.0, stage="loading"),), "interrupted"),
        (BEGUN, "interrupted"),
        ((*BEGUN, PAUSED), "interrupted"),
        ((*BEGUN, DONE), "finished"),
        ((*BEGUN, replace(DONE, stopped=True)), "stopped"),
        ((*BEGUN, FAILED), "failed"),
        ((*BEGUN, FAILED, Resumed(t=5.0, step=1, checkpoint="c")), "interrupted"),
    ],
)
def test_a_run_nobody_runs(tmp_path: Path, events: tuple[Event, ...], state: str) -> None:
    found = read_state(folder(tmp_path / "a", *events))
    assert (found.state, found.pid, found.eta) == (state, None, None)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "running"),
        (BEGUN, "running"),
        ((*BEGUN, PAUSED), "paused"),
        ((*BEGUN, PAUSED, Continued(t=5.0, step=2)), "running"),
        ((*BEGUN, FAILED), "running"),  # taken up again this moment
    ],
)
def test_a_run_with_an_owner(tmp_path: Path, events: tuple[Event, ...], state: str) -> None:
    path = folder(tmp_path / "a", *events)
    lock = Lock.take(path)
    found = read_state(path)
    lock.release()
    assert (found.state, found.pid) == (state, os.getpid())


def test_the_figures_are_those_of_the_newest_events(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", *BEGUN)
    os.utime(path / "events.jsonl", (1e9, 1e9))
    lock = Lock.take(path)
    found = read_state(path)
    lock.release()
    assert (found.name, found.path, found.method, found.model) == ("a", path, "simpo", "pocket")
    assert (found.step, found.steps, found.margin, found.accuracy) == (2, 40, 0.5, 0.75)
    assert found.eta == pytest.approx(2.0 * 38)
    assert found.updated == 1e9


def test_held_out_figures_come_before_those_of_training(tmp_path: Path) -> None:
    held = Evaluated(t=4.0, step=2, rows=3, loss=1.0, margin=-0.25, accuracy=0.5)
    found = read_state(folder(tmp_path / "a", *BEGUN, held, replace(STEP, t=5.0, step=3)))
    assert (found.step, found.margin, found.accuracy) == (3, -0.25, 0.5)


def test_what_has_not_begun_is_described_by_its_run_file(tmp_path: Path) -> None:
    found = read_state(folder(tmp_path / "a"))
    assert (found.method, found.model, found.step, found.steps) == ("orpo", "pocket", 0, None)


def test_a_damaged_run_file_hides_no_run(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", Preparing(t=0.0, stage="loading"))
    (path / "run.toml").write_text("[[[")
    assert (read_state(path).state, read_state(path).method) == ("interrupted", "")


def test_runs_are_listed_newest_first_and_other_folders_left_out(tmp_path: Path) -> None:
    for at, name in enumerate(["b", "c", "a"]):
        path = folder(tmp_path / name, *BEGUN)
        os.utime(path / "events.jsonl", (1e9 + at, 1e9 + at))
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    assert [state.name for state in find_runs(tmp_path)] == ["a", "c", "b"]
    assert [state.name for state in find_runs(tmp_path / "b")] == ["b"]  # itself a run
    assert find_runs(tmp_path / "missing") == []


def test_a_run_is_found_by_path_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder(tmp_path / "runs" / "simpo-pocket")
    assert find_run(path) == path
    assert find_run(Path("simpo-pocket")).resolve() == path
    assert as_typed(path) == "simpo-pocket"
    assert as_typed(folder(tmp_path / "my run")) == "'my run'"
    with pytest.raises(InputError) as refused:
        find_run(Path("simpo-pockt"))
    assert (refused.value.code, refused.value.hint) == (
        "RUN_NOT_FOUND",
        "did you mean simpo-pocket?",
    )
    (tmp_path / "simpo-pocket").mkdir()  # what is typed would be taken for this one
    assert as_typed(path) == "runs/simpo-pocket"


def test_events_that_cannot_be_read_are_said_so(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    (path / "events.jsonl").unlink()
    (path / "events.jsonl").mkdir()  # whoever runs the tests, this cannot be read
    with pytest.raises(InputError) as refused:
        read_state(path)
    assert refused.value.code == "RUN_UNREADABLE"
    assert find_runs(tmp_path) == []


@pytest.fixture
def ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/ablate-x with two cells, beside an ordinary run; the working directory has runs."""
    monkeypatch.chdir(tmp_path)
    for cell in ("simpo-r8", "orpo-r8"):
        folder(tmp_path / "runs" / "ablate-x" / "cells" / cell, *BEGUN)
    (tmp_path / "runs" / "ablate-x" / "ablation.toml").write_text("schema = 1\n")
    folder(tmp_path / "runs" / "alone", *BEGUN)
    return tmp_path / "runs" / "ablate-x"


def test_the_cells_of_an_ablation_are_runs_by_the_way_to_them(ablation: Path) -> None:
    cells = {"ablate-x/cells/simpo-r8", "ablate-x/cells/orpo-r8"}
    assert {state.name for state in find_runs(ablation.parent)} == {"alone", *cells}
    assert {state.name for state in find_runs(ablation)} == {"cells/simpo-r8", "cells/orpo-r8"}
    for name in cells:
        assert find_run(Path(name)) == Path("runs") / name


@pytest.mark.parametrize("typed", ["ablate-x", "runs/ablate-x"])
def test_an_ablation_is_no_run_and_its_runs_are_named(ablation: Path, typed: str) -> None:
    with pytest.raises(
        InputError, match="is an ablation, not a run: its runs are orpo-r8, si"
    ) as e:
        find_run(Path(typed))
    assert e.value.hint == "give one of them, for example runs/ablate-x/cells/orpo-r8"


def test_a_cell_s_name_alone_finds_what_was_meant(ablation: Path) -> None:
    with pytest.raises(InputError) as refused:
        find_run(Path("simpo-r8"))
    assert refused.value.hint == "did you mean ablate-x/cells/simpo-r8?"

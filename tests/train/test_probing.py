"""What a run would take, measured: near what it takes, and nothing is left behind."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.events import Event, Failed, Preparing, Probed, Started
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory_question import MemoryAnswer
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.train.probing import Probe, disk, probe, whole_run
from backprop_tui.train.trial import Tried
from tests.conftest import DoneRun, pocket_run

MIB = 2**20


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another process for it."""
    parts = {"weights": 30 * MIB, "activations": 12 * MIB}
    monkeypatch.setattr(MemoryOracle, "ask", lambda *_arguments: MemoryAnswer(parts=parts))


def test_a_plan_is_measured_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done_runs: dict[str, DoneRun]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    events: list[Event] = []
    found = probe(pocket_run("orpo", tmp_path / "run"), events.append)
    assert isinstance(found, Probe)
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert found.measured.estimate == 42 * MIB  # on a CPU tensors alone, no libraries
    assert 11 * MIB < found.measured.peak < 200 * MIB
    assert found.lowered == {}
    assert found.measured.seconds is not None
    assert found.seconds > 4 * found.measured.seconds > 0
    kinds = {type(event) for event in events}
    assert kinds >= {Preparing, Probed}
    assert Started not in kinds
    done = done_runs["orpo"].folder  # the same plan, run
    parts = ("checkpoints", "adapter")
    files = (file for part in parts for file in (done / part).rglob("*") if file.is_file())
    took = sum(file.stat().st_size for file in files)
    assert took < found.disk < 2.2 * took  # two of at most four checkpoints are left


def test_what_cannot_be_trained_is_refused_as_a_run_would(tmp_path: Path) -> None:
    run = pocket_run("orpo", tmp_path / "run", {"data.path": str(tmp_path / "absent.jsonl")})
    found = probe(run, lambda _event: None)
    assert isinstance(found, Failed)
    assert (found.code, found.exit_code, found.log) == ("DATA_NOT_FOUND", 1, "")


def test_an_error_nobody_foresaw_is_a_sentence_and_its_log_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_arguments: Any, **_named: Any) -> None:
        raise ValueError("a wheel came off")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("backprop_tui.train.building.load_model", breaks)
    found = probe(pocket_run("orpo", tmp_path / "run"), lambda _event: None)
    assert isinstance(found, Failed)
    assert found.message == "Training stopped with ValueError: a wheel came off"
    assert "ValueError: a wheel came off" in Path(found.log).read_text()


PLAN = replace(
    effective(pocket_run("orpo", Path("run")), Facts(), TrainRows(90, 10)),
    steps=100,
    eval_steps=40,
    save_steps=50,
)
TOOK = Tried(step=2.0, measuring=5.0, rows=(), learned=10, saved=30)


def test_the_time_of_the_whole_run_has_its_measurements() -> None:
    # Before the first step, at 40, 80 and the end.
    assert whole_run(PLAN, TOOK, heldout=10) == 100 * 2 + 4 * 5
    assert whole_run(PLAN, TOOK, heldout=0) == 200


@pytest.mark.parametrize(("steps", "bytes_"), [(1, 40), (2, 70), (3, 100), (4, 120), (100, 120)])
def test_checkpoints_and_the_result_are_on_disk(steps: int, bytes_: int) -> None:
    assert disk(replace(PLAN, steps=steps), TOOK, None) == bytes_

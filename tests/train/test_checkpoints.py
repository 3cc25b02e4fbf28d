"""A checkpoint is whole or it is none, and the right ones are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_tui.core.events import Evaluated
from backprop_tui.train.checkpoints import STATE, Checkpoints, RunState

WEIGHTS = "adapter_model.safetensors"


def measured(step: int, accuracy: float) -> Evaluated:
    return Evaluated(t=1.0, step=step, rows=8, loss=1.0, margin=accuracy - 0.5, accuracy=accuracy)


def write(store: Checkpoints, step: int, accuracy: float | None = None) -> Path:
    made = store.writing / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / WEIGHTS).write_bytes(b"w" * step)
    (made / "training_args.bin").write_bytes(b"a pickle")
    (made / "trainer_state.json").write_text("{}")
    (made / "deeper").mkdir()
    (made / "deeper/part").write_bytes(b"p")
    evaluated = None if accuracy is None else measured(step, accuracy)
    path = store.commit(RunState(step, tokens=7, evaluated_at=step, evaluated=evaluated))
    store.rotate()
    return path


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "accuracy")


def test_what_was_committed_is_read_back(store: Checkpoints) -> None:
    path = write(store, 4, accuracy=0.75)
    (found,) = store.whole()
    assert found.path == path
    assert found.step == 4
    assert found.state.tokens == 7
    assert found.state.evaluated == measured(4, 0.75)
    assert found.state.files == {WEIGHTS: 4, "deeper/part": 1, "trainer_state.json": 2}
    assert not (path / "training_args.bin").exists(), "a pickle"
    assert not store.writing.exists()


def test_the_newest_two_and_the_best_are_kept(store: Checkpoints) -> None:
    for step, accuracy in ((2, 0.5), (4, 0.9), (6, 0.8), (8, 0.8), (10, 0.7)):
        write(store, step, accuracy)
    assert [one.step for one in store.whole()] == [4, 8, 10]
    best = store.best()
    assert best is not None
    assert best.step == 4


def test_without_measurements_the_newest_two_are_kept(store: Checkpoints) -> None:
    for step in (2, 4, 6):
        write(store, step)
    assert [one.step for one in store.whole()] == [4, 6]
    assert store.best() is None


def test_a_step_saved_again_replaces_the_first(store: Checkpoints) -> None:
    write(store, 4, accuracy=0.5)
    write(store, 4, accuracy=0.9)
    (found,) = store.whole()
    assert found.state.evaluated == measured(4, 0.9)


@pytest.mark.parametrize(
    "damage", ["shorter", "gone", "state", "foreign", "renamed", "torn", "library"]
)
def test_a_damaged_checkpoint_is_passed_over(store: Checkpoints, damage: str) -> None:
    write(store, 2)
    path = write(store, 4)
    match damage:
        case "shorter":
            (path / WEIGHTS).write_bytes(b"w")
        case "gone":
            (path / "deeper/part").unlink()
        case "state":
            (path / STATE).unlink()
        case "foreign":
            (path / STATE).write_text('{"step": 4, "other": 1}')
        case "renamed":
            path.rename(path.with_name("checkpoint-99"))
        case "library":
            size = (path / "trainer_state.json").stat().st_size
            (path / "trainer_state.json").write_bytes(b"{" * size)
        case "torn":
            (path / STATE).write_text((path / STATE).read_text()[:-9])
    newest = store.newest()
    assert newest is not None
    assert newest.step == 2


def test_what_a_killed_write_left_is_no_checkpoint_and_goes(store: Checkpoints) -> None:
    write(store, 2)
    (store.writing / "checkpoint-4").mkdir(parents=True)
    (store.writing / "checkpoint-4" / WEIGHTS).write_bytes(b"half")
    assert [one.step for one in store.whole()] == [2]
    store.clear()
    assert [path.name for path in store.folder.iterdir()] == ["checkpoint-2"]


@pytest.mark.parametrize("what", ["checkpoint-4", "adapter"])
def test_what_was_to_be_replaced_comes_back(store: Checkpoints, what: str) -> None:
    write(store, 2)
    place = (store.folder if what != "adapter" else store.folder.parent) / what
    aside = store.folder / ".replaced" / what
    aside.mkdir(parents=True)
    (aside / "old").touch()
    store.clear()
    assert (place / "old").exists()
    assert not (store.folder / ".replaced").exists()

"""A run that was ended somewhere and taken up again is the run that never was."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.events import Evaluated, Event, Failed, Finished, Resumed, Step
from backprop_tui.runs.lock import Lock
from backprop_tui.train.runner import train
from benchmarks.soak import joined
from tests.conftest import pocket_run, run_training


def figures(folder: Path) -> list[dict[str, Any]]:
    """Steps and measurements of the joined event stream, without what a clock or a memory says."""
    return [event for event in joined(folder) if event["event"] != "Saved"]


def resume(folder: Path, control: Control | None = None) -> tuple[list[Event], Finished | Failed]:
    """As the command does."""
    run, _ = runfile_io.read(folder / "run.toml", env={})
    events: list[Event] = []
    ending = train(run, events.append, control or Control(), resume=folder)
    return events, ending


def stopped_at(step: int, run: Any) -> Finished | Failed:
    """Train, and ask to stop when that step is told; 0: when the first measurement is."""
    control = Control()

    def emit(event: Event) -> None:
        if (isinstance(event, Step) and event.step == step) or (
            step == 0 and isinstance(event, Evaluated)
        ):
            control.stop()

    return train(run, emit, control)


PLANS = [
    ("simpo", {"lora.dropout": 0.1, "training.accumulation": 2}),
    pytest.param("orpo", {"lora": None, "training.learning_rate": 1e-4}, marks=pytest.mark.slow),
    ("dpo", {}),
    ("sft", {"lora.dropout": 0.1}),
    pytest.param("kto", {"engine": "trl", "lora.dropout": 0.1}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("method", "changes"), PLANS, ids=lambda value: str(value)[:24])
def test_a_stopped_run_goes_on_digit_for_digit(
    method: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    changes = {"training.max_steps": 5, **changes}
    whole = run_training(pocket_run(method, tmp_path / "whole", changes))
    assert isinstance(whole.ending, Finished)
    part = pocket_run(method, tmp_path / "part", changes)
    ending = stopped_at(3, part)
    assert isinstance(ending, Finished)
    assert ending.stopped
    events, ending = resume(tmp_path / "part")
    assert isinstance(ending, Finished), ending
    assert not ending.stopped
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert resumed.step == 3
    assert figures(tmp_path / "part") == figures(tmp_path / "whole")
    full = whole.run.lora is None
    same = Path("model/model.safetensors" if full else "adapter/adapter_model.safetensors")
    assert (tmp_path / "part" / same).read_bytes() == (tmp_path / "whole" / same).read_bytes()


def test_a_stop_while_measuring_loses_no_figure(tmp_path: Path) -> None:
    changes = {"training.max_steps": 5}
    run_training(pocket_run("simpo", tmp_path / "whole", changes))
    control = Control()

    def emit(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            # Once the step is told its measurement begins, and asks for nothing in between.
            threading.Timer(0.02, control.stop).start()

    ending = train(pocket_run("simpo", tmp_path / "part", changes), emit, control)
    assert isinstance(ending, Finished)
    _, ending = resume(tmp_path / "part")
    assert isinstance(ending, Finished), ending
    assert figures(tmp_path / "part") == figures(tmp_path / "whole")


def test_a_run_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    changes = {"training.max_steps": 3, "training.save_steps": 3}
    run_training(pocket_run("simpo", tmp_path / "whole", changes))
    run_training(pocket_run("simpo", tmp_path / "part", changes))
    shutil.rmtree(tmp_path / "part/checkpoints")
    lines = (tmp_path / "part/events.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"event": "Finished"' not in line]
    (tmp_path / "part/events.jsonl").write_text("".join(kept)[:-20])  # killed within a line
    events, ending = resume(tmp_path / "part")
    assert isinstance(ending, Finished), ending
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert (resumed.step, resumed.checkpoint) == (0, "")
    assert figures(tmp_path / "part") == figures(tmp_path / "whole")


def test_what_was_trained_but_not_saved_is_only_saved(tmp_path: Path) -> None:
    done = run_training(pocket_run("simpo", tmp_path / "run"))
    before = (tmp_path / "run/adapter/adapter_model.safetensors").read_bytes()
    expected = figures(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/adapter")
    lines = (tmp_path / "run/events.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/events.jsonl").write_text("".join(lines[:-2]))
    events, ending = resume(tmp_path / "run")
    assert isinstance(ending, Finished), ending
    assert ending.step == done.run.training.max_steps
    assert not [event for event in events if isinstance(event, Step)]
    assert (tmp_path / "run/adapter/adapter_model.safetensors").read_bytes() == before
    assert figures(tmp_path / "run") == expected


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two steps, on data of its own."""
    folder = tmp_path_factory.mktemp("stopped")
    file = folder / "pairs.jsonl"
    pairs = [
        {"prompt": f"Question {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(40)
    ]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    ending = stopped_at(2, pocket_run("simpo", folder / "run", {"data.path": str(file)}))
    assert isinstance(ending, Finished), ending
    return folder


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("training.learning_rate", 5e-4, "training.learning_rate 0.001 -> 0.0005"),
        ("simpo.beta", 3.0, "simpo.beta 2.0 -> 3.0"),
        ("training.seed", 9, "training.seed 0 -> 9"),
        ("training.batch_size", 2, "batch_size x accumulation 4 -> 2"),
        ("data.max_length", 96, "data.max_length 128 -> 96"),
    ],
)
def test_a_changed_run_file_is_another_run(
    key: str, value: Any, shown: str, stopped: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    run, _ = runfile_io.read(folder / "run.toml", env={})
    runfile_io.write(runfile_io.change(run, {key: value}), folder / "run.toml", overwrite=True)
    _, ending = resume(folder)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_CHANGED"
    assert ending.exit_code == 1
    assert shown in ending.message


def test_changed_data_is_another_run(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    run, _ = runfile_io.read(folder / "run.toml", env={})
    other = tmp_path / "other.jsonl"
    other.write_text((stopped / "pairs.jsonl").read_text().replace("It is 7.", "It is 8."))
    moved = runfile_io.change(run, {"data.path": str(other)})
    runfile_io.write(moved, folder / "run.toml", overwrite=True)
    _, ending = resume(folder)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_CHANGED"


def test_the_same_data_in_another_place_is_the_same_run(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    run, _ = runfile_io.read(folder / "run.toml", env={})
    shutil.copy(stopped / "pairs.jsonl", tmp_path / "moved.jsonl")
    moved = runfile_io.change(run, {"data.path": str(tmp_path / "moved.jsonl")})
    runfile_io.write(moved, folder / "run.toml", overwrite=True)
    _, ending = resume(folder)
    assert isinstance(ending, Finished), ending


def test_a_finished_run_is_not_taken_up(tmp_path: Path) -> None:
    run_training(pocket_run("simpo", tmp_path / "run"))
    before = (tmp_path / "run/events.jsonl").read_bytes()
    events, ending = resume(tmp_path / "run")
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_FINISHED"
    assert events[-1] == ending
    assert (tmp_path / "run/events.jsonl").read_bytes() == before, "its record stays as it was"


def test_a_run_that_another_process_runs_is_left_alone(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    before = (folder / "events.jsonl").read_bytes()
    lock = Lock.take(folder)
    _, ending = resume(folder)
    lock.release()
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_OWNED"
    assert str(os.getpid()) in ending.message
    assert (folder / "events.jsonl").read_bytes() == before


def test_several_epochs_with_a_short_last_batch(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    pairs = [
        {"prompt": f"Question {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(11)
    ]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    changes = {
        "data.path": str(file),
        "data.heldout": 0.2,
        "training.max_steps": 7,
        "training.epochs": 3.0,
        "training.batch_size": 2,
        "training.accumulation": 2,
        "lora.dropout": 0.1,
    }
    run_training(pocket_run("simpo", tmp_path / "whole", changes))
    for step in (3, 5):  # at the end of an epoch, and within the next
        ending = stopped_at(step, pocket_run("simpo", tmp_path / f"{step}", changes))
        assert isinstance(ending, Finished)
        _, ending = resume(tmp_path / f"{step}")
        assert isinstance(ending, Finished), ending
        assert figures(tmp_path / f"{step}") == figures(tmp_path / "whole")


def test_a_run_whose_hours_are_over_says_what_to_raise(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    run, _ = runfile_io.read(folder / "run.toml", env={})
    changed = runfile_io.change(run, {"guards.max_hours": 1e-6})
    runfile_io.write(changed, folder / "run.toml", overwrite=True)
    _, ending = resume(folder)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_TIME_OVER"
    assert "guards.max_hours" in ending.hint


def test_without_its_events_it_is_still_only_resumed_as_itself(
    stopped: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    run, _ = runfile_io.read(folder / "run.toml", env={})
    other = tmp_path / "other.jsonl"
    other.write_text((stopped / "pairs.jsonl").read_text().replace("It is 7.", "It is 8."))
    moved = runfile_io.change(run, {"data.path": str(other)})
    runfile_io.write(moved, folder / "run.toml", overwrite=True)
    (folder / "events.jsonl").write_text("")
    _, ending = resume(folder)
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_CHANGED"


def test_a_key_that_came_later_has_its_default(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped / "run", tmp_path / "run")
    (state,) = folder.glob("checkpoints/checkpoint-2/run_state.json")
    told = json.loads(state.read_text())
    del told["plan"]["training.weight_decay"]
    state.write_text(json.dumps(told))
    _, ending = resume(folder)
    assert isinstance(ending, Finished), ending


def test_a_folder_that_was_renamed_meanwhile_ends_the_run_in_words(tmp_path: Path) -> None:
    def emit(event: Event) -> None:
        if isinstance(event, Step) and event.step == 1:
            (tmp_path / "run").rename(tmp_path / "moved")

    ending = train(pocket_run("simpo", tmp_path / "run"), emit, Control())
    assert isinstance(ending, Failed)
    assert ending.code == "RUN_IO"
    assert "renamed" in ending.message
    assert not (tmp_path / "run").exists()
    _, ending = resume(tmp_path / "moved")
    assert isinstance(ending, Finished), ending


def test_amended_before_the_first_checkpoint_the_rows_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer.training_step

    def limited(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        if len(inputs["batch"].rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, model, inputs, *rest)

    changes = {"training.max_steps": 3, "training.save_steps": 3}
    whole = run_training(pocket_run("simpo", tmp_path / "whole", changes))
    monkeypatch.setattr(Trainer, "training_step", limited)
    done = run_training(pocket_run("simpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished), done.ending
    replay, _ = runfile_io.read(tmp_path / "run/run.toml", env={})
    again = run_training(runfile_io.change(replay, {"output": str(tmp_path / "again")}))
    losses = [
        [event.loss for event in run.events if isinstance(event, Step)]
        for run in (whole, done, again)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)

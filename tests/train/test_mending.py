"""A card that runs out of memory, and a gradient that is not a number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from backprop_tui.core import runfile_io
from backprop_tui.core.events import Amended, Failed, Finished, Resumed, Step, Warned
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.test_resume import figures, resume

ADAPTER = Path("adapter/adapter_model.safetensors")
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB."


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[[int], bool], what: Exception
) -> None:
    """Let a method of the trainer raise in its n-th call, counted from 1, where fails(n)."""
    real, calls = getattr(Trainer, name), [0]

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if fails(calls[0]):
            raise what
        return real(self, *arguments, **named)

    monkeypatch.setattr(Trainer, name, method)


def of(kind: type, done: DoneRun) -> list[Any]:
    return [event for event in done.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = run_training(pocket_run("simpo", folder, {"training.max_steps": 5}))
    assert isinstance(done.ending, Finished)
    return folder


def plan(folder: Path, **changes: Any) -> Any:
    return pocket_run("simpo", folder, {"training.max_steps": 5, **changes})


def test_a_step_that_does_not_fit_once_is_taken_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "training_step", lambda call: call == 4, torch.OutOfMemoryError(FULL))
    done = run_training(plan(tmp_path / "run"))
    assert isinstance(done.ending, Finished), done.ending
    (warned,) = [event for event in of(Warned, done) if event.code == "memory-retry"]
    assert "step 4" in warned.message
    assert "2.00 GiB" in warned.message
    assert not of(Amended, done)
    assert not of(Resumed, done)
    assert figures(tmp_path / "run") == figures(whole)
    assert (tmp_path / "run" / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def test_a_step_that_never_fits_is_taken_in_smaller_batches_of_the_same_rows(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    real = Trainer.training_step

    def limited(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        batch = inputs["batch"]
        if len(batch.rows) > 2 and self.state.global_step == 2:
            raise torch.OutOfMemoryError(FULL)
        rows.extend(batch.rows)
        return real(self, model, inputs, *rest)

    monkeypatch.setattr(Trainer, "training_step", limited)
    done = run_training(plan(tmp_path / "run"))
    assert isinstance(done.ending, Finished), done.ending
    (amended,) = of(Amended, done)
    assert amended.step == 2
    assert amended.changes == {"training.batch_size": "2", "training.accumulation": "2"}
    written, _ = runfile_io.read(tmp_path / "run/run.toml", env={})
    assert (written.training.batch_size, written.training.accumulation) == (2, 2)
    assert written.provenance is not None
    assert written.provenance.amended["training.batch_size"] == "2 after step 2"
    steps = {event.step: event for event in of(Step, done)}
    before = [event for event in figures(whole) if event["event"] == "Step"]
    assert len(before) == 5
    for one in before:
        step = steps[one["step"]]
        assert step.loss == pytest.approx(one["loss"], abs=1e-5)
        assert (step.tokens, step.rows) == (one["tokens"], one["rows"])
    assert len(rows) == 20


def test_after_three_smaller_plans_it_ends_and_can_be_resumed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, "training_step", lambda call: call > 3, torch.OutOfMemoryError(FULL))
        done = run_training(plan(tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_OUT_OF_MEMORY"
    assert "resume" in done.ending.hint
    assert [list(event.changes) for event in of(Amended, done)] == [
        ["training.batch_size", "training.accumulation"],
        ["training.batch_size", "training.accumulation"],
        ["training.checkpointing", "training.checkpoint_every"],
    ]
    _, ending = resume(tmp_path / "run")
    assert isinstance(ending, Finished), ending
    learned = load_file(tmp_path / "run" / ADAPTER)
    for name, expected in load_file(whole / ADAPTER).items():
        assert torch.allclose(learned[name], expected, atol=1e-5), name


def test_out_of_memory_while_the_weights_change_goes_back_to_the_last_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.optim.AdamW.step, [0]

    def step(self: Any, *arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        found = real(self, *arguments, **named)
        if calls[0] == 4:
            raise torch.OutOfMemoryError(FULL)
        return found

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    done = run_training(plan(tmp_path / "run"))
    assert isinstance(done.ending, Finished), done.ending
    (resumed,) = of(Resumed, done)
    assert resumed.step == 2
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.parametrize("allowed", [True, False])
def test_rows_are_cut_shorter_only_where_that_is_allowed(
    allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "long.jsonl"
    pairs = [
        {"prompt": f"{number} " + "the cat sat " * 60, "chosen": "It sat.", "rejected": "No."}
        for number in range(12)
    ]
    file.write_text("\n".join(map(json.dumps, pairs)))
    real = Trainer.training_step

    def limited(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        if max(part.tokens for part in inputs["batch"].parts) > 210:
            raise torch.OutOfMemoryError(FULL)
        return real(self, model, inputs, *rest)

    monkeypatch.setattr(Trainer, "training_step", limited)
    changes = {
        "data.path": str(file),
        "data.max_length": 256,
        "data.heldout": 0.2,
        "training.batch_size": 1,
        "training.checkpointing": True,
        "guards.shorten_rows": allowed,
    }
    done = run_training(plan(tmp_path / "run", **changes))
    changed = [event.changes for event in of(Amended, done)]
    if allowed:
        assert isinstance(done.ending, Finished), done.ending
        assert changed == [{"data.max_length": "192", "data.cut_answers": "true"}]
    else:
        assert isinstance(done.ending, Failed)
        assert changed == []


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Trainer.training_step, [0]

    def poisoned(self: Any, model: Any, *arguments: Any, **named: Any) -> Any:
        loss = real(self, model, *arguments, **named)
        calls[0] += 1
        if calls[0] == 4:
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "training_step", poisoned)
    done = run_training(plan(tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_NOT_FINITE"
    assert "step 4" in done.ending.message
    assert "learning_rate" in done.ending.hint
    kept = tmp_path / "run/checkpoints/checkpoint-3"
    assert str(kept) in done.ending.hint
    weights = load_file(kept / "adapter_model.safetensors")
    assert weights
    assert all(bool(torch.isfinite(one).all()) for one in weights.values())
    _, ending = resume(tmp_path / "run")  # what was wrong is gone
    assert isinstance(ending, Finished), ending

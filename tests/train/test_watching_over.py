"""What a run does when a guard, or a person, asks for something on its way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.events import (
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    GpuSampled,
    Paused,
    Saved,
    Step,
    Warned,
)
from backprop_tui.train.runner import train
from backprop_tui.train.session import Session
from tests.conftest import pocket_run, run_training
from tests.train.test_resume import figures

STEPS = {"training.max_steps": 6, "training.eval_steps": 1}
# So high that the first step is the best one.
TOO_HIGH = {
    "training.learning_rate": 0.03,
    "training.warmup": 0.0,
    "training.schedule": "constant",
    "guards.watch": "loss",
}


def test_the_best_weights_are_what_is_saved(tmp_path: Path) -> None:
    changes = {**STEPS, **TOO_HIGH, "training.keep_best": True, "training.save_steps": 5}
    done = run_training(pocket_run("orpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished), done.ending
    measured = [e for e in done.events if isinstance(e, Evaluated) and e.step]
    best = min(measured, key=lambda event: event.loss)
    assert best.step < 6, "the test needs a run that gets worse"
    saved = [event for event in done.events if isinstance(event, Saved)]
    assert (saved[-1].kind, saved[-1].step) == ("adapter", best.step)
    kept = done.folder / f"checkpoints/checkpoint-{best.step}/adapter_model.safetensors"
    assert (done.folder / "adapter/adapter_model.safetensors").read_bytes() == kept.read_bytes()
    assert [event.code for event in done.events if isinstance(event, Warned)][-1] == "best-kept"
    assert done.ending.step == 6


def test_without_keep_best_the_last_weights_are_saved(tmp_path: Path) -> None:
    done = run_training(pocket_run("orpo", tmp_path / "run", {**STEPS, **TOO_HIGH}))
    saved = [event for event in done.events if isinstance(event, Saved)]
    assert (saved[-1].kind, saved[-1].step) == ("adapter", 6)


def test_patience_stops_and_saves(tmp_path: Path) -> None:
    changes = {**STEPS, **TOO_HIGH, "guards.patience": 2}
    done = run_training(pocket_run("orpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished)
    assert done.ending.stopped
    assert done.ending.step < 6
    assert "loss" in done.ending.why
    assert done.ending.exit_code == 4
    assert Path(done.ending.path).is_dir()


def test_max_hours_stops_and_saves(tmp_path: Path) -> None:
    changes = {**STEPS, "guards.max_hours": 1e-6}
    done = run_training(pocket_run("simpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished)
    assert (done.ending.stopped, done.ending.step) == (True, 1)
    assert "max_hours" in done.ending.why


def test_a_pause_waits_and_changes_no_figure(tmp_path: Path) -> None:
    run_training(pocket_run("simpo", tmp_path / "whole", {"lora.dropout": 0.1}))
    control = Control()
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 2:
            control.pause()
        if isinstance(event, Paused):
            control.save()  # while it waits
        if isinstance(event, Saved) and any(isinstance(e, Paused) for e in events):
            control.go_on()

    ending = train(pocket_run("simpo", tmp_path / "run", {"lora.dropout": 0.1}), emit, control)
    assert isinstance(ending, Finished), ending
    names = [type(event) for event in events]
    paused, continued = names.index(Paused), names.index(Continued)
    assert Saved in names[:paused], "whoever reads that it waits may switch the machine off"
    assert Saved in names[paused:continued]
    assert Step not in names[paused:continued]
    waiting = events[paused]
    assert isinstance(waiting, Paused)
    assert (waiting.step, waiting.why) == (2, "you asked for it")
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_stop_ends_a_pause(tmp_path: Path) -> None:
    control = Control()

    def emit(event: Event) -> None:
        if isinstance(event, Step):
            control.pause()
        if isinstance(event, Paused):
            control.stop()

    ending = train(pocket_run("simpo", tmp_path / "run"), emit, control)
    assert isinstance(ending, Finished)
    assert (ending.stopped, ending.step) == (True, 1), "no step more"
    assert Path(ending.path).is_dir()


def test_a_hot_card_pauses_the_run_until_it_has_cooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    sessions: list[Session] = []
    made = Session.__init__

    def remembered(self: Session, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        sessions.append(self)

    monkeypatch.setattr(Session, "__init__", remembered)

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 2:
            sessions[0].emit(GpuSampled(t=1.0, temperature=91))
        if isinstance(event, Paused):
            sessions[0].emit(GpuSampled(t=2.0, temperature=80))  # not cool enough
            assert sessions[0].control.paused
            sessions[0].emit(GpuSampled(t=3.0, temperature=74))

    run = pocket_run("simpo", tmp_path / "run", {"guards.max_temperature": 85})
    ending = train(run, emit, Control())
    assert isinstance(ending, Finished), ending
    assert not ending.stopped
    (paused,) = [event for event in events if isinstance(event, Paused)]
    assert "91" in paused.why
    assert len([event for event in events if isinstance(event, Continued)]) == 1


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    changes = {"training.learning_rate": 1e12, "training.max_grad_norm": 1e12, **STEPS}
    done = run_training(pocket_run("orpo", tmp_path / "run", {**changes, "training.warmup": 0.0}))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_NOT_FINITE"


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(pocket_run("simpo", tmp_path / "whole", STEPS))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86_400 * (int(real() * 4) % 3))
    changes = {**STEPS, "training.save_steps": 1}
    done = run_training(pocket_run("simpo", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished), done.ending
    times = [event.t for event in done.events]
    assert times == sorted(times)
    kept = sorted(path.name for path in (done.folder / "checkpoints").glob("checkpoint-*"))
    assert kept[-2:] == ["checkpoint-5", "checkpoint-6"]
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_checkpoint_is_never_older_than_was_asked(tmp_path: Path) -> None:
    changes = {**STEPS, "training.save_steps": 6, "training.save_minutes": 1e-9}
    done = run_training(pocket_run("simpo", tmp_path / "run", changes))
    saved = [event.step for event in done.events if isinstance(event, Saved)]
    assert saved == [1, 2, 3, 4, 5, 6, 6]

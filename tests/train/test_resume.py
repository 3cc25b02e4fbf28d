"""A run that was ended somewhere and taken up again is the run that never was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.events import Evaluated, Event, Failed, Finished, Resumed, Saved, Step
from backprop_tui.core.history import History
from backprop_tui.runs.stream import Follower
from backprop_tui.train.runner import train
from tests.conftest import pocket_run, run_training

TIMES = {"t", "tokens_per_second", "rows_per_second", "memory", "memory_reserved", "memory_peak"}


def figures(folder: Path) -> list[Event]:
    """Steps and measurements of the joined event stream, without what a clock or a memory says."""
    history = History()
    for event in Follower(folder / "events.jsonl").read():
        history.add(event)
    return [
        replace(event, **{name: 0.0 if name == "t" else None for name in TIMES if name in names})
        for event in [*history.steps, *history.evaluations]
        if (names := {item for item in type(event).__slots__})
    ]


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


PLANS: list[tuple[str, dict[str, Any]]] = [
    ("orpo", {}),
    ("simpo", {"lora.dropout": 0.1, "training.accumulation": 2}),
    ("kto", {}),
    ("dpo", {}),
    ("sft", {"lora.dropout": 0.1}),
    ("orpo", {"engine": "trl"}),
    ("kto", {"engine": "trl", "lora.dropout": 0.1}),
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
    assert isinstance(ending, Finished) and ending.stopped
    events, ending = resume(tmp_path / "part")
    assert isinstance(ending, Finished) and not ending.stopped, ending
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert resumed.step == 3
    assert figures(tmp_path / "part") == figures(tmp_path / "whole")
    same = Path("adapter/adapter_model.safetensors")
    assert (tmp_path / "part" / same).read_bytes() == (tmp_path / "whole" / same).read_bytes()

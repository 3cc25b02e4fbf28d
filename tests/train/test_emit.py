"""The callback: logs into events, batches into speeds."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backprop_tui.core.control import Control
from backprop_tui.core.events import Evaluated, Event, Step
from backprop_tui.train import emit
from backprop_tui.train.emit import METRICS, EventCallback
from backprop_tui.train.engine.metrics import Measured, figures

STATE = SimpleNamespace(global_step=3, max_steps=10, epoch=0.5)
EVAL_LOSS = {"eval_loss": 0.5}


class Clock:
    """time.perf_counter under the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(emit, "time", found)
    return found


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def callback(events: list[Event], clock: Clock) -> EventCallback:
    return EventCallback(events.append, Control(), lambda: clock.now - 100)


def step(callback: EventCallback, events: list[Event], **logs: float) -> Step:
    """The event of one logged step."""
    callback.on_log(None, STATE, None, {"loss": 1.0, **logs})
    event = events[-1]
    assert isinstance(event, Step)
    return event


@pytest.fixture
def logged() -> dict[str, float]:
    """Every figure the engine has, each another number."""
    one = torch.ones(1)
    found = figures(Measured(one, one, one, one, one, one, one, one[0]), paired=True)
    return {key: float(i) for i, key in enumerate(found, 1) if key != "loss"}


def test_every_figure_reaches_the_event_of_a_step_and_of_an_evaluation(
    callback: EventCallback, events: list[Event], logged: dict[str, float]
) -> None:
    assert set(METRICS.values()) == set(logged)
    made = step(callback, events, **logged)
    callback.on_log(None, STATE, None, {f"eval_{key}": x for key, x in logged.items()} | EVAL_LOSS)
    evaluated = events[-1]
    assert isinstance(evaluated, Evaluated)
    for name, key in METRICS.items():
        assert getattr(made, name) == getattr(evaluated, name) == logged[key], name


def test_a_step_and_an_evaluation_have_the_same_figures() -> None:
    for kind in (Step, Evaluated):
        assert set(METRICS) < {item.name for item in fields(kind)}


def test_speeds_are_between_two_steps(
    callback: EventCallback, events: list[Event], clock: Clock
) -> None:
    callback.count(500, 4)
    first = step(callback, events)
    assert (first.tokens, first.tokens_per_second, first.rows_per_second) == (500, None, None)
    for _ in range(2):  # two batches, one step
        callback.count(300, 4)
    clock.now += 4.0
    second = step(callback, events)
    assert (second.tokens, second.tokens_per_second) == (1100, 150.0)
    assert (second.rows, second.rows_per_second) == (12, 2.0)


def test_evaluating_is_not_training_time(
    callback: EventCallback, events: list[Event], clock: Clock
) -> None:
    step(callback, events)
    clock.now += 50.0
    callback.on_log(None, STATE, None, EVAL_LOSS)
    callback.count(300, 4)
    clock.now += 2.0
    made = step(callback, events)
    assert (made.tokens_per_second, made.rows_per_second) == (150.0, 2.0)


def test_the_share_of_the_peak(callback: EventCallback, events: list[Event], clock: Clock) -> None:
    def mfu() -> float | None:
        callback.count(300, 4)
        clock.now += 2.0
        return step(callback, events).mfu

    callback.flops_per_token, callback.peak_flops = 6e9, 3e12
    assert mfu() is None  # no speed yet
    assert mfu() == pytest.approx(150 * 6e9 / 3e12)
    callback.peak_flops = None
    assert mfu() is None
    callback.flops_per_token, callback.peak_flops = None, 3e12
    assert mfu() is None


def mask(*lengths: int) -> torch.Tensor:
    """An attention mask of rows this long."""
    return (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize(
    ("batch", "tokens", "rows"),
    [
        ({"attention_mask": mask(3, 5), "labels": mask(3, 5)}, 8, 2),  # sft
        ({"chosen_attention_mask": mask(3, 5), "rejected_attention_mask": mask(4, 1)}, 13, 2),
        (
            {
                "attention_mask": mask(3, 5, 2),
                "completion_mask": mask(1, 1, 1),
                "KL_attention_mask": mask(9, 9, 9),
                "label": [True, False, True],
            },
            10,
            3,
        ),
        ({"attention_mask": mask(3, 5, 4, 1), "completion_mask": mask(1, 1, 1, 1)}, 13, 2),  # dpo
        ({}, 0, 0),
    ],
    ids=["sft", "orpo", "kto", "dpo", "nothing"],
)
def test_what_a_batch_of_trl_holds(
    callback: EventCallback, batch: dict[str, Any], tokens: int, rows: int
) -> None:
    callback.count_tokens(batch)
    assert (callback.tokens, callback.rows) == (tokens, rows)

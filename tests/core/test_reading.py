"""A run in words, and its summary: the sentence fits the run, and carries its figures."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable

import pytest

from backprop_tui.core.events import Event, Step
from backprop_tui.core.history import History
from backprop_tui.core.reading import figure, read_run
from backprop_tui.core.summary import summary
from tests.tui import histories


def history(events: Iterable[Event]) -> History:
    found = History()
    for event in events:
        found.add(event)
    return found


def last_step(**changes: float) -> list[Event]:
    events = list(histories.training("simpo", upto=30))
    step = next(event for event in reversed(events) if isinstance(event, Step))
    return [*events, dataclasses.replace(step, step=31, **changes)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "Preparing."),
        (histories.preparing()[:2], "Preparing: loading the model."),
        (histories.training("simpo", upto=2), "First steps: loss 1.3"),
        (histories.training("simpo", upto=20), "The margin widens: margin +"),
        (histories.training("simpo", upto=120), "widens and the held-out rows follow: margin +"),
        (histories.training("kto", upto=120), "held-out +0.02 → +0.56, accuracy 51 % → 83 %."),
        (histories.training("simpo", upto=120, inflating=True), "margin inflation, not learning"),
        (histories.training("sft", upto=120), "Learning, and the held-out rows follow: loss 2."),
        (last_step(loss=math.nan), "not a number at step 31: lower the learning rate"),
        (last_step(grad_norm=412.0), "gradient norm is 412, over 100"),
        (last_step(grad_norm=math.inf), "gradient norm is not a number, over 100"),
        ([*histories.training("sft", upto=9), histories.failure()], "The run failed: The card ran"),
    ],
)
def test_the_sentence_fits_the_run(events: Iterable[Event], words: str) -> None:
    assert words in read_run(history(events))


@pytest.mark.parametrize("stopped", [True, False])
def test_the_end_is_said_first(stopped: bool) -> None:
    events = [*histories.training("simpo", upto=240), *histories.ending(stopped=stopped)]
    start = "Stopped and saved. The margin" if stopped else "Finished. The margin"
    assert read_run(history(events)).startswith(start)


def test_chosen_answers_that_lose_more_than_the_margin_gains_are_an_alarm() -> None:
    events: list[Event] = [histories.started("simpo")]
    for i in range(1, 40):
        margin, chosen = 0.01 * i, -1 - 0.05 * i
        events.append(
            Step(
                t=i,
                step=i,
                steps=40,
                epoch=0,
                loss=1,
                learning_rate=1e-6,
                margin=margin,
                reward_chosen=chosen,
                reward_rejected=chosen - margin,
            )
        )
    assert read_run(history(events)).startswith("Chosen answers lose more than the margin gains")


def inflating(times: int) -> History:
    """A train margin that rises for 40 steps, beside so many measurements that stay where they
    were."""
    found = history([histories.started("simpo")])
    for i in range(1, 41):
        found.add(Step(t=i, step=i, steps=80, epoch=0, loss=1, learning_rate=1e-6, margin=i / 10))
    start = dataclasses.replace(histories.evaluated("simpo", 0, 80), accuracy=0.7)
    for i in range(times):
        found.add(dataclasses.replace(start, step=20 * i))
    return found


def test_margin_inflation_is_said_from_the_third_measurement_on() -> None:
    assert "watch for margin inflation." in read_run(inflating(2))
    assert "margin inflation, not learning. Consider f4, stop." in read_run(inflating(3))


def test_the_same_weights_measured_again_are_no_third_measurement() -> None:
    twice = inflating(2)
    twice.add(twice.evaluations[-1])
    assert "watch for margin inflation." in read_run(twice)


def test_margin_inflation_is_said_before_the_fall_of_chosen_answers() -> None:
    """A guard that stops for the one is never contradicted by the sentence."""
    falling = inflating(3)
    falling.steps = [
        dataclasses.replace(step, reward_chosen=-0.3 * step.step) for step in falling.steps
    ]
    assert "margin inflation, not learning" in read_run(falling)
    falling.evaluations.pop()
    assert read_run(falling).startswith("Chosen answers lose more than the margin gains")


def test_a_margin_without_bounds_is_read_without_an_error() -> None:
    wild = inflating(3)
    wild.steps = [dataclasses.replace(step, margin=1e300 * step.step) for step in wild.steps]
    assert "Train margin +5.5e+300 → +3.6e+301 (averages) widens" in read_run(wild)


def test_memorising_is_called_by_its_name() -> None:
    events: list[Event] = [histories.started("sft")]
    for i in range(1, 41):
        events.append(Step(t=i, step=i, steps=40, epoch=0, loss=2 - i / 40, learning_rate=1e-4))
        if i % 10 == 0:
            base = histories.evaluated("sft", i, 40)
            events.append(dataclasses.replace(base, loss={10: 1.8, 20: 1.5, 30: 1.6, 40: 1.9}[i]))
    assert "memorising" in read_run(history(events))


@pytest.mark.parametrize("method", ["simpo", "orpo", "kto", "sft"])
@pytest.mark.parametrize("inflating", [True, False])
def test_two_lines_of_a_small_terminal_hold_every_sentence(method: str, inflating: bool) -> None:
    for upto in (0, 1, 4, 6, 30, 120, 240):
        events = [*histories.training(method, upto=upto, inflating=inflating)]
        assert len(read_run(history([*events, *histories.ending(method, upto)]))) <= 2 * 76


def test_a_long_run_is_read_as_quickly_as_a_short_one() -> None:
    def calls() -> int:
        """Functions entered: of each step that is looked at, one or more."""
        entered = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal entered
            entered += event == "call"

        sys.setprofile(count)
        try:
            read_run(found)
        finally:
            sys.setprofile(None)
        return entered

    found = history(histories.training("simpo", upto=200))
    short = calls()
    found.steps *= 500
    assert short <= calls() < 2 * short


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (None, False, "n/a"),
        (math.nan, True, "not a number"),
        (0.0, True, "+0.00"),
        (0.842, True, "+0.84"),
        (-0.0123, True, "-0.012"),
        (0.0012, True, "+0.0012"),
        (3.1e-6, False, "3.1e-06"),
        (412.4, False, "412"),
        (2.5e6, False, "2.5e+06"),
    ],
)
def test_figures_are_short(value: float | None, signed: bool, text: str) -> None:
    assert figure(value, signed=signed) == text


def test_the_summary_says_what_was_trained_learned_spent_and_kept() -> None:
    facts = dict(summary(history([*histories.training("simpo", upto=240), *histories.ending()])))
    assert facts == {
        "Trained": "simpo on pocket: 221K of 2.8M parameters, on cpu",
        "Data": "/data/ultrafeedback_str_train.jsonl",
        "Rows": "565 trained on, 63 held out",
        "Dropped": "12 rows: 4 identical sides, 8 answer too long",
        "Steps": "240 of 240",
        "Held-out margin": "+0.02 → +0.63",
        "Held-out accuracy": "51 % → 87 %",
        "Peak memory": "1.3 GB",
        "Time": "1:18, 3,933 tokens/s, 13.3 pairs/s",
        "Warnings": "simpo-lr-clamped",
        "Adapter": "runs/simpo-pocket/adapter",
        "Run it again": "backprop-tui run runs/simpo-pocket/run.toml",
        "Measure it": "backprop-tui eval runs/simpo-pocket --generate 100",
        "Talk to it": "backprop-tui try runs/simpo-pocket",
        "Take it away": "backprop-tui export runs/simpo-pocket --output DIR",
    }


def test_the_summary_of_other_runs() -> None:
    sft = dict(summary(history(histories.training("sft", upto=120))))
    assert sft["Held-out loss"] == "2.29 → 1.56"
    assert "Held-out margin" not in sft
    stopped = [*histories.training("kto", upto=50), *histories.ending("kto", 50, stopped=True)]
    facts = dict(summary(history(stopped)))
    assert facts["Steps"] == "50 of 240, stopped on request"
    assert facts["Held-out accuracy"] == "51 % → 70 %"
    assert facts["Time"] == "0:22, 3,933 tokens/s, 13.3 answers/s"
    failed = dict(summary(history([*histories.training(upto=130), histories.failure()])))
    assert failed["Last saved"].endswith("checkpoint-120")
    assert failed["Log"] == "runs/simpo-pocket/run.log"
    assert summary(History()) == []


def test_the_summary_without_held_out_rows_is_of_the_training_rows() -> None:
    started = dataclasses.replace(histories.started("simpo"), heldout_rows=0, dropped={})
    steps = [event for event in histories.training(upto=20) if isinstance(event, Step)]
    facts = dict(summary(history([started, *steps])))
    assert facts["Rows"] == "565 trained on, none held out"
    assert facts["Dropped"] == "no rows"
    assert "Train margin" in facts
    assert "No held-out" not in read_run(history([started, *steps]))

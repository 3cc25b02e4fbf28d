"""Events: one JSON line both ways, nothing lost, nothing foreign taken for one."""

from __future__ import annotations

import json
import math
import typing
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.events import (
    EVENTS,
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    GpuSampled,
    Paused,
    Preparing,
    Probed,
    Resumed,
    Saved,
    Started,
    Step,
    Warned,
    from_line,
    to_line,
)
from backprop_tui.core.history import History

STEP = Step(t=1.5, step=3, steps=10, epoch=0.3, loss=1.31, learning_rate=1e-6)
STARTED = Started(
    t=0.5,
    method="simpo",
    model="pocket",
    data="pocket",
    device="cpu",
    output="/runs/a",
    steps=10,
    train_rows=90,
    heldout_rows=10,
    dropped={"empty text": 2},
    trainable=49152,
    parameters=2_800_000,
    learning_rate=1e-6,
    seed=0,
)
FINISHED = Finished(
    t=9.0, step=10, stopped=False, seconds=9.0, memory_peak=None, path="/runs/a", replay="run"
)
FAILED = Failed(t=2.0, code="RUN_FAILED", message="no", hint="", log="")

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(),
    "str": st.text(st.characters(exclude_categories=["Cs"])),
    "bool": st.booleans(),
    "dict[str, int]": st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.integers()
    ),
    "dict[str, str]": st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text()),
}


def any_event(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of a kind, every field of the type it is declared with."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for item in fields(kind):
        name, _, none = str(item.type).partition(" | ")
        values[item.name] = BY_TYPE[name] | st.none() if none else BY_TYPE[name]
    return st.builds(kind, **values)


def test_every_kind_of_event_is_known() -> None:
    assert set(EVENTS.values()) == set(typing.get_args(Event))


@pytest.mark.parametrize("kind", EVENTS.values())
def test_an_event_survives_its_line(kind: type[Event]) -> None:
    @given(any_event(kind))
    def survives(event: Event) -> None:
        line = to_line(event)
        assert "\n" not in line
        assert from_line(line) == event

    survives()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_json_does_not_have_becomes_null(bad: float) -> None:
    line = to_line(replace(STEP, loss=bad, margin=bad, grad_norm=4.0))
    plain = json.loads(line, parse_constant=pytest.fail)
    assert (plain["loss"], plain["margin"], plain["grad_norm"]) == (None, None, 4.0)
    back = from_line(line)
    assert isinstance(back, Step)
    assert back.margin is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "5",
        "[]",
        '"Step"',
        "{}",
        '{"event": "Step"}',
        '{"event": "Dreamed", "t": 1}',
        '{"event": ["Step"], "t": 1}',
        '{"t": 1, "stage": "loading"}',
        "Traceback (most recent call last):",
    ],
)
def test_a_foreign_line_is_no_event(line: str) -> None:
    assert from_line(line) is None


@pytest.mark.parametrize("event", [STEP, STARTED, FINISHED, FAILED])
def test_a_torn_line_is_no_event(event: Event) -> None:
    line = to_line(event)
    assert [from_line(line[:cut]) for cut in range(len(line))] == [None] * len(line)


def test_a_key_of_a_later_version_is_ignored() -> None:
    plain = json.loads(to_line(STEP))
    assert from_line(json.dumps({**plain, "colour": "green"})) == STEP


def test_a_key_an_earlier_version_did_not_write_has_its_default() -> None:
    plain = json.loads(to_line(replace(STEP, tokens=7, kl=0.5)))
    del plain["tokens"], plain["kl"]
    assert from_line(json.dumps(plain)) == STEP


# As written before sums of log-probs, rows a second, the share of the peak and a held-out kl.
OLD_LINES = [
    '{"event": "Step", "t": 1.5, "step": 3, "steps": 10, "epoch": 0.3, "loss": 1.31, '
    '"learning_rate": 1e-06, "grad_norm": 0.5, "reward_chosen": -1.0, "reward_rejected": -1.5, '
    '"margin": 0.5, "accuracy": 0.75, "logp_chosen": -1.25, "logp_rejected": -1.75, "kl": null, '
    '"tokens": 1180, "tokens_per_second": 3933.0, "memory": 1, "memory_reserved": null, '
    '"memory_peak": 2}',
    '{"event": "Evaluated", "t": 2.0, "step": 3, "rows": 10, "loss": 1.2, "reward_chosen": -1.0, '
    '"reward_rejected": -1.5, "margin": 0.5, "accuracy": 0.75, "logp_chosen": -1.25, '
    '"logp_rejected": -1.75}',
]
# As written before what other processes hold was read.
OLD_READING = '{"event": "GpuSampled", "t": 1.0, "memory_used": 7, "utilisation": 90}'


@pytest.mark.parametrize("line", OLD_LINES)
def test_a_line_of_an_earlier_version_still_reads(line: str) -> None:
    event = from_line(line)
    assert isinstance(event, Step | Evaluated)
    assert (event.margin, event.logp_chosen, event.logp_chosen_sum) == (0.5, -1.25, None)
    if isinstance(event, Step):
        assert (event.rows_per_second, event.mfu) == (None, None)


def test_a_reading_of_an_earlier_version_says_nothing_of_other_processes() -> None:
    assert from_line(OLD_READING) == GpuSampled(t=1.0, memory_used=7, utilisation=90, others=None)


def test_text_is_written_as_it_is() -> None:
    assert "naïve 漢字" in to_line(Preparing(t=0.0, stage="naïve 漢字"))


def test_every_event_can_be_made_from_its_required_fields() -> None:
    for kind in EVENTS.values():
        required = [item.name for item in fields(kind) if item.default is MISSING]
        assert required[0] == "t"


def test_history_sorts_the_events() -> None:
    history = History()
    evaluated = Evaluated(t=2.0, step=3, rows=10, loss=1.2)
    sampled, warned = GpuSampled(t=1.0, utilisation=90), Warned(t=0.1, code="a", message="b")
    saved = Saved(t=3.0, step=3, path="/runs/a/checkpoint", kind="checkpoint")
    assert (history.last, history.ended, history.stage) == (None, None, "")
    history.add(Preparing(t=0.0, stage="loading the model"))
    assert history.stage == "loading the model"
    for event in (warned, STARTED, sampled, STEP, evaluated, saved, FINISHED):
        history.add(event)
    assert (history.started, history.stage, history.last) == (STARTED, "training", STEP)
    assert (history.gpu, history.warnings) == ([sampled], [warned])
    assert (history.steps, history.evaluations, history.saved) == ([STEP], [evaluated], [saved])
    assert history.ended == FINISHED


def test_the_newest_try_before_the_run_is_kept() -> None:
    history = History()
    assert history.probed is None
    for peak in (9, 7):  # the plan was lowered in between
        history.add(Probed(t=1.0, estimate=None, peak=peak, free=8, seconds=None))
    assert history.probed == Probed(t=1.0, estimate=None, peak=7, free=8, seconds=None)


def test_a_failure_is_an_end() -> None:
    history = History()
    history.add(FAILED)
    assert history.ended == FAILED


def paced(*times: float, first: int = 1, steps: int = 100) -> History:
    """A history of steps taken at these times."""
    history = History()
    for number, t in enumerate(times, first):
        history.add(replace(STEP, t=t, step=number, steps=steps))
    return history


@pytest.mark.parametrize("times", [(), (2.0,)])
def test_one_step_tells_nothing_about_the_end(times: tuple[float, ...]) -> None:
    assert paced(*times).eta is None


def test_the_time_left_is_the_pace_times_the_steps_left() -> None:
    assert paced(2.0, 4.0, 6.0).eta == pytest.approx(97 * 2.0)
    assert paced(2.0, 4.0, first=99).eta == 0.0


def test_only_the_last_twenty_steps_set_the_pace() -> None:
    slow_then_fast = [100.0 * n for n in range(10)] + [1000.0 + n for n in range(20)]
    assert paced(*slow_then_fast).eta == pytest.approx(70 * 1.0)


def test_a_step_told_twice_does_not_divide_by_zero() -> None:
    history = History()
    for _ in range(2):
        history.add(STEP)
    assert history.eta is None


def test_a_resumed_run_forgets_what_is_done_again() -> None:
    history = History()
    steps = [replace(STEP, step=number) for number in (1, 2, 3, 4)]
    history.add(STARTED)
    for event in steps:
        history.add(event)
    history.add(FAILED)
    history.add(Resumed(t=5.0, step=2, checkpoint="/runs/a/checkpoints/checkpoint-2"))
    assert [event.step for event in history.steps] == [1, 2]
    assert history.ended is None
    history.add(replace(STEP, step=3))
    assert [event.step for event in history.steps] == [1, 2, 3]


def test_a_pause_lasts_until_the_run_goes_on_or_ends() -> None:
    history = History()
    history.add(Paused(t=1.0, step=1, why="hot"))
    assert history.paused is not None
    history.add(Continued(t=2.0, step=1))
    assert history.paused is None
    history.add(Paused(t=3.0, step=1, why="hot"))
    history.add(FINISHED)
    assert history.paused is None

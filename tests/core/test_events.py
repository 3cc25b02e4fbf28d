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

from backprop_tui.core.event_fields import LARGEST
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

# What a terminal would obey is shown as a picture of itself; test_fuzz.py holds that.
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(-LARGEST, LARGEST - 1),
    "str": PLAIN,
    "bool": st.booleans(),
    "dict[str, int]": st.dictionaries(PLAIN, st.integers(-9, 9)),
    "dict[str, str]": st.dictionaries(PLAIN, PLAIN),
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
    assert math.isnan(back.loss)  # which cannot be left out


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


WRONG: list[tuple[str, Any]] = [
    ("t", None),
    ("t", "1.5"),
    ("t", True),
    ("t", 10**400),
    ("step", 3.0),
    ("step", True),
    ("step", None),
    ("step", "3"),
    ("step", 2**63),
    ("steps", -(10**4000)),
    ("loss", "1.31"),
    ("loss", False),
    ("loss", [1.31]),
    ("margin", {}),
    ("margin", True),
    ("memory", 1.5),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda value: str(value)[:12])
def test_a_value_of_another_type_is_no_event(key: str, value: Any) -> None:
    plain = json.loads(to_line(STEP))
    assert from_line(json.dumps({**plain, key: value})) is None


def test_a_text_a_table_and_a_truth_must_be_one() -> None:
    wrong: list[tuple[Event, str, Any]] = [
        (FAILED, "message", 5),
        (FAILED, "message", None),
        (STARTED, "dropped", ["a"]),
        (STARTED, "dropped", {"a": "b"}),
        (STARTED, "dropped", {"a": True}),
        (FINISHED, "stopped", 0),
        (FINISHED, "stopped", None),
    ]
    for event, key, value in wrong:
        plain = json.loads(to_line(event))
        assert from_line(json.dumps({**plain, key: value})) is None, (key, value)


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-1e999"])
def test_a_number_json_does_not_have_is_read_as_none(written: str) -> None:
    line = to_line(replace(STEP, margin=0.5, kl=0.25))
    back = from_line(line.replace("1.31", written).replace('"margin": 0.5', f'"margin": {written}'))
    assert isinstance(back, Step)
    assert (math.isnan(back.loss), back.margin, back.kl) == (True, None, 0.25)
    assert from_line(line.replace('"t": 1.5', f'"t": {written}')) is None


def test_a_whole_number_may_stand_for_a_float() -> None:
    back = from_line(to_line(STEP).replace('"t": 1.5', '"t": 2'))
    assert isinstance(back, Step)
    assert (back.t, type(back.t)) == (2.0, float)


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    back = from_line('{"event": "Preparing", "t": 0.0, "stage": "a \\ud83d b"}')
    assert back == Preparing(t=0.0, stage="a ? b")


def test_deep_nesting_is_no_event() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert from_line(f'{{"event": "Preparing", "t": 0.0, "stage": {deep}}}') is None


def of_declared_types(event: Event) -> bool:
    """Whether a panel can believe every field."""
    for item in fields(event):
        value, (name, _, none) = getattr(event, item.name), str(item.type).partition(" | ")
        if isinstance(value, dict):
            cell = name.removeprefix("dict[str, ").removesuffix("]")
            well = all(type(key) is str and type(v).__name__ == cell for key, v in value.items())
        else:
            well = type(value).__name__ == name or bool(none and value is None)
        if not well:
            return False
    return True


@given(st.data())
def test_a_mutated_line_is_an_event_of_sound_types_or_none(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(EVENTS.values())))
    plain = json.loads(to_line(data.draw(any_event(kind))))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
    for key in data.draw(st.lists(st.sampled_from(sorted(plain)), max_size=3)):
        plain[key] = data.draw(anything)
    event = from_line(json.dumps(plain))
    assert event is None or of_declared_types(event)


@given(st.sampled_from([STEP, STARTED, FINISHED, FAILED]), st.data())
def test_a_line_with_other_bytes_in_it_is_sound_or_none(event: Event, data: st.DataObject) -> None:
    raw = bytearray(to_line(event).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(at, min(at + 8, len(raw))))
        raw[at:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"null", b"1e999", b"[{"]))
    back = from_line(raw.decode("utf-8", "replace"))
    assert back is None or of_declared_types(back)


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


def test_a_pause_is_no_training_time() -> None:
    history = History()
    for number in (1, 2):
        history.add(replace(STEP, step=number, t=float(number)))
    assert history.eta == 8.0
    history.add(Paused(t=2.0, step=2, why="hot"))
    history.add(Continued(t=1000.0, step=2))
    for number in (3, 4):
        history.add(replace(STEP, step=number, t=1000.0 + number))
    assert history.eta == 6.0

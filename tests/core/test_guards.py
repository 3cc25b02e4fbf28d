"""Guards over the steps and measurements of a run: when they speak, what they say, what they
remember after a kill."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_tui.core.card_guard import CardGuard
from backprop_tui.core.events import (
    Evaluated,
    Event,
    GpuSampled,
    Resumed,
    Saved,
    Step,
    from_line,
    to_line,
)
from backprop_tui.core.guards import KEPT, Guards, Verdict, better, watched
from backprop_tui.core.history import History
from backprop_tui.core.methods import METHODS
from backprop_tui.core.reading import read_run
from backprop_tui.core.runfile_guards import GuardsSection, Watch
from backprop_tui.core.symptoms import ENOUGH
from tests.tui import histories

STEPS = 100_000
WATCHES: tuple[Watch, ...] = ("accuracy", "margin", "loss")


def guarded(method: str = "orpo", **section: Any) -> Guards:
    return Guards(GuardsSection(**section), method)


def step(n: int, norm: float | None = 1.0, *, steps: int = STEPS, **figures: Any) -> Step:
    return Step(
        **{"t": float(n), "loss": 1.0, **figures},
        step=n,
        steps=steps,
        epoch=0.0,
        learning_rate=1e-5,
        grad_norm=norm,
    )


def measured(
    n: int, accuracy: float | None = None, margin: float | None = None, loss: float = 1.0
) -> Evaluated:
    return Evaluated(t=float(n), step=n, rows=63, loss=loss, accuracy=accuracy, margin=margin)


def saved(n: int) -> Saved:
    return Saved(t=float(n), step=n, path=f"checkpoint-{n}", kind="checkpoint")


def resumed(n: int) -> Resumed:
    return Resumed(t=float(n), step=n, checkpoint=f"checkpoint-{n}" if n else "")


def said(guards: Guards, events: Iterable[Event]) -> list[Verdict]:
    return [verdict for event in events for verdict in guards.judge(event)]


def kinds(verdicts: Iterable[Verdict]) -> list[tuple[str, str]]:
    return [(verdict.kind, verdict.code) for verdict in verdicts]


# --- The gradient


@pytest.mark.parametrize(
    ("norms", "explodes"),
    [
        ([101, 101, 101], True),
        ([100, 100, 100, 100], False),  # over 100 is meant
        ([101, 101, 99, 101, 101], False),
        ([101, None, 101, 101], True),  # not a number, or not known: no sign of calm
        ([101, math.nan, 101, 101], True),
        ([101, math.inf, 101], False),  # as it is once it was written to a file and read
        ([None, None, None, None], False),
    ],
)
def test_three_gradients_in_a_row_are_an_explosion(
    norms: list[float | None], explodes: bool
) -> None:
    events = [step(n, norm) for n, norm in enumerate(norms, 1)]
    expected = [("warn", "gradient-explosion")] if explodes else []
    assert kinds(said(guarded(), events)) == expected


def test_an_explosion_is_told_once_with_its_figures() -> None:
    guards = guarded()
    guards.judge(replace(histories.started("orpo"), learning_rate=2e-3))
    (warning,) = said(guards, [step(n, 400 + n) for n in range(1, 13)])
    assert warning.message == (
        "The gradient norm was over 100 for 3 steps in a row (403 at step 3): the run is "
        "exploding. Lower training.learning_rate (0.002)."
    )


def test_an_explosion_stops_where_the_run_file_asks() -> None:
    guards = guarded(stop_on_explosion=True)
    found = said(guards, [step(n, 412) for n in range(1, 9)])
    assert kinds(found) == [("warn", "gradient-explosion"), ("stop", "gradient-explosion")]
    assert found[1].message == "the gradient norm was over 100 for 3 steps in a row (412 at step 3)"


# --- Margin inflation


def test_margin_inflation_is_told_once_in_the_words_of_the_reading() -> None:
    guards, history = guarded("simpo"), History()
    warnings = []
    for event in histories.training("simpo", upto=120, inflating=True):
        history.add(event)
        found = guards.judge(event)
        warnings += found
        if found:
            assert found[0].message.startswith(
                read_run(history).removesuffix(" Consider f4, stop.")
            )
    assert kinds(warnings) == [("warn", "margin-inflation")]
    assert "margin inflation, not learning. Lower training.learning_rate" in warnings[0].message


def test_margin_inflation_stops_where_the_run_file_asks() -> None:
    events = histories.training("simpo", upto=120, inflating=True)
    found = said(guarded("simpo", stop_on_inflation=True), events)
    assert kinds(found) == [("warn", "margin-inflation"), ("stop", "margin-inflation")]
    assert found[1].message.startswith("train margin +")
    assert found[1].message.endswith("margin inflation, not learning")


@pytest.mark.parametrize("method", ["simpo", "orpo", "kto", "sft"])
def test_a_run_that_learns_is_left_alone(method: str) -> None:
    guards = guarded(method, patience=3, stop_on_inflation=True, stop_on_explosion=True)
    assert said(guards, histories.training(method, upto=240)) == []


def test_a_margin_that_rises_within_its_noise_is_no_inflation() -> None:
    def run(rise: float) -> list[Verdict]:
        events: list[Event] = [measured(0, 0.52, 0.0)]
        for n in range(1, 61):
            events.append(step(n, margin=(n % 2) * 0.2 + rise * n))
            if n % 20 == 0:
                events.append(measured(n, 0.52, 0.0))
        return said(guarded(), events)

    assert run(0.0001) == []
    assert kinds(run(0.01)) == [("warn", "margin-inflation")]


def test_flat_is_not_said_at_the_second_measurement() -> None:
    events: list[Event] = [measured(0, 0.5, 0.0), *(step(n, margin=n / 10) for n in range(1, 41))]
    guards = guarded()
    assert said(guards, [*events, measured(40, 0.5, 0.0)]) == []
    assert said(guards, [measured(40, 0.5, 0.0)]) == []  # the same weights again
    assert kinds(said(guards, [measured(41, 0.5, 0.0)])) == [("warn", "margin-inflation")]


figures = st.floats(-2, 2) | st.sampled_from([0.0, math.nan, math.inf])


@st.composite
def streams(draw: st.DrawFn, longest: int = 60) -> list[Event]:
    """A run of a few steps with measurements and checkpoints, of any quality."""
    slope = draw(st.sampled_from([-0.02, 0.0, 0.01, 0.05]))
    gain = draw(st.sampled_from([0.0, 0.0, 0.002, 0.01]))
    noise = draw(st.lists(figures, min_size=longest, max_size=longest))
    norms = draw(
        st.lists(st.sampled_from([1.0, 250.0, 250.0, None]), min_size=longest, max_size=longest)
    )
    every, keep = draw(st.integers(3, 9)), draw(st.integers(1, 9))
    upto = draw(st.integers(5, longest))
    events: list[Event] = [histories.started("orpo"), measured(0, 0.5, 0.0)]
    for n in range(1, upto + 1):
        events.append(step(n, norms[n - 1], margin=slope * n + noise[n - 1] / 50))
        checks: list[Event] = [saved(n)] if n % keep == 0 else []
        if n % every == 0:
            accuracy = round(63 * min(1.0, 0.5 + gain * n)) / 63
            looked = measured(n, accuracy, gain * n, noise[n - 1])
            # A checkpoint is most often written after the measurement, and not always.
            checks = [looked, *checks] if draw(st.booleans()) else [*checks, looked]
        events += checks
    return events


@settings(max_examples=150, deadline=None)
@given(streams())
def test_the_guard_and_the_sentence_never_disagree(events: list[Event]) -> None:
    guards, history = guarded(), History()
    said_before = False
    for event in events:
        history.add(event)
        warned = "margin-inflation" in [verdict.code for verdict in guards.judge(event)]
        if isinstance(event, Evaluated):
            reads = "margin inflation, not learning" in read_run(history)
            exploding = "exploding" in read_run(history)  # said first: it is worse
            assert warned == (reads and not said_before) or exploding
            said_before = said_before or reads or warned


# --- Better and best


full = st.builds(
    measured,
    st.integers(1, 99),
    st.sampled_from([0.0, 0.5, 0.51, 1.0]),
    st.sampled_from([-1.0, 0.0, 0.1]),
    st.sampled_from([0.1, 0.2, 3.0]),
)
partial = st.builds(
    measured,
    st.integers(1, 99),
    st.none() | st.floats(0, 1) | st.just(math.nan),
    st.none() | st.floats(-1, 1) | st.just(math.inf),
    st.floats(0, 3) | st.sampled_from([math.nan, math.inf, -math.inf]),
)


@given(partial, partial, st.sampled_from(WATCHES))
def test_of_two_at_most_one_is_better(one: Evaluated, other: Evaluated, watch: Watch) -> None:
    assert not better(one, one, watch)
    assert not (better(one, other, watch) and better(other, one, watch))
    if not math.isfinite(one.loss):
        assert not better(one, other, watch)
        assert better(other, one, watch) == math.isfinite(other.loss)


@given(full, full, full, st.sampled_from(WATCHES))
def test_better_than_the_better_one_is_better(
    a: Evaluated, b: Evaluated, c: Evaluated, watch: Watch
) -> None:
    if better(a, b, watch) and better(b, c, watch):
        assert better(a, c, watch)


@pytest.mark.parametrize(
    ("watch", "new", "old", "is_better"),
    [
        ("accuracy", measured(2, 0.6, -1), measured(1, 0.5, 1), True),
        ("accuracy", measured(2, 0.5, 0.2), measured(1, 0.5, 0.1), True),  # a tie, by margin
        ("accuracy", measured(2, 0.5, 0.1), measured(1, 0.5, 0.1), False),
        ("accuracy", measured(2, 0.5, None, 0.8), measured(1, 0.5, None, 0.9), True),  # by loss
        ("margin", measured(2, 0.1, 0.2), measured(1, 0.9, 0.1), True),
        ("margin", measured(2, 0.9, 0.1), measured(1, 0.1, 0.2), False),
        ("loss", measured(2, 0.1, 0.1, 0.8), measured(1, 0.9, 0.9, 0.9), True),
        ("loss", measured(2, 0.9, 0.9, 0.9), measured(1, 0.9, 0.9, 0.9), False),
        ("margin", measured(2, None, None, 0.8), measured(1, 0.9, 0.9, 0.9), True),  # by loss
    ],
)
def test_what_is_better(watch: Watch, new: Evaluated, old: Evaluated, is_better: bool) -> None:
    assert better(new, old, watch) is is_better


@pytest.mark.parametrize("method", METHODS)
def test_the_figure_that_is_watched(method: str) -> None:
    assert watched(GuardsSection(), method) == ("loss" if method == "sft" else "accuracy")
    for watch in WATCHES:
        assert watched(GuardsSection(watch=watch), method) == watch


def test_the_best_is_never_the_one_before_the_first_step() -> None:
    guards = guarded()
    said(guards, [measured(0, 0.9)])
    assert guards.best is None
    said(guards, [measured(10, 0.6), measured(20, 0.7), measured(30, 0.65)])
    assert guards.best == measured(20, 0.7)


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    guards = guarded("sft", patience=2)
    found = said(guards, [measured(10, loss=math.nan)])
    assert (guards.best, found) == (None, [])
    (stop,) = said(guards, [measured(20, loss=math.inf)])
    assert stop.message == "the held-out loss has not been a number for 2 measurements"


# --- Patience


def test_patience_counts_from_the_best_one() -> None:
    guards = guarded(patience=3)
    scores = {20: 0.5, 40: 0.71, 60: 0.7, 80: 0.71, 100: 0.6}
    (stop,) = said(guards, [measured(n, accuracy) for n, accuracy in scores.items()])
    assert (stop.kind, stop.code) == ("stop", "no-improvement")
    assert stop.message == (
        "the held-out accuracy has not been better than 71 % (step 40) for 3 measurements"
    )


def test_a_better_one_begins_the_count_again() -> None:
    guards = guarded(patience=2)
    scores = [0.5, 0.4, 0.6, 0.5, 0.7, 0.6]
    assert said(guards, [measured(n, score) for n, score in enumerate(scores, 1)]) == []
    assert kinds(said(guards, [measured(7, 0.7)])) == [("stop", "no-improvement")]


@pytest.mark.parametrize(
    ("method", "watch", "words"),
    [
        ("sft", None, "the held-out loss has not been better than 0.50 (step 1) for 1 measurement"),
        ("sft", "accuracy", "the held-out loss has not been better than 0.50 (step 1)"),
        ("orpo", "margin", "the held-out margin has not been better than 0.30 (step 1)"),
        ("orpo", "loss", "the held-out loss has not been better than 0.50 (step 1)"),
    ],
)
def test_the_figure_that_was_compared_is_named(
    method: str, watch: Watch | None, words: str
) -> None:
    accuracy, margin = (None, None) if method == "sft" else (0.7, 0.3)
    guards = guarded(method, patience=1, watch=watch)
    (stop,) = said(guards, [measured(n, accuracy, margin, 0.5) for n in (1, 2)])
    assert stop.message.startswith(words)


def test_the_same_weights_measured_again_do_not_count() -> None:
    guards = guarded(patience=1)
    assert said(guards, [measured(0, 0.5), measured(0, 0.5), measured(10, 0.6)]) == []
    assert said(guards, [measured(10, 0.6)]) == []
    assert len(said(guards, [measured(20, 0.6)])) == 1


def test_without_patience_nothing_is_stopped() -> None:
    assert said(guarded(), [measured(n, 0.9 - n / 100) for n in range(1, 50)]) == []


# --- Time, and stops


def test_the_hours_are_counted_by_the_clock_of_the_run() -> None:
    guards = guarded(max_hours=0.5)
    assert said(guards, [step(1, t=0.0), step(2, t=1799.9)]) == []
    (stop,) = said(guards, [step(3, t=1800.0)])
    assert (stop.kind, stop.code) == ("stop", "time-over")
    assert stop.message == "the time of guards.max_hours = 0.5 is over"


def test_nothing_is_stopped_twice_but_a_run_that_was_taken_up_again_is() -> None:
    guards = guarded(max_hours=0.5)
    late = [step(n, t=1800.0 + n) for n in range(1, 5)]
    assert len(said(guards, late)) == 1
    assert said(guards, [resumed(4)]) == []
    assert len(said(guards, [step(5, t=1810.0)])) == 1


def test_at_the_last_step_there_is_nothing_left_to_stop() -> None:
    guards = guarded(max_hours=0.5, patience=1, stop_on_explosion=True)
    events: list[Event] = [step(8, 300, steps=10), measured(8, 0.6), step(9, 300, steps=10)]
    assert said(guards, events) == []
    found = said(guards, [step(10, 300, steps=10, t=9999.0), measured(10, 0.5)])
    assert kinds(found) == [("warn", "gradient-explosion")]


# --- After a kill


def survivors(events: list[Event], killed: int) -> tuple[int, int]:
    """The newest checkpoint among the first `killed` events: its step, and where its step ends."""
    steps = [event.step for event in events[:killed] if isinstance(event, Saved)]
    newest = steps[-1] if steps else 0
    ends = [i for i, e in enumerate(events) if getattr(e, "step", 0) <= newest]
    return newest, ends[-1] + 1


@settings(max_examples=150, deadline=None)
@given(streams(), st.data())
def test_a_run_killed_anywhere_is_guarded_as_if_it_never_was(
    events: list[Event], data: st.DataObject
) -> None:
    section: dict[str, Any] = {
        "patience": data.draw(st.none() | st.integers(1, 3)),
        "stop_on_explosion": True,
    }
    unbroken = guarded(**section)
    expected = [unbroken.judge(event) for event in events]
    broken = guarded(**section)
    alive = 0  # events that are done for good
    for _ in range(data.draw(st.integers(1, 3))):
        killed = data.draw(st.integers(alive, len(events)))
        said(broken, events[alive:killed])
        # What was measured right after the last checkpoint may be lost with the process.
        newest, done = survivors(events, killed)
        alive = min(done, killed)
        said(broken, [resumed(newest)])
        broken._stopped = any(v.kind == "stop" for given in expected[:alive] for v in given)
    assert [broken.judge(event) for event in events[alive:]] == expected[alive:]
    assert broken._seen == unbroken._seen
    assert broken.best == unbroken.best


@settings(max_examples=30, deadline=None)
@given(streams())
def test_events_read_from_a_file_make_the_same_guards(events: list[Event]) -> None:
    live, read = guarded(patience=2), guarded(patience=2)
    for event in events:
        again = from_line(to_line(event))
        assert again is not None
        assert kinds(live.judge(event)) == kinds(read.judge(again))
    assert (live._seen.exploding, live._seen.head) == (read._seen.exploding, read._seen.head)
    assert live._seen.tail == read._seen.tail
    assert (live.best is None) == (read.best is None)


def test_a_checkpoint_whose_line_was_lost_is_resumed_all_the_same() -> None:
    guards = guarded(patience=2)
    said(guards, [step(1), measured(1, 0.6), step(2), measured(2, 0.5)])  # killed while it saved
    assert said(guards, [resumed(2), step(3)]) == []
    assert guards.best == measured(1, 0.6)
    assert kinds(said(guards, [measured(3, 0.5)])) == [("stop", "no-improvement")]


def test_an_older_checkpoint_than_the_kept_ones_forgets_what_came_after_it() -> None:
    guards = guarded(patience=1)
    for n in range(1, 100):
        said(guards, [step(n, 300), measured(n, 0.5 + n / 1000), saved(n)])
    said(guards, [resumed(50)])
    assert guards.best is None  # rather than one of weights that are void
    assert guards._seen.exploding == 0
    assert kinds(said(guards, [step(n, 300) for n in range(51, 54)])) == [
        ("warn", "gradient-explosion")
    ]


def test_a_checkpoint_that_is_told_late_is_not_taken_for_what_is_known_by_then() -> None:
    guards = guarded()
    said(guards, [step(1), step(2, 300), step(3, 300), saved(1), resumed(1)])
    assert said(guards, [step(2, 300), step(3, 300)]) == []


def test_the_best_checkpoint_can_be_gone_back_to_however_old_it_is() -> None:
    guards = guarded()
    said(guards, [step(5), measured(5, 0.9), saved(5)])
    for n in range(6, 60):
        said(guards, [step(n, 300), measured(n, 0.5), saved(n)])
    said(guards, [resumed(5)])
    assert guards.best == measured(5, 0.9)
    assert (guards._seen.step, guards._seen.waited, guards._seen.exploding) == (5, 0, 0)


def test_what_is_remembered_does_not_grow_with_the_run() -> None:
    guards = guarded(patience=10**6)
    for n in range(1, 3000):
        said(guards, [step(n, 300, margin=n / 10), measured(n, 0.5, 0.1), saved(n)])
    assert len(guards._kept) == KEPT
    assert all(len(s.head) <= ENOUGH and len(s.tail) <= ENOUGH for s in guards._kept.values())
    assert (len(guards._seen.head), len(guards._seen.tail)) == (ENOUGH, ENOUGH)


def test_one_thread_at_a_time_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    met = []

    def judge(_self: object, _reading: GpuSampled) -> list[Verdict]:
        try:
            met.append(both.wait(timeout=0.2))  # passes only if the other thread comes in as well
        except threading.BrokenBarrierError:
            return []
        return []

    monkeypatch.setattr(CardGuard, "judge", judge)
    guards = guarded()
    threads = [threading.Thread(target=guards.judge, args=(GpuSampled(t=0),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []

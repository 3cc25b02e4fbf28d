"""Following events.jsonl: in order, once, whole lines only; and a long file chosen from rightly."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backprop_tui.core.events import (
    Evaluated,
    Event,
    GpuSampled,
    Preparing,
    Resumed,
    Saved,
    Step,
    Warned,
    to_line,
)
from backprop_tui.core.history import History
from backprop_tui.runs import choice, stream
from backprop_tui.runs.stream import Follower

STEP = Step(t=0.0, step=0, steps=10_000, epoch=0.1, loss=1.0, learning_rate=1e-6, margin=0.25)


def step(number: int) -> Step:
    return replace(STEP, t=float(number), step=number)


def text_of(events: list[Event]) -> str:
    return "".join(to_line(event) + "\n" for event in events)


def told(events: list[Event]) -> History:
    history = History()
    for event in events:
        history.add(event)
    return history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short file is chosen from like a long one."""
    for name, value in {
        "CHUNK": 2048,
        "BLOCK": 128,
        "LONGEST": 1000,
        "NEWEST": 20,
        "OLDER": 20,
    }.items():
        monkeypatch.setattr(choice, name, value)
    monkeypatch.setattr(stream, "WHOLE", 500)


def test_a_file_that_is_not_there_yet_has_no_events(path: Path) -> None:
    follower = Follower(path)
    assert follower.read() == []
    path.write_text(text_of([step(1)]))
    assert follower.read() == [step(1)]
    assert not follower.restarted


def test_each_event_is_told_once_and_a_torn_line_waits(path: Path) -> None:
    follower = Follower(path)
    whole = text_of([step(1), step(2)]).encode()
    seen: list[Event] = []
    for cut in range(len(whole)):
        with path.open("ab") as file:
            file.write(whole[cut : cut + 1])
        seen += follower.read()
        assert len(seen) == whole[: cut + 1].count(b"\n")
    assert seen == [step(1), step(2)]


def test_foreign_lines_are_left_out(path: Path) -> None:
    path.write_bytes(b"\n\xff\xfe\nTraceback\n{}\n" + text_of([step(1)]).encode() + b"[\n")
    assert Follower(path).read() == [step(1)]


def test_a_file_that_was_cut_or_replaced_is_read_anew(path: Path) -> None:
    follower = Follower(path)
    path.write_text(text_of([step(1), step(2), step(3)]))
    follower.read()
    os.truncate(path, len(text_of([step(1)])))
    assert (follower.read(), follower.restarted) == ([step(1)], True)
    assert (follower.read(), follower.restarted) == ([], False)
    other = path.with_name("other")
    other.write_text(text_of([step(7), step(8)]))
    other.rename(path)
    assert (follower.read(), follower.restarted) == ([step(7), step(8)], True)
    path.write_text(text_of([step(4), step(5), step(6)]))  # the same file, longer than before
    assert (follower.read(), follower.restarted) == ([step(4), step(5), step(6)], True)


def test_a_torn_line_that_the_next_writer_cuts_off_was_never_told(path: Path) -> None:
    follower = Follower(path)
    path.write_text(text_of([step(1)]) + to_line(step(2))[:30])
    assert follower.read() == [step(1)]
    os.truncate(path, len(text_of([step(1)])))
    with path.open("a") as file:
        file.write(text_of([step(9)]))
    assert (follower.read(), follower.restarted) == ([step(9)], False)


@pytest.mark.usefixtures("small")
def test_of_a_long_file_the_newest_steps_and_an_even_choice_are_told(path: Path) -> None:
    events: list[Event] = [Preparing(t=0.0, stage="loading")]
    for number in range(1, 2001):
        events.append(step(number))
        if number % 3 == 0:
            events.append(GpuSampled(t=float(number), temperature=60))
        if number % 500 == 0:
            events.append(Evaluated(t=float(number), step=number, rows=5, loss=1.0))
    path.write_text(text_of(events))
    found = Follower(path).read()
    assert [event for event in found if not isinstance(event, Step | GpuSampled)] == [
        event for event in events if not isinstance(event, Step | GpuSampled)
    ]
    steps = [event.step for event in found if isinstance(event, Step)]
    assert steps[-20:] == list(range(1981, 2001))
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert 15 <= len(steps) <= 50
    assert max(gaps) <= 2.5 * 2000 / 20
    readings = [event for event in found if isinstance(event, GpuSampled)]
    assert 15 <= len(readings) <= 60
    assert readings[-1] == events[-1] or readings[-1].t == 1998.0
    assert [event.t for event in found] == sorted(event.t for event in found)


@pytest.mark.usefixtures("small")
def test_of_many_measurements_an_even_choice_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "EVALUATIONS", 10)
    path.write_text(
        text_of([Evaluated(t=float(n), step=n, rows=5, loss=1.0) for n in range(1, 101)])
    )
    steps = [event.step for event in Follower(path).read() if isinstance(event, Evaluated)]
    assert (steps[0], steps[-1], len(steps)) == (1, 100, 11)  # the first line is always parsed
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 11


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """A run that was killed and taken up again several times, with all that lies between."""
    events: list[Event] = []
    at = 0
    for _ in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.sampled_from([0, 1, 7, 40, 150]))):
            at += 1
            events.append(step(at))
            more = draw(st.sampled_from("......gges"))
            if more == "g":
                events.append(GpuSampled(t=float(at), utilisation=90))
            elif more == "e":
                events.append(Evaluated(t=float(at), step=at, rows=3, loss=2.0))
            elif more == "s":
                path = "p" * draw(st.sampled_from([1, 800]))
                events.append(Saved(t=float(at), step=at, path=path, kind="c"))
        at = draw(st.integers(0, at))
        events.append(Resumed(t=0.0, step=at, checkpoint="c"))
    events += [step(at + n) for n in range(1, draw(st.sampled_from([1, 5, 60])))]
    events.append(Warned(t=0.0, code="a", message="b"))
    return events


@pytest.mark.usefixtures("small")
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=runs())
def test_void_steps_never_crowd_out_those_that_count(path: Path, events: list[Event]) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text_of(events))
    found = Follower(path).read()
    every, some = told(events), told(found)
    valid = [event.step for event in every.steps]
    shown = [event.step for event in some.steps]
    assert shown[-20:] == valid[-20:]
    assert set(shown) <= set(valid)
    assert some.evaluations == every.evaluations
    assert (some.saved, some.warnings) == (every.saved, every.warnings)
    if path.stat().st_size > stream.WHOLE:  # nor is one that is void parsed in vain
        assert len([event for event in found if isinstance(event, Step)]) == len(shown)


@pytest.mark.usefixtures("small")
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=runs(), noise=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=40))))
def test_a_damaged_file_tells_only_what_is_in_it(
    path: Path, events: list[Event], noise: list[tuple[int, bytes]]
) -> None:
    raw = bytearray(text_of(events).encode())
    for at, other in noise:
        raw[at % len(raw) : at % len(raw) + 5] = other
        raw += b"\n"
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    there = [choice._event(line) for line in bytes(raw).split(b"\n")]
    found = Follower(path).read()
    assert all(event in there for event in found)
    kept = [event for event in there if isinstance(event, Evaluated | Saved | Warned | Resumed)]
    assert [event for event in found if not isinstance(event, Step | GpuSampled)] == kept


@pytest.mark.usefixtures("small")
def test_a_line_that_is_too_long_is_passed_over(path: Path) -> None:
    long = '{"event": "Step", "t": ' + "1" * 20_000 + "\n"
    events: list[Event] = [step(n) for n in range(1, 40)]
    path.write_text(text_of(events[:20]) + long + text_of(events[20:]) + "x" * 9000 + "\n")
    found = Follower(path).read()
    assert [event.step for event in found if isinstance(event, Step)][-19:] == list(range(21, 40))


def test_the_benchmark_measures_what_it_says() -> None:
    options = ("--events", "8000", "--rounds", "1", "--seconds", "2")
    done = subprocess.run(
        [sys.executable, "benchmarks/watching.py", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    opened, followed = done.stdout.splitlines()
    assert re.fullmatch(
        r"\| a watched run opens \(8,000 events, 4 MB\) \| [\d.]+ s \| 1 s \|", opened
    )
    assert re.search(r"\| [\d.]+% of a core \| 5 % \|$", followed)

"""The chart: exact size whatever comes in, readable without colour, quick on long runs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.chart import AXIS, GUIDE, Series, Style, draw, key, plain
from backprop_tui.core.ticks import label, nice_step, y_ticks
from backprop_tui.core.trace import BUCKETS, Trace


def traced(*values: float | None) -> Trace:
    trace = Trace()
    for x, y in enumerate(values, 1):
        trace.add(x, y)
    return trace


VALUES = st.lists(st.one_of(st.none(), st.floats()), max_size=40)
STYLES: list[Style] = ["line", "dashed", "marks"]


@given(
    one=VALUES,
    two=VALUES,
    width=st.integers(0, 90),
    height=st.integers(0, 20),
    styles=st.tuples(st.sampled_from(STYLES), st.sampled_from(STYLES)),
    ascii_only=st.booleans(),
    include=st.lists(st.floats(-1e6, 1e6), max_size=2),
)
def test_any_values_give_the_exact_size(
    one: list[float | None],
    two: list[float | None],
    width: int,
    height: int,
    styles: tuple[Style, Style],
    ascii_only: bool,
    include: list[float],
) -> None:
    series = [Series(traced(*one), styles[0]), Series(traced(*two), styles[1])]
    lines = draw(
        series,
        width,
        height,
        include=include,
        guides=include,
        x_name="step",
        empty="nothing yet",
        ascii_only=ascii_only,
    )
    assert [len(line) for line in plain(lines)] == [width] * height
    assert all(run.role in (0, 1, AXIS, GUIDE) for line in lines for run in line)
    if ascii_only:
        assert all(line.isascii() for line in plain(lines))


@given(st.floats(-1e308, 1e308), st.floats(-1e308, 1e308), st.integers(1, 30))
def test_ticks_hold_the_data(low: float, high: float, rows: int) -> None:
    low, high = min(low, high) / 1e8, max(low, high) / 1e8
    ticks = y_ticks(low, high, rows)
    room = (high - low) * 1e-6
    assert ticks.low < ticks.high
    assert ticks.low <= low + room
    assert ticks.high >= high - room
    assert all(0 <= row < rows for row in ticks.labels)


@pytest.mark.parametrize(
    ("low", "high", "rows", "labels"),
    [
        (0.0, 1.0, 9, ["1.00", "0.75", "0.50", "0.25", "0"]),
        (0.0, 100.0, 5, ["100", "50", "0"]),
        (0.78, 1.41, 3, ["1.6", "0.6"]),
        (-2.5, -0.5, 9, ["-0.5", "-1.0", "-1.5", "-2.0", "-2.5"]),
        (-2.5, -0.5, 8, ["-0.5", "-1.5", "-2.5"]),
        (-0.3, 1.1, 9, ["1.0", "0.5", "0"]),
        (0.61, 0.69, 7, ["0.66", "0.62"]),
        (0.0, 2e7, 5, ["2.0e7", "1.0e7", "0"]),
    ],
)
def test_labels_are_nice_and_evenly_spaced(
    low: float, high: float, rows: int, labels: list[str]
) -> None:
    found = y_ticks(low, high, rows).labels
    assert list(dict(sorted(found.items())).values()) == labels


def test_nice_steps() -> None:
    assert [nice_step(x) for x in (0.03, 1, 1.1, 2.2, 3, 7, 80)] == pytest.approx(
        [0.05, 1, 2, 2.5, 5, 10, 100]
    )
    assert label(0.25, 0.25) == "0.25"
    assert label(-1e-17, 0.5) == "0"


def test_a_rising_curve_rises() -> None:
    lines = plain(draw([Series(traced(*range(100)))], 40, 10, x_name="step"))
    columns = [
        [row for row, line in enumerate(lines[:-1]) if 0x2800 < ord(line[x]) <= 0x28FF]
        for x in range(6, 40)
    ]
    tops = [min(rows) for rows in columns if rows]
    assert tops == sorted(tops, reverse=True)
    assert tops[0] > 5
    assert tops[-1] == 0
    assert lines[-1].split() == ["step", "1", "100"]


def test_two_curves_are_told_apart_without_colour() -> None:
    train, heldout = traced(*range(20)), traced(*(x / 2 for x in range(20)))
    picture = "".join(plain(draw([Series(train), Series(heldout, "marks")], 40, 10)))
    assert picture.count("●") > 10
    assert key("line") != key("dashed") != key("marks")
    dashed = plain(draw([Series(traced(1, 1, 1), "dashed")], 40, 10))
    solid = plain(draw([Series(traced(1, 1, 1))], 40, 10))
    assert "".join(dashed).count(" ") > "".join(solid).count(" ")
    both = [Series(train), Series(heldout, "marks")]
    in_ascii = "".join(plain(draw(both, 40, 10, ascii_only=True)))
    assert "o" in in_ascii
    assert ":" in in_ascii


def test_no_points_say_so_and_one_point_shows() -> None:
    quiet = plain(draw([Series(Trace())], 30, 5, empty="no figures yet"))
    assert quiet[2].strip() == "no figures yet"
    lone = "".join(plain(draw([Series(traced(3.0))], 30, 5)))
    assert any(0x2800 < ord(sign) <= 0x28FF for sign in lone)


def test_non_finite_values_are_remembered_not_drawn() -> None:
    trace = traced(1.0, math.nan, 2.0, math.inf)
    assert trace.xs == [1, 3]
    assert trace.last == math.inf
    assert traced(1.0, None).last == 1.0


def test_the_guide_stands_at_its_value() -> None:
    lines = plain(draw([Series(traced(-1.0, 1.0))], 40, 9, guides=[0.0]))
    row = next(i for i, line in enumerate(lines) if "┈" in line)
    assert lines[row].split()[0] == "0"


def test_a_long_run_stays_small_and_keeps_its_extremes() -> None:
    trace = Trace()
    for x in range(100_000):
        trace.add(x, 1e6 if x == 61_803 else math.sin(x / 5000))
    assert len(trace.xs) <= BUCKETS
    assert max(trace.highs) == 1e6
    assert min(trace.lows) == pytest.approx(-1.0)
    assert len(plain(draw([Series(trace)], 90, 12, x_name="step"))) > 1


def test_a_curve_with_a_sign_is_marked_by_it_and_shares_a_cell() -> None:
    up, down = traced(1, 2, 3), traced(3, 2, 1)
    lines = plain(draw([Series(up, "marks", "1"), Series(down, "marks", "2")], 40, 9))
    plot = [line.partition("┤")[2] or line.partition("│")[2] for line in lines[:-1]]
    marks = sorted(sign for line in plot for sign in line if sign in "12*")
    assert marks == ["*", "1", "1", "2", "2"]
    assert all(len(line) == 40 for line in lines)

"""Numbers as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core import text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (340 * 2**20, "340 MB"),
        (int(11.2 * 2**30), "11.2 GB"),
        (1400 * 2**30, "1,400 GB"),
        (-3 * 2**30, "-3.0 GB"),
    ],
)
def test_size(value: float | None, words: str) -> None:
    assert text.size(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
        (0, "0:00"),
        (42.4, "0:42"),
        (725, "12:05"),
        (3599.7, "1:00:00"),
        (11229, "3:07:09"),
        (-5, "0:00"),
    ],
)
def test_duration(value: float | None, words: str) -> None:
    assert text.duration(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(None, "n/a"), (0, "0"), (999, "999"), (1_234_567, "1,234,567")]
)
def test_count(value: int | None, words: str) -> None:
    assert text.count(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (999, "999"),
        (2_800_000, "2.8M"),
        (494_032_768, "494M"),
        (999_999_999, "1.0B"),
        (7_615_616_512, "7.6B"),
        (1.1e12, "1.1T"),
    ],
)
def test_parameters(value: int | None, words: str) -> None:
    assert text.parameters(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "n/a"),
        (0, "0 %"),
        (0.0001, "under 1 %"),
        (0.01, "1 %"),
        (0.846, "85 %"),
        (0.99, "99 %"),
        (0.9999, "over 99 %"),
        (1, "100 %"),
    ],
)
def test_percent(value: float | None, words: str) -> None:
    assert text.percent(value) == words


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_only_all_is_100_percent_and_only_none_is_0(share: float) -> None:
    assert text.percent(share) not in ("0 %", "100 %")


@pytest.mark.parametrize(
    ("value", "words"), [(None, "n/a"), (5e-7, "5e-07"), (2e-5, "2e-05"), (0.1, "0.1"), (2.0, "2")]
)
def test_rate(value: float | None, words: str) -> None:
    assert text.rate(value) == words


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 rows"), (1, "1 row"), (3, "3 rows"), (1000, "1,000 rows")]
)
def test_plural(n: int, words: str) -> None:
    assert text.plural(n, "row") == words


def test_an_irregular_plural() -> None:
    assert text.plural(2, "entry", "entries") == "2 entries"

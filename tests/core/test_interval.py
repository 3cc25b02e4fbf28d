"""Intervals of shares against a reference, and at their ends."""

from __future__ import annotations

import math

import pytest

from backprop_tui.core.interval import Z95, trials, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (7, 24), (12, 24), (63, 63), (870, 1000)])
def test_the_ends_are_the_shares_that_a_score_test_just_allows(right: int, n: int) -> None:
    """What defines the interval: the measured share lies z standard errors of either end away."""
    share = right / n
    low, high = wilson(share, n)
    assert low <= share <= high
    for end in {low, high} - {0.0, 1.0}:
        assert abs(share - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / n))


def test_wilson_as_published() -> None:
    """81 of 263: Newcombe, Stat. Med. 17 (1998) 857, table I, method 3."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_by_hand() -> None:
    """24 of 24 at z = 2: n / (n + z^2) = 24 / 28."""
    assert wilson(1.0, 24, z=2.0) == pytest.approx((24 / 28, 1.0))


@pytest.mark.parametrize(("share", "n"), [(-0.1, 5), (1.1, 5), (0.5, 0), (float("nan"), 5)])
def test_what_is_no_share_is_refused(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="is allowed"):
        wilson(share, n)


def test_an_accuracy_of_kto_is_worth_half_its_rows() -> None:
    assert (trials("kto", 64), trials("kto", 1), trials("dpo", 64)) == (32, 1, 64)

"""Intervals of shares against a reference, and at their ends."""

from __future__ import annotations

import pytest

from backprop_tui.core.interval import trials, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (7, 24), (12, 24), (63, 63), (870, 1000)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    reference = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right / n, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    """24 of 24 at z = 2: n / (n + z^2) = 24 / 28."""
    assert wilson(1.0, 24, z=2.0) == (pytest.approx(24 / 28), 1.0)


@pytest.mark.parametrize(("share", "n"), [(-0.1, 5), (1.1, 5), (0.5, 0), (float("nan"), 5)])
def test_what_is_no_share_is_refused(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="is allowed"):
        wilson(share, n)


def test_an_accuracy_of_kto_is_worth_half_its_rows() -> None:
    assert (trials("kto", 64), trials("kto", 1), trials("dpo", 64)) == (32, 1, 64)

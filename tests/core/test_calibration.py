"""What a card holds beside tensors: never less than was seen, and near it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.calibration import Calibration, Observation, calibrated

GIB = 2**30
MIB = 2**20


def seen(predicted: int, reserved: int, context: int | None = 500 * MIB) -> Observation:
    return Observation(predicted=predicted, reserved=reserved, context=context)


def test_until_something_was_seen_the_stated_values_hold() -> None:
    assert calibrated([]) == Calibration()
    assert calibrated([]).runs == 0


OBSERVED = st.lists(
    st.builds(
        Observation,
        predicted=st.integers(1, 80 * GIB),
        reserved=st.integers(1, 80 * GIB),
        context=st.integers(0, GIB) | st.none(),
    ),
    min_size=1,
    max_size=8,
)


@given(OBSERVED)
def test_no_run_that_was_seen_would_be_said_to_take_less(runs: list[Observation]) -> None:
    found = calibrated(runs)
    assert found.runs == len(runs)
    for one in runs:
        said = one.predicted + found.overhead(one.predicted)
        assert said >= one.reserved + (one.context or 0)


def test_a_card_that_takes_a_fixed_part_and_a_share_is_met_exactly() -> None:
    sizes = [2 * GIB, 5 * GIB, 11 * GIB, 40 * GIB]
    found = calibrated([seen(n, n + 80 * MIB + round(0.03 * n)) for n in sizes])
    assert found.slack == pytest.approx(0.03, rel=1e-6)
    assert found.workspace == pytest.approx(80 * MIB, abs=16)
    assert found.context == 500 * MIB


def test_one_run_alone_is_met_exactly() -> None:
    found = calibrated([seen(10 * GIB, 11 * GIB)])
    assert found.overhead(10 * GIB) - found.context == pytest.approx(GIB, abs=4)


def test_the_largest_context_counts_and_an_unknown_one_is_stated() -> None:
    assert (
        calibrated([seen(GIB, GIB, 300), seen(GIB, GIB, 700), seen(GIB, GIB, None)]).context == 700
    )
    assert calibrated([seen(GIB, GIB, None)]).context == Calibration().context


def test_a_run_that_took_less_than_predicted_lowers_nothing_below_zero() -> None:
    found = calibrated([seen(10 * GIB, 9 * GIB)])
    assert found.slack == 0
    assert 0 <= found.workspace <= 1

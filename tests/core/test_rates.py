"""Learning rates, their guards, and the KTO balance, number by number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.rates import (
    KTO_BAND,
    KTO_FACTOR_CAP,
    kto_balance,
    learning_rate,
)

OTHERS = {"dpo": 5e-6, "ipo": 5e-6, "slic": 5e-6, "rrhf": 5e-6, "rdpo": 5e-6, "cpo": 1e-4}
LADDER: list[tuple[int, dict[MethodName, float]]] = [
    (1, {"sft": 5e-4, "orpo": 2e-5, "simpo": 1e-6, "kto": 1e-6, **OTHERS}),
    (999, {"sft": 5e-4, "orpo": 2e-5, "simpo": 1e-6, "kto": 1e-6}),
    (1_000, {"sft": 2e-4, "orpo": 1e-5, "simpo": 1e-6, "kto": 1e-6}),
    (9_999, {"sft": 2e-4, "orpo": 1e-5, "simpo": 1e-6, "kto": 1e-6}),
    (10_000, {"sft": 1e-4, "orpo": 5e-6, "simpo": 1e-6, "kto": 1e-6}),
    (5_000_000, {"sft": 1e-4, "orpo": 5e-6, "simpo": 1e-6, "kto": 1e-6, **OTHERS}),
]


@pytest.mark.parametrize(
    ("method", "rows", "expected"),
    [(method, rows, value) for rows, step in LADDER for method, value in step.items()],
)
def test_the_ladder(method: MethodName, rows: int, expected: float) -> None:
    chosen = learning_rate(method, None, rows, clamp=True)
    assert (chosen.value, chosen.asked, chosen.clamped) == (expected, None, False)


def test_an_automatic_rate_says_what_it_was_chosen_from() -> None:
    assert learning_rate("orpo", None, 640, clamp=True).reason == "auto: 2e-05, orpo, 640 rows"
    assert learning_rate("sft", None, 12_000, clamp=True).reason == "auto: 0.0001, sft, 12,000 rows"


def test_the_rate_of_another_objective_says_whose_it_is() -> None:
    told = learning_rate("dpo", None, 640, clamp=True).reason
    assert told == "auto: 5e-06, dpo (LoRA practice, TRL's notes), 640 rows"
    assert "cpo (its LoRA recipe)" in learning_rate("cpo", None, 640, clamp=True).reason


@pytest.mark.parametrize("method", METHODS)
def test_full_fine_tuning_with_another_objective_goes_gently(method: MethodName) -> None:
    full = learning_rate(method, None, 640, clamp=True, lora=False)
    adapter = learning_rate(method, None, 640, clamp=True)
    if METHODS[method].other:
        assert full.value == 5e-7 < adapter.value
        assert "full fine-tuning" in full.reason
    else:
        assert full == adapter


@given(st.sampled_from(list(METHODS)), st.integers(0), st.booleans())
def test_every_method_has_a_rate_for_every_number_of_rows(
    method: MethodName, rows: int, clamp: bool
) -> None:
    value = learning_rate(method, None, rows, clamp=clamp).value
    assert value in {rate for _, rate in METHODS[method].rates}


@pytest.mark.parametrize(
    ("method", "asked", "clamp", "used", "clamped"),
    [
        ("simpo", 9.9e-6, True, 9.9e-6, False),
        ("simpo", 1e-5, True, 1e-6, True),
        ("simpo", 2e-3, True, 1e-6, True),
        ("simpo", 1e-5, False, 1e-5, False),
        ("simpo", 3e-7, True, 3e-7, False),
        ("kto", 5e-6, True, 5e-6, False),
        ("kto", 5.0001e-6, True, 1e-6, True),
        ("kto", 5.0001e-6, False, 5.0001e-6, False),
        ("orpo", 1e-2, True, 1e-2, False),
        ("sft", 1e-2, True, 1e-2, False),
    ],
)
def test_the_guards(
    method: MethodName, asked: float, clamp: bool, used: float, clamped: bool
) -> None:
    chosen = learning_rate(method, asked, 640, clamp=clamp)
    assert (chosen.value, chosen.asked, chosen.clamped) == (used, asked, clamped)
    assert ("clamped from" in chosen.reason) == clamped


# methods.md section 5: rows good, rows bad, weights asked for -> weights used.
BALANCES = [
    ((50, 50), (1, 1), (1, 1)),
    ((60, 50), (1, 1), (1, 1)),
    ((100, 75), (1, 1), (1, 1)),  # 4/3 itself is inside the band
    ((48, 16), (1, 1), (1, 2.25)),
    ((90, 10), (1, 1), (1, 6.75)),
    ((10, 90), (1, 1), (9, 1)),
    ((8, 2), (1, 1), (1, 3)),
    ((2, 8), (1, 1), (4, 1)),
    ((1000, 1), (1, 1), (1, 10)),
    ((1, 1000), (1, 1), (10, 1)),
    ((90, 10), (1, 5), (1, 6.75)),
    ((100, 100), (2, 1), (2, 1.5)),
]
CAPPED = {(1000, 1): 100.0, (1, 1000): 0.01}


@pytest.mark.parametrize(("rows", "asked", "used"), BALANCES)
def test_the_balance(
    rows: tuple[int, int], asked: tuple[float, float], used: tuple[float, float]
) -> None:
    balance = kto_balance(*rows, *asked)
    assert (balance.desirable_weight, balance.undesirable_weight) == pytest.approx(used)
    assert balance.changed == (used != asked)
    assert balance.capped == (rows in CAPPED)
    if balance.capped:
        assert balance.ratio == pytest.approx(CAPPED[rows])
    else:
        assert KTO_BAND[0] - 1e-9 <= balance.ratio <= KTO_BAND[1] + 1e-9


ROWS, WEIGHTS = st.integers(1, 10**7), st.floats(1e-3, 1e3)


@given(ROWS, ROWS, WEIGHTS, WEIGHTS)
def test_one_weight_is_raised_at_most_tenfold_and_lands_in_the_band_or_says_so(
    good: int, bad: int, w_good: float, w_bad: float
) -> None:
    balance = kto_balance(good, bad, w_good, w_bad)
    factors = balance.desirable_weight / w_good, balance.undesirable_weight / w_bad
    assert all(1 - 1e-12 <= factor <= KTO_FACTOR_CAP + 1e-9 for factor in factors)
    assert sum(not math.isclose(factor, 1, rel_tol=1e-12) for factor in factors) <= 1
    reached = balance.desirable_weight * good / (balance.undesirable_weight * bad)
    assert balance.ratio == pytest.approx(reached)
    inside = KTO_BAND[0] - 1e-9 <= balance.ratio <= KTO_BAND[1] + 1e-9
    assert inside != balance.capped
    if balance.capped:
        assert max(factors) == pytest.approx(KTO_FACTOR_CAP)

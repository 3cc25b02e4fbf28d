"""The gate: what it lets pass, what not, and what it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.gate import judge_gate
from backprop_tui.core.scores import Figure


def figure(name: str, base: float, tuned: float, half: float, n: int = 500) -> Figure:
    """A measured metric; half: of the interval of the difference."""
    moved = tuned - base
    return Figure(name, tuned, tuned, tuned, n, base, base, base, moved, moved - half, moved + half)


@pytest.mark.parametrize(
    ("given", "max_regression", "passed", "words"),
    [
        (figure("loss", 0.50, 0.51, 0.004), 0, False, "worse by 0.01"),
        (figure("loss", 0.50, 0.49, 0.004), 0, True, "no worse"),
        (figure("loss", 0.50, 0.51, 0.02), 0, True, "holds 0"),
        (figure("exact_match", 0.60, 0.40, 0.06), 0.05, False, "worse by 20.0 points"),
        (figure("exact_match", 0.60, 0.58, 0.001), 0.02, True, "worse by 2.0 points"),
        (figure("exact_match", 0.60, 0.57, 0.01), 0.02, False, "worse by 3.0 points"),
        (figure("accuracy", 0.60, 0.57, 0.04), 0.01, True, "holds 0"),
        (figure("accuracy", 0.60, 0.90, 0.04), 0, True, "no worse"),
        (figure("accuracy", 0.60, 0.60, 0.0), 0, True, "no worse"),
        (replace(figure("loss", 0.5, 0.6, 0.2), low=None), 0, False, "worse by 0.1"),
        (replace(figure("loss", 0.5, 0.6, 0.2), low=float("nan")), 0, False, "worse by 0.1"),
    ],
)
def test_a_gate_fails_for_a_loss_that_is_too_large_and_not_chance(
    given: Figure, max_regression: float, passed: bool, words: str
) -> None:
    result = judge_gate([given], given.name, max_regression)
    assert result.passed is passed
    assert words in result.reason
    assert result.warning == ""


def test_a_better_loss_does_not_make_up_for_exact_match() -> None:
    figures = [figure("loss", 0.9, 0.4, 0.05), figure("exact_match", 0.5, 0.3, 0.04)]
    assert judge_gate(figures, "loss", 0).passed
    assert not judge_gate(figures, "exact_match", 0).passed


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ([], "it was not measured"),
        ([figure("accuracy", 0.5, 0.9, 0.1)], "it was not measured"),
        ([Figure("loss", 0.5, 0.4, 0.6, 200)], "no base"),
        ([figure("loss", float("nan"), 0.4, 0.1)], "not a finite number"),
        ([figure("loss", 0.5, float("inf"), 0.1)], "not a finite number"),
        ([figure("loss", 0.5, 0.4, 0.1, n=0)], "not a finite number"),
    ],
)
def test_what_cannot_be_computed_does_not_pass(figures: list[Figure], why: str) -> None:
    result = judge_gate(figures, "loss", 1.0)
    assert (result.passed, result.regression) == (False, None)
    assert why in result.reason


def test_few_examples_are_warned_of() -> None:
    assert "99 examples" in judge_gate([figure("loss", 1, 1, 0, n=99)], "loss", 0).warning
    assert judge_gate([figure("loss", 1, 1, 0, n=100)], "loss", 0).warning == ""


@pytest.mark.parametrize(
    ("metric", "bound"),
    [
        ("length", 0.0),
        ("bleu", 0.0),
        ("loss", -0.1),
        ("loss", float("nan")),
        ("loss", float("inf")),
    ],
)
def test_a_gate_nobody_can_have_is_refused(metric: str, bound: float) -> None:
    with pytest.raises(InputError) as refused:
        judge_gate([figure("loss", 1, 1, 0)], metric, bound)
    assert refused.value.code == "EVAL_GATE_INVALID"


def test_a_mistyped_metric_is_told_what_was_meant() -> None:
    with pytest.raises(InputError) as refused:
        judge_gate([], "acuracy", 0.0)
    assert (refused.value.hint or "").startswith("did you mean accuracy? allowed: accuracy,")

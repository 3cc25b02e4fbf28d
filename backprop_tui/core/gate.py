"""Whether a tuned model may pass: nothing that matters got worse than is allowed. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from backprop_tui.core.errors import InputError
from backprop_tui.core.metrics import METRICS, Metric
from backprop_tui.core.scores import Figure
from backprop_tui.core.text import plural

ROUNDING = 1e-9  # of 0.52 - 0.50, which is not 0.02
ENOUGH = 100  # examples under which an interval of a share is about ten points either way


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate. regression: how much worse, in the metric's own unit; below 0 is better; None
    where it cannot be computed, which never passes. warning: "" or what to keep in mind."""

    metric: str
    passed: bool
    regression: float | None
    reason: str
    warning: str = ""


def judge_gate(figures: Sequence[Figure], metric: str, max_regression: float) -> GateResult:
    """Judge one metric.

    It fails where the tuned model is worse by more than `max_regression` and the interval of the
    difference excludes that nothing changed; and where base, tuned or the metric is missing or no
    number. max_regression: 0 or more, in the metric's unit (0.02 of a share is two points).
    Raises InputError EVAL_GATE_INVALID for a metric or bound that no gate can have.
    """
    check_gate(metric, max_regression)
    what = METRICS[metric]
    figure = next((one for one in figures if one.name == metric), None)
    if figure is None:
        return _not_computed(metric, "it was not measured")
    if figure.base is None or figure.difference is None:
        return _not_computed(metric, "there is no base to compare with")
    if figure.n < 1 or not all(map(math.isfinite, (figure.base, figure.tuned, figure.difference))):
        return _not_computed(metric, "a figure is not a finite number")
    worse = -figure.difference if what.better == "higher" else figure.difference
    moved = f"{metric} {shown(what, figure.base)} → {shown(what, figure.tuned)}"
    warning = ""
    if figure.n < ENOUGH:
        warning = (
            f"{metric}: {plural(figure.n, 'example')}, under {ENOUGH}: only a large loss shows"
        )
    allowed = f"{moved_by(what, max_regression)} allowed"
    if worse <= max_regression + ROUNDING:
        how = "no worse" if worse <= 0 else f"worse by {moved_by(what, worse)}"
        return GateResult(metric, True, worse, f"{moved}: {how}, {allowed}", warning)
    moved = f"{moved}: worse by {moved_by(what, worse)}, {allowed}"
    if figure.low is not None and figure.high is not None:
        low = moved_by(what, figure.low).removesuffix(" points")
        ends = f"{low} to {moved_by(what, figure.high)}"
        between = f"95 % interval of the difference {ends}"
        if figure.low <= 0 <= figure.high:  # not so where one is no number
            return GateResult(metric, True, worse, f"{moved}; but the {between} holds 0", warning)
        moved = f"{moved} ({between})"
    return GateResult(metric, False, worse, moved, warning)


def check_gate(metric: str, max_regression: float) -> None:
    """Refuse what no gate can have, before anything is computed. InputError EVAL_GATE_INVALID."""
    allowed = [name for name, one in METRICS.items() if one.better != "neither"]
    if metric not in allowed:
        near = difflib.get_close_matches(metric, allowed, 1)
        raise InputError(
            f"--gate: {metric!r} is no metric that can get worse",
            hint=f"{f'did you mean {near[0]}? ' if near else ''}allowed: {', '.join(allowed)}",
            code="EVAL_GATE_INVALID",
        )
    if not (math.isfinite(max_regression) and max_regression >= 0):
        raise InputError(
            f"--max-regression: {max_regression:g} is not allowed for {metric}",
            hint="a finite number from 0 on, in the metric's own unit: 0.02 is two points of a "
            "share",
            code="EVAL_GATE_INVALID",
        )


def shown(metric: Metric, value: float) -> str:
    """A value in the metric's unit."""
    return f"{100 * value:.1f} %" if metric.unit == "share" else f"{value:.4g}"


def moved_by(metric: Metric, difference: float) -> str:
    """A difference in the metric's unit; of shares in points."""
    if metric.unit == "share":
        return f"{100 * difference:.1f} points"
    return f"{difference:.4g}"


def _not_computed(metric: str, why: str) -> GateResult:
    return GateResult(metric, False, None, f"{metric} cannot be computed: {why}")

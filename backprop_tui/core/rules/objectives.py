"""Rules about the other objectives: rates and numbers far from what anybody has published."""

from __future__ import annotations

from typing import NamedTuple

from backprop_tui.core.methods import (
    DPO_PAPER,
    IPO_PAPER,
    LORA_RATE,
    METHODS,
    SIMPO_GRID,
)
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.rules.method import RATE_CEILING
from backprop_tui.core.text import rate

FAR = 10.0  # times a method's own rate
WIDEST_GAP = 5.0  # nats per token: at ipo's tau 0.1


class Searched(NamedTuple):
    """The values of a knob that were published, and what lies below and above them."""

    low: float
    high: float
    below: str
    above: str
    source: str


NO_HOLD = "hardly anything keeps the chosen answer likely, and there is no reference model to do it"
IMITATES = "it is little but imitation of the chosen answer, which sft does for less"
LOOSE = "the model may go far from the base before the loss says a word"
TIGHT = "the model is held so close to the base that it hardly learns the preference"
SEARCHED: dict[tuple[str, str], Searched] = {
    ("dpo", "beta"): Searched(0.01, 0.5, LOOSE, TIGHT, f"{DPO_PAPER}; {SIMPO_GRID}"),
    ("rdpo", "beta"): Searched(0.01, 0.5, LOOSE, TIGHT, f"{DPO_PAPER}; {SIMPO_GRID}"),
    ("rdpo", "alpha"): Searched(
        0.01,
        1.0,
        "length is hardly regularised, and this is dpo",
        "the difference in length outweighs what the answers say",
        SIMPO_GRID,
    ),
    ("ipo", "tau"): Searched(
        0.0,
        1.0,
        "",
        "the gap aimed at is so narrow that the model stays the base",
        f"{IPO_PAPER}; {SIMPO_GRID}",
    ),
    ("cpo", "beta"): Searched(
        0.01,
        0.5,
        "the preference term is nearly flat, and imitation alone is left",
        "summed log-probabilities are large, so every pair is soon far right or far wrong",
        SIMPO_GRID,
    ),
    ("cpo", "imitation_weight"): Searched(0.1, 10.0, NO_HOLD, IMITATES, SIMPO_GRID),
    ("slic", "delta"): Searched(
        0.1,
        10.0,
        "a pair is done as soon as the chosen answer leads at all",
        "pairs long learned go on pulling",
        SIMPO_GRID,
    ),
    ("slic", "imitation_weight"): Searched(0.1, 10.0, NO_HOLD, IMITATES, SIMPO_GRID),
    ("rrhf", "imitation_weight"): Searched(0.1, 10.0, NO_HOLD, IMITATES, SIMPO_GRID),
}


def objective_rate_high(case: Case) -> Advice | None:
    """Over ten times the rate of an objective; `learning-rate-high` has what is beyond them all."""
    run, method = case.run, METHODS[case.run.method]
    asked = case.plan.rate.asked
    if not method.other or asked is None or asked > RATE_CEILING:
        return None
    usual = (
        method.rates[-1][1] if run.lora is not None or not method.full_rate else method.full_rate
    )
    if asked <= FAR * usual * (1 + 1e-9):
        return None
    how = method.rates_source if run.lora is not None else "as published, full fine-tuning"
    lost = (
        "summed log-probabilities move fast, and both answers may become unlikely"
        if usual <= LORA_RATE
        else "the model may forget how to write before it learns what is preferred"
    )
    return Advice(
        code="objective-rate-high",
        level="warning",
        field="training.learning_rate",
        message=(
            f"{rate(asked)} is {asked / usual:,.0f} times the rate {method.name} is trained with "
            f"({rate(usual)}: {how}): {lost}."
        ),
        fix=Fix(f"use {rate(usual)}", (("training.learning_rate", usual),)),
        source=f"{method.source}; {method.rates_source}" if run.lora is not None else method.source,
    )


def ipo_gap(case: Case) -> Advice | None:
    """A small tau asks for a gap that no answer can reach, so the pull never ends."""
    ipo = getattr(case.run, "ipo", None)
    if case.run.method != "ipo" or ipo is None or 1 / (2 * ipo.tau) <= WIDEST_GAP * (1 + 1e-9):
        return None
    return Advice(
        code="ipo-gap-wide",
        level="warning",
        field="ipo.tau",
        message=(
            f"tau {rate(ipo.tau)} asks for a gap of 1 / (2 tau) = {1 / (2 * ipo.tau):.3g} in "
            "log-probability per token, against the base. Few pairs ever get so far apart, so "
            "learned ones go on pulling, which is what ipo is there to prevent."
        ),
        fix=Fix("use tau 0.1, a gap of 5", (("ipo.tau", 0.1),)),
        source=IPO_PAPER,
    )


def knob_far_off(case: Case) -> Advice | None:
    """A number of another objective outside the published values, and what becomes of it."""
    method = METHODS[case.run.method]
    for knob in method.knobs if method.other else ():
        known = SEARCHED.get((method.name, knob.name))
        value = case.run.knobs[knob.name]
        if known is None or known.low <= value <= known.high:
            continue
        key = f"{method.name}.{knob.name}"
        least = f"{rate(known.low)} to " if known.low else "up to "
        return Advice(
            code="knob-unpublished",
            level="warning",
            field=key,
            message=(
                f"{key} = {rate(value)} lies outside {least}{rate(known.high)}, where it was "
                f"tried: {known.below if value < known.low else known.above}."
            ),
            fix=Fix(f"use {rate(knob.default)}", ((key, knob.default),)),
            source=known.source,
        )
    return None


OBJECTIVE_RULES: tuple[Rule, ...] = (objective_rate_high, ipo_gap, knob_far_off)

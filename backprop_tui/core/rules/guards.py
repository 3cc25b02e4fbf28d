"""Rules about the [guards] table and training.keep_best: what they ask for must be there."""

from __future__ import annotations

from typing import Any

from backprop_tui.core.card_guard import COOLER
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule


def never_goes_on(case: Case) -> Advice | None:
    """A pause that would end at once, or begin again at once."""
    guards = case.run.guards
    most, cool = guards.max_temperature, guards.resume_temperature
    if most is None or cool is None or cool < most:
        return None
    return Advice(
        code="CONFIG_INVALID_SETTING",
        level="problem",
        field="guards.resume_temperature",
        message=(
            f"guards.resume_temperature = {cool}: training would go on while the card is still as "
            f"hot as at the pause. Allowed: under guards.max_temperature = {most}."
        ),
        fix=Fix(f"go on at {most - COOLER} °C", (("guards.resume_temperature", None),)),
    )


def resume_without_max(case: Case) -> Advice | None:
    """Nothing pauses, so nothing goes on."""
    guards = case.run.guards
    if guards.resume_temperature is None or guards.max_temperature is not None:
        return None
    return Advice(
        code="guards-no-pause",
        level="note",
        field="guards.resume_temperature",
        message=(
            f"guards.resume_temperature = {guards.resume_temperature} does nothing without "
            "guards.max_temperature: the run is never paused."
        ),
        fix=Fix("leave it out", (("guards.resume_temperature", None),)),
    )


def nothing_measured(case: Case) -> Advice | None:
    """Guards that look at held-out rows where there are none."""
    run, data = case.run, case.facts.data
    if run.data.heldout > 0 and (data is None or not data.kept or case.rows.heldout):
        return None
    asked: dict[str, Any] = {
        "guards.patience": run.guards.patience,
        "training.keep_best": run.training.keep_best,
        "guards.stop_on_inflation": run.guards.stop_on_inflation,
    }
    keys = [key for key, value in asked.items() if value]
    if not keys:
        return None
    names = f"{', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else keys[0]
    verb = "looks" if len(keys) == 1 else "look"
    return Advice(
        code="guards-nothing-measured",
        level="problem",
        field=keys[0],
        message=(
            f"{names} {verb} at held-out rows, and none are held out: nothing would be measured. "
            "Set data.heldout above 0, with at least two prompts to split."
        ),
        fix=Fix("hold out 10 %", (("data.heldout", 0.1),)) if run.data.heldout == 0 else None,
    )


def sft_has_no_pairs(case: Case) -> Advice | None:
    """Accuracy and margin compare a good answer with a bad one; sft has only good ones."""
    guards = case.run.guards
    if case.run.method != "sft":
        return None
    if guards.watch in ("accuracy", "margin"):
        return Advice(
            code="guards-sft-has-no-pairs",
            level="warning",
            field="guards.watch",
            message=(
                f'guards.watch = "{guards.watch}": sft has no such figure, for it has no rejected '
                "answers. The held-out loss is watched instead."
            ),
            fix=Fix("watch the loss", (("guards.watch", "loss"),)),
        )
    if guards.stop_on_inflation:
        return Advice(
            code="guards-sft-has-no-pairs",
            level="warning",
            field="guards.stop_on_inflation",
            message=(
                "guards.stop_on_inflation never stops sft, which has no margin. guards.patience "
                "stops a run whose held-out loss gets no better."
            ),
            fix=Fix("leave it out", (("guards.stop_on_inflation", False),)),
        )
    return None


def no_card_to_cool(case: Case) -> Advice | None:
    """A CPU run: the temperature is the card's."""
    most = case.run.guards.max_temperature
    known = case.facts.gpu is not None or case.run.machine.device != "auto"
    if most is None or case.plan.device != "cpu" or not known:
        return None
    return Advice(
        code="guards-no-card",
        level="note",
        field="guards.max_temperature",
        message=(
            f"guards.max_temperature = {most} is of the card, and this run trains on the CPU: "
            "nothing is paused."
        ),
        fix=Fix("leave it out", (("guards.max_temperature", None),)),
    )


GUARD_RULES: tuple[Rule, ...] = (
    never_goes_on,
    resume_without_max,
    nothing_measured,
    sft_has_no_pairs,
    no_card_to_cool,
)

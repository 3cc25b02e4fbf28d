"""Rules about the method's own numbers: knobs, learning rate, batch, adapter."""

from __future__ import annotations

import math

from backprop_tui.core.methods import HALOS, KTO_PAPER, METHODS, SIMPO_PAPER, SIMPO_README
from backprop_tui.core.rates import CLAMPED_RATE, is_over_limit
from backprop_tui.core.recommend import recommend
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.text import plural, rate

GAMMA_RATIO_LIMIT = 1.0
COPIED_RATIO = 5.0  # several tools ship this gamma/beta as their default
# About ten times the ladder's rate, and still below each method's clamp.
LORA_RATES: dict[str, float] = {"simpo": 9e-6, "kto": 5e-6}
LORA_RATE_SOURCE = "Schulman et al., LoRA Without Regret (Thinking Machines, 2025)"
HIGHEST_PUBLISHED = max(value for method in METHODS.values() for _, value in method.rates)
RATE_CEILING = 20 * HIGHEST_PUBLISHED  # tiny models bear more than the ladder's
FEW_STEPS, ENOUGH_STEPS = 10, 50

LORA_WANTS = (
    "Those figures come from full fine-tuning; LoRA commonly wants about ten times the rate."
)


def simpo_gamma_ratio(case: Case) -> Advice | None:
    """gamma/beta strictly above 1: the margin outweighs the reward scale."""
    simpo = case.run.simpo
    if simpo is None or simpo.gamma / simpo.beta <= GAMMA_RATIO_LIMIT:
        return None
    ratio = simpo.gamma / simpo.beta
    copied = (
        f" A ratio of {COPIED_RATIO:g} is a default several tools ship; it is not from the paper."
        if abs(ratio - COPIED_RATIO) < 1e-9
        else ""
    )
    return Advice(
        code="simpo-gamma-ratio",
        level="warning",
        field="simpo.gamma",
        message=(
            f"gamma/beta is {ratio:.2f}, above 1.0: the margin outweighs the reward scale and "
            f"output turns repetitive. Published ratios are 0.1 to 0.8.{copied}"
        ),
        fix=Fix(f"use gamma {rate(simpo.beta / 2)}", (("simpo.gamma", simpo.beta / 2),)),
        source=f"{SIMPO_PAPER}; {SIMPO_README}",
    )


def simpo_lr_clamped(case: Case) -> Advice | None:
    """SimPO at 1e-5 and above gives incoherent or repetitive output."""
    if not _over_limit(case, "simpo"):
        return None
    why = "SimPO at 1e-5 and above gives incoherent or repetitive output"
    if case.run.training.lr_clamp:
        return _lowered(case, code="simpo-lr-clamped", why=why, source=SIMPO_README)
    return _kept(case, code="simpo-lr-kept", why=why, source=SIMPO_README)


def kto_lr_clamped(case: Case) -> Advice | None:
    """KTO above 5e-6 leaves the published range."""
    if not _over_limit(case, "kto"):
        return None
    why, source = "KTO's authors train between 5e-7 and 5e-6 at beta 0.1", f"{KTO_PAPER}; {HALOS}"
    if case.run.training.lr_clamp:
        return _lowered(case, code="kto-lr-clamped", why=why, source=source)
    return _kept(case, code="kto-lr-kept", why=why, source=source)


def _over_limit(case: Case, method: str) -> bool:
    asked = case.run.training.learning_rate
    return case.run.method == method and asked is not None and is_over_limit(method, asked)


def _lowered(case: Case, *, code: str, why: str, source: str) -> Advice:
    asked, used = rate(case.run.training.learning_rate), rate(CLAMPED_RATE)
    return Advice(
        code=code,
        level="warning",
        field="training.learning_rate",
        message=f"{why}: {asked} is lowered to {used}. {LORA_WANTS} "
        "training.lr_clamp = false keeps your value.",
        fix=Fix(f"set {used}", (("training.learning_rate", CLAMPED_RATE),)),
        source=source,
    )


def _kept(case: Case, *, code: str, why: str, source: str) -> Advice:
    """On purpose, so no other rate is offered in its place."""
    asked = rate(case.run.training.learning_rate)
    return Advice(
        code=code,
        level="warning",
        field="training.learning_rate",
        message=f"{why}; {asked} is kept because training.lr_clamp is false. {LORA_WANTS}",
        source=source,
    )


def reference_full_fine_tuning(case: Case) -> Advice | None:
    """The frozen base is the reference of some methods; full fine-tuning would change it."""
    method = METHODS[case.run.method]
    if not method.reference or case.run.lora is not None:
        return None
    return Advice(
        code="CONFIG_INVALID_SETTING",
        level="problem",
        field="lora",
        message=(
            f"{method.name} without [lora]: the frozen base must be there to be the reference, and "
            "full fine-tuning changes it. Allowed: a [lora] table."
        ),
        fix=Fix("train an adapter", (("lora.rank", 16),)),
        source=method.source,
    )


def engine_without_trainer(case: Case) -> Advice | None:
    """TRL has no trainer for this objective."""
    method = METHODS[case.run.method]
    if case.run.engine != "trl" or method.trl:
        return None
    fitting = ", ".join(name for name, other in METHODS.items() if other.trl)
    return Advice(
        code="engine-no-trainer",
        level="problem",
        field="engine",
        message=f'engine = "trl": TRL has no trainer for {method.name}. It has: {fitting}.',
        fix=Fix("use our own trainer", (("engine", "lean"),)),
    )


def lora_rate_low(case: Case) -> Advice | None:
    """simpo and kto rates are published for full fine-tuning; an adapter hardly moves at them."""
    run, plan = case.run, case.plan
    if run.method not in LORA_RATES or run.lora is None or plan.rate.clamped:
        return None
    tenfold = LORA_RATES[run.method]
    if plan.learning_rate >= tenfold / 2:
        return None
    steps = f" in {plural(plan.steps, 'step')}" if plan.steps else ""
    return Advice(
        code="lora-rate-low",
        level="note",
        field="training.learning_rate",
        message=(
            f"{rate(plan.learning_rate)} is a rate for full fine-tuning. An adapter commonly wants "
            f"about ten times as much, and may hardly move{steps}."
        ),
        fix=Fix(f"use {rate(tenfold)}", (("training.learning_rate", tenfold),)),
        source=LORA_RATE_SOURCE,
    )


def rate_high(case: Case) -> Advice | None:
    """A rate no published recipe comes near."""
    if case.plan.learning_rate <= RATE_CEILING:
        return None
    return Advice(
        code="learning-rate-high",
        level="warning",
        field="training.learning_rate",
        message=(
            f"A learning rate of {rate(case.plan.learning_rate)} is far above every published one "
            f"(at most {rate(HIGHEST_PUBLISHED)} here): the model will most likely be destroyed."
        ),
        fix=Fix("choose it for me", (("training.learning_rate", None),)),
        source="the rates of this table's methods, docs/methods.md",
    )


def few_steps(case: Case) -> Advice | None:
    """One pass over a small file is over before anything is learned."""
    run, steps = case.run, case.plan.steps
    if run.training.max_steps is not None or not 0 < steps < FEW_STEPS:
        return None
    epochs = float(math.ceil(run.training.epochs * ENOUGH_STEPS / steps))
    if recommend(case.facts).wait:  # more passes over too little would only memorise it
        return None
    return Advice(
        code="few-steps",
        level="warning",
        field="training.epochs",
        message=(
            f"{plural(steps, 'step')} in all: too few to learn anything. Train more passes over "
            "the data, or lower training.accumulation."
        ),
        fix=Fix(f"{epochs:g} passes", (("training.epochs", epochs),)),
    )


METHOD_RULES: tuple[Rule, ...] = (
    simpo_gamma_ratio,
    simpo_lr_clamped,
    kto_lr_clamped,
    reference_full_fine_tuning,
    engine_without_trainer,
    rate_high,
    lora_rate_low,
    few_steps,
)

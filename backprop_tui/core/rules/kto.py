"""Rules about kto: its labels, their weights and its batches."""

from __future__ import annotations

import math

from backprop_tui.core.effective import smallest_batch
from backprop_tui.core.methods import HALOS, KTO_PAPER
from backprop_tui.core.rates import KTO_BAND
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.text import count

KTO_EFFECTIVE_BATCH = (16, 128)  # HALOs


def kto_batch_raised(case: Case) -> Advice | None:
    """TRL takes the KL term's second example from the batch."""
    smallest = smallest_batch(case.run)
    if case.run.training.batch_size >= smallest:
        return None
    return Advice(
        code="kto-batch-raised",
        level="warning",
        field="training.batch_size",
        message=(
            f"batch_size {case.run.training.batch_size} is raised to {smallest}: TRL's KL term "
            "compares each answer with another one's of the batch."
        ),
        fix=Fix(f"set {smallest}", (("training.batch_size", smallest),)),
        source=KTO_PAPER,
    )


def kto_effective_batch(case: Case) -> Advice | None:
    """KTO's published effective batches are 16 to 128."""
    low, high = KTO_EFFECTIVE_BATCH
    size = case.plan.batch_size * case.plan.accumulation
    if case.run.method != "kto" or low <= size <= high:
        return None
    batch = case.plan.batch_size
    if batch > high:
        fix = Fix(f"batch {high}", (("training.batch_size", high), ("training.accumulation", 1)))
    else:
        accumulation = math.ceil(low / batch) if size < low else high // batch
        fix = Fix(f"accumulate {accumulation}", (("training.accumulation", accumulation),))
    return Advice(
        code="kto-effective-batch",
        level="warning",
        field="training.accumulation",
        message=f"Effective batch {size}: KTO's authors use {low} to {high}.",
        fix=fix,
        source=HALOS,
    )


def kto_one_label(case: Case) -> Advice | None:
    """With one label missing altogether the loss is constant: refuse."""
    data, rows = case.facts.data, case.rows
    if case.run.method != "kto" or data is None or data.shape != "unpaired" or not data.kept:
        return None
    if rows.desirable and rows.undesirable:
        return None
    present = "good" if rows.desirable else "bad"
    return Advice(
        code="kto-one-label",
        level="problem",
        field="data.path",
        message=(
            f"All {count(rows.train)} training rows of {data.name} are marked {present}. KTO needs "
            "both marks; with one alone its loss has no direction. Allowed: true and false labels."
        ),
        source=KTO_PAPER,
    )


def kto_rebalanced(case: Case) -> Advice | None:
    """Say which weight was raised, or that even the tenfold cap leaves the band."""
    balance = case.plan.balance
    kto = case.run.kto
    if balance is None or kto is None or not balance.changed:
        return None
    low, high = KTO_BAND
    overridden = (
        " Your own weights were overridden."
        if (kto.desirable_weight, kto.undesirable_weight) != (1.0, 1.0)
        else ""
    )
    capped = (
        f" Raised tenfold, the most allowed, the ratio is still {balance.ratio:.2f}."
        if balance.capped
        else ""
    )
    raised = (
        "desirable_weight"
        if balance.desirable_weight != kto.desirable_weight
        else "undesirable_weight"
    )
    return Advice(
        code="kto-rebalanced",
        level="warning",
        field=f"kto.{raised}",
        message=(
            f"{count(case.rows.desirable)} good and {count(case.rows.undesirable)} bad training "
            f"rows: weights become {balance.desirable_weight:.3g} good, "
            f"{balance.undesirable_weight:.3g} bad, to bring weighted good : bad between "
            f"{low:g} and {high:.2f}.{overridden}{capped}"
        ),
        fix=Fix("leave the weights alone", (("kto.rebalance", False),)),
        source=KTO_PAPER,
    )


KTO_RULES: tuple[Rule, ...] = (
    kto_one_label,
    kto_rebalanced,
    kto_batch_raised,
    kto_effective_batch,
)

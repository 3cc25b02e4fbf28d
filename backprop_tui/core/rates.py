"""Learning rates, their guards, and the KTO balance: the numbers a run really uses."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.text import count, rate

SIMPO_RATE_LIMIT = 1e-5  # at or above: clamped
KTO_RATE_LIMIT = 5e-6  # strictly above: clamped
CLAMPED_RATE = 1e-6

KTO_BAND = (1.0, 4 / 3)
KTO_FACTOR_CAP = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """The learning rate a run uses, the one that was asked for, and how it came about."""

    value: float
    asked: float | None
    clamped: bool
    reason: str


def is_over_limit(method: MethodName, asked: float) -> bool:
    """Whether the published experience says this rate breaks the model."""
    if method == "simpo":
        return asked >= SIMPO_RATE_LIMIT
    return method == "kto" and asked > KTO_RATE_LIMIT


def learning_rate(
    method: MethodName, asked: float | None, rows: int, *, clamp: bool, lora: bool = True
) -> Rate:
    """The rate to train with. rows: rows kept for training. lora: an adapter is trained."""
    if asked is None:
        entry = METHODS[method]
        if not lora and entry.full_rate is not None:
            value, source = entry.full_rate, "full fine-tuning"
        else:
            value = next(value for bound, value in entry.rates if rows < bound)
            source = entry.rates_source
        told = f"{method} ({source})" if source else method
        return Rate(value, None, False, f"auto: {rate(value)}, {told}, {count(rows)} rows")
    if is_over_limit(method, asked) and clamp:
        return Rate(CLAMPED_RATE, asked, True, f"clamped from {rate(asked)} ({method})")
    return Rate(asked, asked, False, "given")


@dataclass(frozen=True, slots=True)
class Balance:
    """KTO weights after balancing. ratio: (w_D n_D) / (w_U n_U) reached with them."""

    desirable_weight: float
    undesirable_weight: float
    ratio: float
    changed: bool
    capped: bool


def kto_balance(
    desirable: int, undesirable: int, desirable_weight: float, undesirable_weight: float
) -> Balance:
    """Bring w_D n_D : w_U n_U into [1, 4/3] by raising one weight, at most tenfold.

    Source: KTO paper, arXiv:2402.01306, section 4.2. Both counts must be above zero.
    """
    low, high = KTO_BAND
    ratio = (desirable_weight * desirable) / (undesirable_weight * undesirable)
    up_desirable = up_undesirable = 1.0
    if ratio < low:
        up_desirable = min(1 / ratio, KTO_FACTOR_CAP)
    elif ratio > high:
        up_undesirable = min(ratio / high, KTO_FACTOR_CAP)
    reached = ratio * up_desirable / up_undesirable
    # The factor lands exactly on the edge of the band; rounding must not count as outside it.
    inside = low - 1e-9 <= reached <= high + 1e-9
    return Balance(
        desirable_weight=desirable_weight * up_desirable,
        undesirable_weight=undesirable_weight * up_undesirable,
        ratio=reached,
        changed=up_desirable != 1.0 or up_undesirable != 1.0,
        capped=not inside,
    )

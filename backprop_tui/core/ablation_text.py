"""The figures of an ablation as text: the same words on screen and in lines. Pure."""

from __future__ import annotations

import math

from backprop_tui.core.decision import clean
from backprop_tui.core.text import rate

MEASURES = (
    "right: held-out pairs whose chosen answer is the likelier per token. margin: that "
    "log-probability per token, chosen minus rejected, mean over the pairs (nats). clean: mean / "
    "standard deviation of the margin over the pairs. train: the same margin over the last ten "
    "training steps."
)


def right_words(right: float | None, n: int | None) -> str:
    """79/80, or "" where nothing was scored."""
    return "" if right is None or n is None else f"{right:g}/{n}"


def margin_words(margin: float | None) -> str:
    """+1.52"""
    return "" if margin is None or not math.isfinite(margin) else f"{margin:+.2f}"


def clean_words(value: float | None) -> str:
    """1.52"""
    return "" if value is None else clean(value)


def rate_words(value: float | None) -> str:
    """2e-05"""
    return "" if value is None else rate(value)

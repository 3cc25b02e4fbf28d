"""How quick training is, in words: tokens/s, pairs/s, share of the card's peak. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from backprop_tui.core.events import Step
from backprop_tui.core.methods import METHODS
from backprop_tui.core.reading import figure
from backprop_tui.core.text import count, percent

# The natural data shape of a method -> what one of its rows is called.
ROWS = {"paired": "pairs", "unpaired": "answers", "sft": "rows"}


def pace(
    tokens_per_second: float | None,
    rows_per_second: float | None,
    mfu: float | None,
    method: str,
) -> list[str]:
    """What is known of "3,933 tokens/s", "13.3 pairs/s" and "41 % of peak", in that order."""
    parts = []
    if tokens_per_second and math.isfinite(tokens_per_second):
        parts.append(f"{count(round(tokens_per_second))} tokens/s")
    if rows_per_second and math.isfinite(rows_per_second):
        word = ROWS.get(METHODS[method].shapes[0], "rows") if method in METHODS else "rows"
        parts.append(f"{_few_digits(rows_per_second)} {word}/s")
    if mfu:
        parts.append(f"{percent(mfu)} of peak")
    return parts


def average(steps: Sequence[Step], method: str) -> list[str]:
    """The pace from the first step to the last, what was not training included."""
    if len(steps) < 2 or steps[-1].t <= steps[0].t:
        return []
    last, seconds = steps[-1], steps[-1].t - steps[0].t
    tokens = (last.tokens - steps[0].tokens) / seconds
    rows = (last.rows - steps[0].rows) / seconds
    # Every token is the same work, so the share of the peak goes with the tokens.
    share = last.mfu / last.tokens_per_second if last.mfu and last.tokens_per_second else 0.0
    return pace(tokens, rows, share * tokens, method)


def _few_digits(value: float) -> str:
    """412, 13.3, 1.31, 0.042."""
    if value >= 100:
        return count(round(value))
    return f"{value:.1f}" if value >= 10 else figure(value)

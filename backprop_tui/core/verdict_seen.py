"""A run as the rules of a verdict look at it: held-out figures, their interval, lengths. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from backprop_tui.core.events import Evaluated
from backprop_tui.core.history import History
from backprop_tui.core.interval import Interval, trials, wilson
from backprop_tui.core.symptoms import Ends, margins
from backprop_tui.core.text import percent, plural

Kind = Literal[
    "learned",
    "margin-inflation",
    "brevity",
    "verbosity",
    "chosen-collapsing",
    "diverged",
    "too-short",
    "memorising",  # sft
    "not-learned",
    "unproven",
]
# Losses that divide by the length of an answer: the others compare sums.
PER_TOKEN = ("orpo", "simpo", "rrhf", "ipo")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was looked at, in words, and its figures as they were measured."""

    name: str
    text: str
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Try:
    """Something to try next, and where the advice comes from."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as the rules look at it.

    start: the first held-out measurement of the base, None where there is none. now: the newest.
    interval: 95 % of its accuracy. tests: of how many trials that accuracy is worth.
    """

    history: History
    method: str
    margin: Ends
    start: Evaluated | None
    now: Evaluated | None
    measured: int
    interval: Interval | None
    tests: int


def seen(history: History) -> Seen:
    """What the rules need of a run."""
    method = history.started.method if history.started else ""
    held = [e for e in history.evaluations if method == "sft" or e.margin is not None]
    now = held[-1] if held else None
    tests = trials(method, now.rows) if now and now.rows > 0 else 0
    share = now.accuracy if now and now.accuracy is not None and tests else math.nan
    return Seen(
        history=history,
        method=method,
        margin=margins(history),
        start=held[0] if held else None,
        now=now,
        measured=len({e.step for e in held}),
        interval=wilson(share, tests) if 0 <= share <= 1 else None,
        tests=tests,
    )


def base_accuracy(run: Seen) -> float:
    """What the accuracy is held against: before the first step, and never less than one half."""
    start = run.start
    if start is None or start.step > 0 or start.accuracy is None:
        return 0.5
    return max(0.5, start.accuracy)


def clear(run: Seen) -> bool:
    """Whether the whole interval of the held-out accuracy lies above where it began."""
    return run.interval is not None and run.interval[0] > base_accuracy(run)


def interval_words(run: Seen) -> str:
    """(95 % interval: 77 % to 93 %, 63 rows); "" where there is no interval."""
    if run.interval is None or run.now is None:
        return ""
    low, high = map(percent, run.interval)
    return f" (95 % interval: {low} to {high}, {plural(run.now.rows, 'row')})"


def mean_lengths(at: Evaluated | None) -> tuple[float, float] | None:
    """Mean tokens of a chosen and of a rejected answer, from sums by means; None where unknown.

    A ratio of means: answers that the model finds harder weigh more. It is within a few percent
    of the mean length where the log-probability per token does not go with length.
    """
    if at is None:
        return None
    found = []
    for total, mean in (
        (at.logp_chosen_sum, at.logp_chosen),
        (at.logp_rejected_sum, at.logp_rejected),
    ):
        if total is None or mean is None or not (total < 0 and mean < 0):
            return None
        found.append(total / mean)
    return found[0], found[1]


def length_share(run: Seen) -> float | None:
    """How much of the gain of the summed held-out margin would be gone if both answers had the
    length of the shorter one; None where it did not gain, or the log does not tell.

    1 - n (change of chosen - change of rejected, per token) / (the same of the sums), n the
    shorter mean length: 0 for sides equally long, 1 when every token changed alike.
    """
    start, now = run.start, run.now
    lengths = mean_lengths(start)
    if start is None or now is None or lengths is None:
        return None
    gains = []
    for name in ("logp_chosen_sum", "logp_rejected_sum", "logp_chosen", "logp_rejected"):
        before, after = getattr(start, name), getattr(now, name)
        if before is None or after is None:
            return None
        gains.append(after - before)
    summed, each = gains[0] - gains[1], gains[2] - gains[3]
    return 1 - min(lengths) * each / summed if summed > 0 else None

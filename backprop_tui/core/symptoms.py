"""What is wrong with a run, told once: the monitor's sentence, the guards and `review` ask here.

Looks at the ends of the run only, so that reading a long one costs no more than a short one. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backprop_tui.core.events import Evaluated, Step
from backprop_tui.core.history import History
from backprop_tui.core.text import NA, percent

WINDOW = 10  # steps averaged at either end of the run
ENOUGH = 2 * WINDOW + 1  # values looked at from either end, so that the two means share none
MEANS = "(averages)"  # so that they do not seem to contradict the newest figures elsewhere
EXPLODING = 100.0  # gradient norm
HIGH_ACCURACY = 0.95  # above it a flat accuracy is success, not a warning
FLAT = 0.01  # a held-out accuracy that rose by no more has not moved
FOLLOWS = 0.1  # of what the train margin gained; a held-out one that gained less stays behind
FLAT_MEASURED = 3  # measurements, the one before the first step included, until flat is said
NOISE = 2.0  # standard errors under which a rise is chance
LOST = 100.0  # times less likely a token of a good answer may become; ours, no paper's
MEMORISING = 1.05  # held-out loss over its best by this factor while train loss falls


@dataclass(frozen=True, slots=True)
class Ends:
    """Means over the first and the last values of a run, and how many were looked at (at most 21).

    error: standard error of last - first.
    """

    first: float
    last: float
    found: int
    error: float = 0.0


def figure(value: float | None, *, signed: bool = False) -> str:
    """A measured number, short: 1.31, +0.84, +0.0012, 3.1e-06, 412."""
    if value is None:
        return NA
    if not math.isfinite(value):
        return "not a number"
    sign, magnitude = "+" if signed else "", abs(value)
    if magnitude >= 1e5 or 0 < magnitude < 1e-3:
        # Margins are compared with each other: the same decimals for small ones, no exponents.
        return f"{value:+.3f}" if signed and magnitude < 1 else f"{value:{sign}.1e}"
    if 0 < magnitude < 0.1:
        return f"{value:{sign}.2g}"
    return f"{value:{sign}.{0 if magnitude >= 100 else 2}f}"


def trouble(history: History) -> str:
    """The sentence for a run that diverges; "" for one that does not, or has no step yet."""
    if not history.steps:
        return ""
    last = history.steps[-1]
    left_out = history.started is None and last.margin is not None  # another trainer's log
    if not (left_out or math.isfinite(last.loss)):
        return f"The loss is not a number at step {last.step}: lower the learning rate."
    if last.grad_norm is not None and not last.grad_norm <= EXPLODING:
        return (
            f"The gradient norm is {figure(last.grad_norm)}, over {EXPLODING:.0f}: "
            "the run is exploding; lower the learning rate."
        )
    return _lost(history)


def _lost(history: History) -> str:
    """Diverged without an explosion: chosen answers became LOST times less likely, per token.

    The loss of a preference method does not tell: it compares two answers and may fall meanwhile.
    """
    sft = history.started is not None and history.started.method == "sft"
    of: Sequence[Step | Evaluated] = history.evaluations
    if len(of) < 2:
        of = history.steps  # the first step is measured before it changes anything
    found = [-item.loss if sft else item.logp_chosen for item in (of[0], of[-1])] if of else []
    before, now = (*found, None, None)[:2]
    if before is None or now is None or not before - now > math.log(LOST):
        return ""
    times = f"{math.exp(min(before - now, 50.0)):,.0f}"
    return (
        f"A token of a good answer is {times} times less likely than before the first step "
        f"(log-probability {figure(before, signed=True)} → {figure(now, signed=True)}): the run "
        "has diverged; lower the learning rate."
    )


def inflation(margin: Ends, measured: int, start: Evaluated, now: Evaluated) -> str:
    """The sentence for margin inflation: the train margin rose by more than its noise, while the
    held-out accuracy stayed where it began; "" when there is none. Where the held-out margin gained
    less than a tenth of it, an accuracy within two standard errors (sqrt(1/4 / rows)) has stayed.

    margin: of the training steps. measured: how often the held-out rows were. start, now: the
    first and the newest measurement that has a margin.
    """
    if now.accuracy is None or start.accuracy is None or measured < FLAT_MEASURED:
        return ""
    gain, gained = margin.last - margin.first, now.accuracy - start.accuracy
    widens = gain > NOISE * margin.error
    follows = (now.margin or 0.0) - (start.margin or 0.0) >= FOLLOWS * gain
    # Of few rows some pairs are chance: within two standard errors, and the margin stays behind.
    chance = FLAT if follows or now.rows < 1 else max(FLAT, NOISE * math.sqrt(0.25 / now.rows))
    flat = gained <= chance and now.accuracy < HIGH_ACCURACY
    if margin.found <= 2 * WINDOW or not (widens and flat):
        return ""
    heldout = heldout_words(start, now)
    return f"Train {train_words(margin)}, but {heldout}: margin inflation, not learning."


def train_words(margin: Ends) -> str:
    """margin +0.02 → +0.61 (averages)."""
    first, last = figure(margin.first, signed=True), figure(margin.last, signed=True)
    return f"margin {first} → {last} {MEANS}"


def heldout_words(start: Evaluated, now: Evaluated) -> str:
    """held-out +0.02 → +0.56, accuracy 51 % → 83 %."""
    words = f"held-out {figure(start.margin, signed=True)} → {figure(now.margin, signed=True)}"
    if now.accuracy is not None and start.accuracy is not None:
        words += f", accuracy {percent(start.accuracy)} → {percent(now.accuracy)}"
    return words


def falling(history: History, margin: Ends) -> str:
    """The alarm of SimPO's authors, "" when there is none: chosen falls by more than the margin
    grows, over the training steps or on the held-out rows.

    Told by rewards, not log-probabilities: they are what the margin is made of, in its unit.
    """
    if margin.found <= 2 * WINDOW:
        return ""
    chosen = ends_of(history.steps, lambda step: step.reward_chosen)
    found = [("", chosen.first, chosen.last, margin.first, margin.last)]
    held = [(e.reward_chosen, e.margin) for e in history.evaluations]
    known = [(chosen, gap) for chosen, gap in held if chosen is not None and gap is not None]
    if len(known) > 1:
        found.append(("held-out ", known[0][0], known[-1][0], known[0][1], known[-1][1]))
    for where, first, last, narrow, wide in found:
        if 0 < wide - narrow < first - last:
            words = f"{where}chosen {figure(first, signed=True)} → {figure(last, signed=True)}"
            grew = f"margin {figure(narrow, signed=True)} → {figure(wide, signed=True)}"
            means = "" if where else f" {MEANS}"
            return (
                f"Chosen answers lose more than the margin gains: {words}, {grew}{means}. "
                "Lower the rate."
            )
    return ""


def margins(history: History) -> Ends:
    """Both ends of the train margin."""
    return ends_of(history.steps, lambda step: step.margin)


def ends_of(steps: Sequence[Step], value: Callable[[Step], float | None]) -> Ends:
    """Both ends of a figure of the training steps; what is no finite number is left out."""
    return ends(_some(steps, value), _some(reversed(steps), value))


def ends(head: Sequence[float], tail: Sequence[float]) -> Ends:
    """Both ends of a run. head: its first values; tail: its last ones, the newest first; ENOUGH of
    each, or all there are."""
    if not head:
        return Ends(0.0, 0.0, 0)
    width = max(1, min(WINDOW, len(head) // 2))
    first, last = head[:width], tail[:width]
    means = sum(first) / width, sum(last) / width
    spread = _spread(first, means[0]) + _spread(last, means[1])
    error = math.sqrt(spread / (width * max(1, width - 1)))
    return Ends(*means, len(head), error)


def _spread(values: Sequence[float], mean: float) -> float:
    # Multiplied, for a power of a huge number raises.
    return sum((value - mean) * (value - mean) for value in values)


def _some(steps: Iterable[Step], value: Callable[[Step], float | None]) -> list[float]:
    """The first values that are finite numbers, at most ENOUGH of them."""
    found: list[float] = []
    for step in steps:
        here = value(step)
        if here is not None and math.isfinite(here):
            found.append(here)
            if len(found) == ENOUGH:
                break
    return found

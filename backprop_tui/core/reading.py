"""A run in words: History -> sentences (methods.md section 9). Pure.

Looks at the ends of the run only, so that reading a long one costs no more than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backprop_tui.core.events import Evaluated, Failed, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.core.methods import METHODS
from backprop_tui.core.text import NA, percent

WINDOW = 10  # steps averaged at either end of the run
ENOUGH = 2 * WINDOW + 1  # values looked at from either end, so that the two means share none
MEANS = "(averages)"  # so that they do not seem to contradict the newest figures elsewhere
EARLY = 5  # steps with figures before anything is said about them
EXPLODING = 100.0  # gradient norm
CHANCE_BAND = 0.05  # accuracy within this of one half is chance
NOTHING_SAVED = "Stopped before the first step; nothing to save"
HIGH_ACCURACY = 0.95  # above it a flat accuracy is success, not a warning
FLAT = 0.01  # a held-out accuracy that rose by no more has not moved
FLAT_MEASURED = 3  # measurements, the one before the first step included, until flat is said
NOISE = 2.0  # standard errors that a train margin must have risen by
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


def read_run(history: History) -> str:
    """One sentence that says how the run is going, with its figures."""
    if isinstance(history.ended, Failed):
        return f"The run failed: {history.ended.message}"
    ended = history.ended
    if isinstance(ended, Finished) and ended.stopped and not ended.path:
        return f"{NOTHING_SAVED}."
    if not history.steps:
        return f"Preparing: {history.stage}." if history.stage else "Preparing."
    sentence = _trouble(history.steps[-1]) or _progress(history)
    if isinstance(history.ended, Finished):
        return ("Stopped and saved. " if history.ended.stopped else "Finished. ") + sentence
    return sentence


def _trouble(last: Step) -> str:
    if last.loss is None or not math.isfinite(last.loss):
        return f"The loss is not a number at step {last.step}: lower the learning rate."
    if last.grad_norm is not None and not last.grad_norm <= EXPLODING:
        return (
            f"The gradient norm is {figure(last.grad_norm)}, over {EXPLODING:.0f}: "
            "the run is exploding; lower the learning rate."
        )
    return ""


def _progress(history: History) -> str:
    method = history.started.method if history.started else ""
    return _sft(history) if method == "sft" else _preference(history, method)


def _sft(history: History) -> str:
    train = _ends(history.steps, lambda step: step.loss)
    first, last = train.first, train.last
    words = f"loss {figure(first)} → {figure(last)} {MEANS}"
    if train.found < EARLY:
        return f"First steps: {words}. Too early to tell."
    heldout = [item.loss for item in history.evaluations]
    if len(heldout) > 1:
        words += f", held-out {figure(heldout[0])} → {figure(heldout[-1])}"
        if heldout[-1] > min(heldout) * MEMORISING and last < first:
            return f"Train loss falls while held-out loss rises again: {words}. It is memorising."
        if last < first and heldout[-1] < heldout[0]:
            return f"Learning, and the held-out rows follow: {words}."
    return f"Learning: {words}." if last < first else f"Not learning yet: {words}."


def _preference(history: History, method: str) -> str:
    margin = _ends(history.steps, lambda step: step.margin)
    if margin.found < EARLY:
        loss = figure(history.steps[-1].loss)
        start = METHODS[method].loss_at_start if method in METHODS else ""
        expected = f" ({method} starts at {start})" if start else ""
        return f"First steps: loss {loss}{expected}. Too early to tell."
    measured = [item for item in history.evaluations if item.margin is not None]
    if measured:
        times = len({item.step for item in measured})
        inflated = inflation(margin, times, measured[0], measured[-1])
        if inflated:
            return f"{inflated} Consider f4, stop."
    alarm = _falling(history, margin)
    if alarm:
        return alarm
    if len(measured) < 2:
        widens = margin.last > margin.first
        word = "The margin widens" if widens else "The margin has not widened yet"
        later = "No held-out figures yet." if _heldout_expected(history) else "Nothing is held out."
        return f"{word}: {_train_words(margin)}. {later}"
    return _against_heldout(margin, measured[0], measured[-1])


def _heldout_expected(history: History) -> bool:
    return history.started is None or history.started.heldout_rows > 0


def inflation(margin: Ends, measured: int, start: Evaluated, now: Evaluated) -> str:
    """The sentence for margin inflation: the train margin rose by more than its noise, while the
    held-out accuracy stayed where it began; "" when there is none.

    margin: of the training steps. measured: how often the held-out rows were. start, now: the
    first and the newest measurement that has a margin.
    """
    if now.accuracy is None or start.accuracy is None or measured < FLAT_MEASURED:
        return ""
    widens = margin.last - margin.first > NOISE * margin.error
    flat = now.accuracy <= start.accuracy + FLAT and now.accuracy < HIGH_ACCURACY
    if margin.found <= 2 * WINDOW or not (widens and flat):
        return ""
    heldout = _heldout_words(start, now)
    return f"Train {_train_words(margin)}, but {heldout}: margin inflation, not learning."


def _train_words(margin: Ends) -> str:
    first, last = figure(margin.first, signed=True), figure(margin.last, signed=True)
    return f"margin {first} → {last} {MEANS}"


def _heldout_words(start: Evaluated, now: Evaluated) -> str:
    words = f"held-out {figure(start.margin, signed=True)} → {figure(now.margin, signed=True)}"
    if now.accuracy is not None and start.accuracy is not None:
        words += f", accuracy {percent(start.accuracy)} → {percent(now.accuracy)}"
    return words


def _against_heldout(margin: Ends, start: Evaluated, now: Evaluated) -> str:
    train, heldout = _train_words(margin), _heldout_words(start, now)
    widens, follows = margin.last > margin.first, (now.margin or 0) > (start.margin or 0)
    compared = now.accuracy is not None and start.accuracy is not None
    if compared and margin.found > 2 * WINDOW and abs((now.accuracy or 0) - 0.5) < CHANCE_BAND:
        return f"Still at chance on held-out rows: {train}, {heldout}."
    if widens and follows:
        return f"The margin widens and the held-out rows follow: {train}, {heldout}."
    if widens:
        return f"Train {train} widens, {heldout} does not follow: watch for margin inflation."
    return f"The margin has not widened yet: {train}, {heldout}."


def _falling(history: History, margin: Ends) -> str:
    """The alarm of SimPO's authors: chosen falls by more than the margin grows.

    Told by rewards, not log-probabilities: they are what the margin is made of, in its unit.
    """
    chosen = _ends(history.steps, lambda step: step.reward_chosen)
    fell, grew = chosen.first - chosen.last, margin.last - margin.first
    if chosen.found <= 2 * WINDOW or grew <= 0 or fell <= grew:
        return ""
    words = f"chosen {figure(chosen.first, signed=True)} → {figure(chosen.last, signed=True)}"
    train = _train_words(margin)
    return f"Chosen answers lose more than the margin gains: {words}, {train}. Lower the rate."


def _ends(steps: Sequence[Step], value: Callable[[Step], float | None]) -> Ends:
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

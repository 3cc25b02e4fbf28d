"""A run in words: History -> sentences (methods.md section 9). Pure.

Looks at the ends of the run only, so that reading a long one costs no more than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from backprop_tui.core.events import Evaluated, Failed, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.core.methods import METHODS
from backprop_tui.core.text import NA, percent

WINDOW = 10  # steps averaged at either end of the run
MEANS = "(averages)"  # so that they do not seem to contradict the newest figures elsewhere
EARLY = 5  # steps with figures before anything is said about them
EXPLODING = 100.0  # gradient norm
CHANCE_BAND = 0.05  # accuracy within this of one half is chance
NOTHING_SAVED = "Stopped before the first step; nothing to save"
HIGH_ACCURACY = 0.95  # above it a flat accuracy is success, not a warning
MEMORISING = 1.05  # held-out loss over its best by this factor while train loss falls


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
    first, last, found = _ends(history.steps, lambda step: step.loss)
    words = f"loss {figure(first)} → {figure(last)} {MEANS}"
    if found < EARLY:
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
    first, last, found = _ends(history.steps, lambda step: step.margin)
    if found < EARLY:
        loss = figure(history.steps[-1].loss)
        start = METHODS[method].loss_at_start if method in METHODS else ""
        expected = f" ({method} starts at {start})" if start else ""
        return f"First steps: loss {loss}{expected}. Too early to tell."
    train = f"margin {figure(first, signed=True)} → {figure(last, signed=True)} {MEANS}"
    measured = [item for item in history.evaluations if item.margin is not None]
    alarm = _falling(history, train)
    if alarm:
        return alarm
    if len(measured) < 2:
        word = "The margin widens" if last > first else "The margin has not widened yet"
        later = "No held-out figures yet." if _heldout_expected(history) else "Nothing is held out."
        return f"{word}: {train}. {later}"
    return _against_heldout(train, last > first, measured, len(history.steps) > 2 * WINDOW)


def _heldout_expected(history: History) -> bool:
    return history.started is None or history.started.heldout_rows > 0


def _against_heldout(train: str, widens: bool, measured: Sequence[Evaluated], long: bool) -> str:
    start, now = measured[0], measured[-1]
    heldout = f"held-out {figure(start.margin, signed=True)} → {figure(now.margin, signed=True)}"
    follows = (now.margin or 0) > (start.margin or 0)
    if now.accuracy is not None and start.accuracy is not None:
        heldout += f", accuracy {percent(start.accuracy)} → {percent(now.accuracy)}"
        flat = now.accuracy <= start.accuracy + 0.01
        if long and widens and flat and now.accuracy < HIGH_ACCURACY:
            return (
                f"Train {train}, but {heldout}: margin inflation, not learning. Consider f4, stop."
            )
        if long and abs(now.accuracy - 0.5) < CHANCE_BAND:
            return f"Still at chance on held-out rows: {train}, {heldout}."
    if widens and follows:
        return f"The margin widens and the held-out rows follow: {train}, {heldout}."
    if widens:
        return f"Train {train} widens, {heldout} does not follow: watch for margin inflation."
    return f"The margin has not widened yet: {train}, {heldout}."


def _falling(history: History, train: str) -> str:
    """The alarm of SimPO's authors: chosen falls by more than the margin grows.

    Told by rewards, not log-probabilities: they are what the margin is made of, in its unit.
    """
    before, after, found = _ends(history.steps, lambda step: step.reward_chosen)
    first, last, _ = _ends(history.steps, lambda step: step.margin)
    if found <= 2 * WINDOW or last <= first or before - after <= last - first:
        return ""
    chosen = f"chosen {figure(before, signed=True)} → {figure(after, signed=True)}"
    return f"Chosen answers lose more than the margin gains: {chosen}, {train}. Lower the rate."


def _ends(steps: Sequence[Step], value: Callable[[Step], float | None]) -> tuple[float, float, int]:
    """Means over the first and the last few values, and how many were looked at (at most 21)."""
    enough = 2 * WINDOW + 1
    head, tail = _some(steps, value, enough), _some(reversed(steps), value, enough)
    found = len(head)
    if not found:
        return 0.0, 0.0, 0
    width = max(1, min(WINDOW, found // 2))
    return sum(head[:width]) / width, sum(tail[:width]) / width, found


def _some(steps: Iterable[Step], value: Callable[[Step], float | None], enough: int) -> list[float]:
    """The first values that are finite numbers, at most `enough` of them."""
    found: list[float] = []
    for step in steps:
        here = value(step)
        if here is not None and math.isfinite(here):
            found.append(here)
            if len(found) == enough:
                break
    return found

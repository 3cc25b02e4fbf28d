"""A run in words: History -> one sentence. What is wrong with it is told by `symptoms`. Pure."""

from __future__ import annotations

from backprop_tui.core.events import Evaluated, Failed, Finished
from backprop_tui.core.history import History
from backprop_tui.core.methods import METHODS
from backprop_tui.core.symptoms import (
    MEANS,
    MEMORISING,
    WINDOW,
    Ends,
    ends_of,
    falling,
    figure,
    heldout_words,
    inflation,
    margins,
    train_words,
    trouble,
)

__all__ = ["CHANCE_BAND", "EARLY", "NOTHING_SAVED", "figure", "read_run"]

CHANCE_BAND = 0.05  # accuracy within this of one half is chance
EARLY = 5  # steps with figures before anything is said about them
NOTHING_SAVED = "Stopped before the first step; nothing to save"


def read_run(history: History) -> str:
    """One sentence that says how the run is going, with its figures."""
    if isinstance(history.ended, Failed):
        return f"The run failed: {history.ended.message}"
    ended = history.ended
    if isinstance(ended, Finished) and ended.stopped and not ended.path:
        return f"{NOTHING_SAVED}."
    if not history.steps:
        return f"Preparing: {history.stage}." if history.stage else "Preparing."
    sentence = trouble(history) or _progress(history)
    if isinstance(history.ended, Finished):
        return ("Stopped and saved. " if history.ended.stopped else "Finished. ") + sentence
    return sentence


def _progress(history: History) -> str:
    method = history.started.method if history.started else ""
    return _sft(history) if method == "sft" else _preference(history, method)


def _sft(history: History) -> str:
    train = ends_of(history.steps, lambda step: step.loss)
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
    margin = margins(history)
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
    alarm = falling(history, margin)
    if alarm:
        return alarm
    if len(measured) < 2:
        widens = margin.last > margin.first
        word = "The margin widens" if widens else "The margin has not widened yet"
        later = "No held-out figures yet." if _heldout_expected(history) else "Nothing is held out."
        return f"{word}: {train_words(margin)}. {later}"
    return _against_heldout(margin, measured[0], measured[-1])


def _heldout_expected(history: History) -> bool:
    return history.started is None or history.started.heldout_rows > 0


def _against_heldout(margin: Ends, start: Evaluated, now: Evaluated) -> str:
    train, heldout = train_words(margin), heldout_words(start, now)
    widens, follows = margin.last > margin.first, (now.margin or 0) > (start.margin or 0)
    compared = now.accuracy is not None and start.accuracy is not None
    if compared and margin.found > 2 * WINDOW and abs((now.accuracy or 0) - 0.5) < CHANCE_BAND:
        return f"Still at chance on held-out rows: {train}, {heldout}."
    if widens and follows:
        return f"The margin widens and the held-out rows follow: {train}, {heldout}."
    if widens:
        return f"Train {train} widens, {heldout} does not follow: watch for margin inflation."
    return f"The margin has not widened yet: {train}, {heldout}."

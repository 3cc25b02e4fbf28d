"""A run in words: History -> sentences (methods.md section 9). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from backprop_tui.core.events import Evaluated, Failed, Finished, History, Step
from backprop_tui.core.methods import METHODS
from backprop_tui.core.text import percent

WINDOW = 10  # steps averaged at either end of the run
EXPLODING = 100.0  # gradient norm
CHANCE_BAND = 0.05  # accuracy within this of one half is chance


def read_run(history: History) -> str:
    """One sentence that says how the run is going, with its figures."""
    if isinstance(history.ended, Failed):
        return f"The run failed: {history.ended.message}"
    if not history.steps:
        return f"Preparing: {history.stage}." if history.stage else "Preparing."
    trouble = _trouble(history.steps)
    if trouble:
        return trouble
    method = history.started.method if history.started else ""
    sentence = _sft(history) if method == "sft" else _preference(history)
    if isinstance(history.ended, Finished):
        return ("Stopped and saved. " if history.ended.stopped else "Finished. ") + sentence
    return sentence


def _trouble(steps: Sequence[Step]) -> str:
    last = steps[-1]
    if last.loss is None or not math.isfinite(last.loss):
        return f"The loss is not a number at step {last.step}: lower the learning rate."
    if last.grad_norm is not None and last.grad_norm > EXPLODING:
        return (
            f"The gradient norm is {last.grad_norm:.0f}, over {EXPLODING:.0f}: "
            "the run is exploding; lower the learning rate."
        )
    return ""


def _sft(history: History) -> str:
    first, last = _ends([step.loss for step in history.steps])
    words = f"loss {first:.2f} → {last:.2f}"
    heldout = [item.loss for item in history.evaluations]
    if len(heldout) > 1:
        words += f", held-out {heldout[0]:.2f} → {heldout[-1]:.2f}"
        if heldout[-1] > min(heldout) * 1.05 and last < first:
            return f"Train loss falls while held-out loss rises again: {words}. It is memorising."
    return f"Learning: {words}." if last < first else f"Not learning yet: {words}."


def _preference(history: History) -> str:
    margins = [step.margin for step in history.steps if step.margin is not None]
    if len(margins) < 2:
        method = history.started.method if history.started else ""
        start = METHODS[method].loss_at_start if method in METHODS else ""
        return f"First steps. The loss should start at {start}." if start else "First steps."
    first, last = _ends(margins)
    train = f"margin {first:+.2f} → {last:+.2f}"
    measured = [item for item in history.evaluations if item.margin is not None]
    if len(measured) < 2:
        word = "Margin widens" if last > first else "Margin has not widened yet"
        return f"{word}: {train}. No held-out figures yet."
    return _against_heldout(train, last > first, measured, history.steps)


def _against_heldout(
    train: str, widens: bool, measured: Sequence[Evaluated], steps: Sequence[Step]
) -> str:
    start, now = measured[0], measured[-1]
    heldout = f"held-out {start.margin:+.2f} → {now.margin:+.2f}"
    follows = (now.margin or 0) > (start.margin or 0)
    if now.accuracy is not None and start.accuracy is not None:
        heldout += f", accuracy {percent(start.accuracy)} → {percent(now.accuracy)}"
        flat = now.accuracy <= start.accuracy + 0.01
        if widens and flat and now.accuracy < 0.95 and len(steps) > 2 * WINDOW:
            return (
                f"Train {train} but {heldout}: margin inflation, not learning. "
                "Consider stopping."
            )
        if abs(now.accuracy - 0.5) < CHANCE_BAND and len(steps) > 2 * WINDOW:
            return f"Still at chance on held-out rows: {train}, {heldout}."
    if widens and follows:
        return f"Margin widens and the held-out rows follow: {train}, {heldout}."
    if widens:
        return f"Train {train} widens, {heldout} does not follow: watch for margin inflation."
    return f"Margin has not widened yet: {train}, {heldout}."


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means over the first and the last few values."""
    width = max(1, min(WINDOW, len(values) // 2))
    return sum(values[:width]) / width, sum(values[-width:]) / width

"""What a run came to, as the figures that stand beside those of other runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backprop_tui.core.events import Evaluated, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.core.interval import Interval, trials, wilson
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.symptoms import figure
from backprop_tui.core.text import count, duration, percent, size
from backprop_tui.core.verdict import verdict
from backprop_tui.core.verdict_seen import seen

Point = tuple[int, float]  # step, value
BINS = 24  # points of a train curve at most, each a mean of neighbouring steps


@dataclass(frozen=True, slots=True)
class Measured:
    """A run in figures; None where it has no such figure.

    accuracy, heldout_*: of the weights that were saved, else of the newest measurement. start_*:
    of the first one. interval: 95 % of the accuracy. train_margin: mean of the last ten steps.
    seconds: of training so far. memory: bytes at the peak. Curves: (step, value); train_margins
    are means of neighbouring steps.
    """

    method: str
    verdict: str
    sentence: str
    step: int
    steps: int | None
    accuracy: float | None
    start_accuracy: float | None
    interval: Interval | None
    heldout_rows: int | None
    heldout_step: int | None
    heldout_margin: float | None
    start_margin: float | None
    heldout_loss: float | None
    train_loss: float | None
    train_margin: float | None
    seconds: float | None
    tokens_per_second: float | None
    memory: int | None
    accuracies: tuple[Point, ...]
    heldout_margins: tuple[Point, ...]
    heldout_losses: tuple[Point, ...]
    train_margins: tuple[Point, ...]


def measured(history: History, plan: RunFile | None) -> Measured:
    """The figures of a run as far as it has come."""
    found, run = verdict(history, plan), seen(history)
    started, last, ended = history.started, history.last, history.ended
    method = run.method or (plan.method if plan else "")
    now = _of_the_weights(history)
    first = history.evaluations[0] if history.evaluations else None
    share = now.accuracy if now else None
    tests = trials(method, now.rows) if now and now.rows > 0 else 0
    steps = last.steps if last else started.steps if started else None
    peak = ended.memory_peak if isinstance(ended, Finished) else None
    return Measured(
        method=method,
        verdict=found.kind,
        sentence=found.sentence,
        step=last.step if last else 0,
        steps=steps,
        accuracy=share,
        start_accuracy=first.accuracy if first else None,
        interval=wilson(share, tests) if share is not None and tests and 0 <= share <= 1 else None,
        heldout_rows=now.rows if now else None,
        heldout_step=now.step if now else None,
        heldout_margin=now.margin if now else None,
        start_margin=first.margin if first else None,
        heldout_loss=now.loss if now else None,
        train_loss=_mean([one.loss for one in history.steps[-10:]]),
        train_margin=run.margin.last if run.margin.found else None,
        seconds=ended.seconds if isinstance(ended, Finished) else last.t if last else None,
        tokens_per_second=_tokens_per_second(history.steps),
        memory=peak if peak is not None else last.memory_peak if last else None,
        accuracies=_curve(history.evaluations, "accuracy"),
        heldout_margins=_curve(history.evaluations, "margin"),
        heldout_losses=_curve(history.evaluations, "loss"),
        train_margins=binned(_curve(history.steps, "margin")),
    )


def figures_of(runs: Sequence[Measured]) -> list[tuple[str, tuple[str | None, ...]]]:
    """(title, a text a run) in reading order; what no run has is left out."""
    sft = all(one.method == "sft" for one in runs)
    rows: list[tuple[str, Callable[[Measured], str | None]]] = [
        ("verdict", lambda one: one.verdict),
        ("method", lambda one: one.method),
        ("steps", _steps),
        ("held-out accuracy", _accuracy),
        ("  95 % interval", _interval),
        ("held-out margin", lambda one: _change(one.start_margin, one.heldout_margin)),
        ("train margin, end", lambda one: _signed(one.train_margin)),
        ("held-out loss", lambda one: _plain(one.heldout_loss)),
        ("train loss, end", lambda one: _plain(one.train_loss)),
        ("time", lambda one: None if one.seconds is None else duration(one.seconds)),
        ("tokens/s", _pace),
        ("peak memory", lambda one: None if one.memory is None else size(one.memory)),
    ]
    if sft:
        rows = [row for row in rows if "margin" not in row[0]]
    found = [(title, tuple(write(one) for one in runs)) for title, write in rows]
    return [(title, values) for title, values in found if any(values)]


def binned(points: Sequence[Point], bins: int = BINS) -> tuple[Point, ...]:
    """At most `bins` points, each the mean of neighbours, at the step of the last of them."""
    per = max(1, math.ceil(len(points) / bins))
    parts = [points[i : i + per] for i in range(0, len(points), per)]
    return tuple((part[-1][0], sum(value for _, value in part) / len(part)) for part in parts)


def _of_the_weights(history: History) -> Evaluated | None:
    """The measurement of the weights in the adapter or model folder, else the newest one."""
    kept = next((one.step for one in reversed(history.saved) if one.kind != "checkpoint"), None)
    held = history.evaluations
    return next((one for one in held if one.step == kept), held[-1] if held else None)


def _tokens_per_second(steps: Sequence[Step]) -> float | None:
    """From the first step to the last, what was not training included."""
    if len(steps) < 2 or steps[-1].t <= steps[0].t or not steps[-1].tokens:
        return None
    return (steps[-1].tokens - steps[0].tokens) / (steps[-1].t - steps[0].t)


def _curve(events: Sequence[Step | Evaluated], name: str) -> tuple[Point, ...]:
    found = ((event.step, getattr(event, name)) for event in events)
    return tuple((step, y) for step, y in found if y is not None and math.isfinite(y))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _steps(one: Measured) -> str:
    return f"{count(one.step)} of {count(one.steps)}"


def _accuracy(one: Measured) -> str | None:
    if one.accuracy is None:
        return None
    before = "" if one.start_accuracy is None else f"{percent(one.start_accuracy)} → "
    return f"{before}{percent(one.accuracy)}"


def _interval(one: Measured) -> str | None:
    if one.interval is None:
        return None
    low, high = map(percent, one.interval)
    return f"{low} to {high}, {count(one.heldout_rows)} rows"


def _change(first: float | None, last: float | None) -> str | None:
    if last is None:
        return None
    before = "" if first is None else f"{figure(first, signed=True)} → "
    return f"{before}{figure(last, signed=True)}"


def _signed(value: float | None) -> str | None:
    return None if value is None else figure(value, signed=True)


def _plain(value: float | None) -> str | None:
    return None if value is None else figure(value)


def _pace(one: Measured) -> str | None:
    return None if one.tokens_per_second is None else count(round(one.tokens_per_second))

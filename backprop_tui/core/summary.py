"""What a run came to: History -> labelled facts, for the last screen and the last lines. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePath

from backprop_tui.core.events import Amended, Evaluated, Failed, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.core.pace import average
from backprop_tui.core.reading import figure
from backprop_tui.core.text import count, duration, parameters, percent, plural, size

Fact = tuple[str, str]


def summary(history: History) -> list[Fact]:
    """(label, value) in reading order. Facts that the run has not produced are left out."""
    return [
        *_trained(history),
        *_learned(history),
        *_cost(history),
        *_kept(history),
    ]


def _trained(history: History) -> list[Fact]:
    started, last = history.started, history.last
    if started is None:
        return []
    facts = [
        (
            "Trained",
            f"{started.method} on {started.model}: {parameters(started.trainable)} of "
            f"{parameters(started.parameters)} parameters, on {started.device}",
        ),
        ("Data", started.data),
        (
            "Rows",
            f"{count(started.train_rows)} trained on, "
            + (
                f"{count(started.heldout_rows)} held out"
                if started.heldout_rows
                else "none held out"
            ),
        ),
        ("Dropped", _dropped(started.dropped)),
    ]
    done = last.step if last else 0
    ended = history.ended
    how = f", {_stopped(ended)}" if isinstance(ended, Finished) and ended.stopped else ""
    facts.append(("Steps", f"{count(done)} of {count(last.steps if last else started.steps)}{how}"))
    facts += [("Changed", _amended(event)) for event in history.amended]
    return facts


def _stopped(ended: Finished) -> str:
    return f"stopped: {ended.why}" if ended.why else "stopped on request"


def _amended(event: Amended) -> str:
    changes = ", ".join(f"{key} = {value}" for key, value in event.changes.items())
    return f"{changes}, at step {count(event.step)}: {event.why}"


def _dropped(dropped: dict[str, int]) -> str:
    reasons = [(reason, n) for reason, n in dropped.items() if n]
    if not reasons:
        return "no rows"
    parts = ", ".join(f"{count(n)} {reason}" for reason, n in reasons)
    return f"{plural(sum(n for _, n in reasons), 'row')}: {parts}"


def _learned(history: History) -> list[Fact]:
    """First and last figures, measured on the held-out rows where there are any."""
    measured: Sequence[Step | Evaluated] = history.evaluations or history.steps
    if not measured:
        return []
    where = "Held-out" if history.evaluations else "Train"
    kept = _weights(history)
    # Of the weights that were saved, where they are not the last ones.
    first, last = measured[0], next((m for m in measured if m.step == kept), measured[-1])
    if history.started and history.started.method == "sft":
        return _change(f"{where} loss", first.loss, last.loss, figure)
    return [
        *_change(f"{where} margin", first.margin, last.margin, partial(figure, signed=True)),
        *_change(f"{where} accuracy", first.accuracy, last.accuracy, percent),
    ]


def _weights(history: History) -> int | None:
    """The step of the weights in the adapter or model folder."""
    return next((one.step for one in reversed(history.saved) if one.kind != "checkpoint"), None)


def _change(
    label: str, first: float | None, last: float | None, write: Callable[[float | None], str]
) -> list[Fact]:
    return [] if first is None or last is None else [(label, f"{write(first)} → {write(last)}")]


def _cost(history: History) -> list[Fact]:
    ended, last = history.ended, history.last
    facts: list[Fact] = []
    peak = ended.memory_peak if isinstance(ended, Finished) else last.memory_peak if last else None
    if peak is not None:
        facts.append(("Peak memory", size(peak)))
    if isinstance(ended, Finished):
        method = history.started.method if history.started else ""
        facts.append(
            ("Time", ", ".join([duration(ended.seconds), *average(history.steps, method)]))
        )
    elif ended is not None:
        facts.append(("Time", duration(ended.t)))
    if history.warnings:
        codes = ", ".join(dict.fromkeys(item.code for item in history.warnings))
        facts.append(("Warnings", codes))
    return facts


def _kept(history: History) -> list[Fact]:
    ended = history.ended
    if isinstance(ended, Finished):
        whole = PurePath(ended.path).name == "model"  # every weight was trained
        step, kept = _weights(history), []
        if ended.path:
            of = f" (the weights of step {step})" if step not in (None, ended.step) else ""
            kept = [("Model" if whole else "Adapter", f"{ended.path}{of}")]
            folder = shlex.quote(str(PurePath(ended.path).parent))
            if ended.stopped:
                kept.append(("Go on", f"backprop-tui resume {folder}"))
        if ended.replay:
            kept.append(("Run it again", ended.replay))
        if ended.path:
            kept += [
                ("Measure it", f"backprop-tui eval {folder} --generate 100"),
                ("Talk to it", f"backprop-tui try {folder}"),
                ("Take it away", f"backprop-tui export {folder} --output DIR"),
            ]
        return kept
    if isinstance(ended, Failed):
        saved = [("Last saved", history.saved[-1].path)] if history.saved else []
        return [*saved, ("Log", ended.log)]
    return []

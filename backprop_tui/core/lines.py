"""Events as plain lines, for a terminal without a screen and for the log panel."""

from __future__ import annotations

from backprop_tui.core.events import (
    Amended,
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    Paused,
    Preparing,
    Probed,
    Resumed,
    Saved,
    Started,
    Step,
    Warned,
)
from backprop_tui.core.text import count, duration, parameters, percent, plural, rate, size

LINES_A_RUN = 20  # step lines printed over a whole run; every other event is always printed


def line(event: Event) -> str | None:
    """One line without colour or control characters; None for what is not worth a line."""
    match event:
        case Preparing():
            return f"{event.stage} …"
        case Started():
            return (
                f"training {event.model} with {event.method} on {event.device}: "
                f"{plural(event.train_rows, 'row')}, {count(event.heldout_rows)} held out, "
                f"{plural(event.steps, 'step')}, rate {rate(event.learning_rate)}, "
                f"{parameters(event.trainable)} parameters trained, "
                f"{parameters(event.parameters)} in the model"
            )
        case Probed():
            return _probed(event)
        case Step():
            return _step(event) if _is_printed(event) else None
        case Evaluated():
            return f"step {event.step:>5}  held-out  " + _figures(event)
        case Warned():
            source = f" (source: {event.source})" if event.source else ""
            return f"warning  {event.message}{source} [{event.code}]"
        case Saved():
            return f"step {event.step:>5}  saved     {event.kind} {event.path}"
        case Paused():
            return f"step {event.step:>5}  paused    {event.why}"
        case Continued():
            return f"step {event.step:>5}  going on"
        case Amended():
            return amended(event)
        case Resumed():
            return resumed(event)
        case Finished():
            why = f": {event.why}" if event.why else ""
            if event.stopped and not event.path:
                return f"stopped before the first step{why}; nothing to save"
            word = "stopped and saved" if event.stopped else "finished"
            return f"{word} at step {event.step} after {duration(event.seconds)}{why}"
        case Failed():
            return f"failed: {event.message}"
        case _:
            return None


def amended(event: Amended) -> str:
    """What was changed in the plan, and why."""
    changes = ", ".join(f"{key} = {value}" for key, value in event.changes.items())
    return f"step {event.step}: the plan was changed to {changes}: {event.why}"


def resumed(event: Resumed) -> str:
    """Where a run was taken up."""
    if not event.checkpoint:
        return "resumed from the beginning: nothing had been saved"
    return f"resumed after step {event.step}, from {event.checkpoint}"


def _probed(event: Probed) -> str:
    words = f"tried the heaviest batch: {size(event.peak)} at the peak"
    if event.estimate is not None:
        words += f", {size(event.estimate)} estimated"
    if event.free is not None:
        words += f", {size(event.free)} free"
    return words + (f"; {event.seconds:.2g} s a step" if event.seconds is not None else "")


def _is_printed(event: Step) -> bool:
    every = max(1, event.steps // LINES_A_RUN)
    return event.step in (1, event.steps) or event.step % every == 0


def _step(event: Step) -> str:
    words = f"step {event.step:>5}  train     " + _figures(event)
    if event.tokens_per_second:
        words += f"  {event.tokens_per_second:,.0f} tokens/s"
    return words + (f"  {size(event.memory)}" if event.memory else "")


def _figures(event: Step | Evaluated) -> str:
    words = f"loss {_fixed(event.loss, 4)}"
    if event.margin is not None:
        words += f"  margin {event.margin:+.4f}"
    if event.accuracy is not None:
        words += f"  accuracy {percent(event.accuracy)}"
    return words


def _fixed(value: float | None, digits: int) -> str:
    return "not a number" if value is None else f"{value:.{digits}f}"

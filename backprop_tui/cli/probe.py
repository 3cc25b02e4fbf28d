"""`check --probe`: what a run would take, measured."""

from __future__ import annotations

from typing import Any

import typer

from backprop_tui.cli.output import show_table
from backprop_tui.cli.run import show_failure
from backprop_tui.core.events import Event, Failed, Preparing, Warned
from backprop_tui.core.lines import line
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import count, duration, size

PROBE_HELP = "Load the model and try the heaviest batch: memory and time, measured."


def probed(run: RunFile) -> dict[str, Any]:
    """What was measured, as plain values. typer.Exit: it could not be, and why was said."""
    from backprop_tui.train.probing import probe  # imports the trainers: seconds

    found = probe(run, _say)
    if isinstance(found, Failed):
        show_failure(found)
        raise typer.Exit(found.exit_code)
    measured = found.measured
    return {
        "peak": measured.peak,
        "estimate": measured.estimate,
        "free": measured.free,
        "lowered": found.lowered,
        "steps": found.plan.steps,
        "seconds_per_step": measured.seconds,
        "seconds": found.seconds,
        "disk": found.disk,
        "device": found.plan.device,
    }


def show_probed(found: dict[str, Any]) -> None:
    """The same for people."""
    what = "on the card" if found["device"] == "cuda" else "of tensors, model included"
    estimate = f", {size(found['estimate'])} estimated" if found["estimate"] else ""
    rows = [("measured", f"{size(found['peak'])} {what} at the peak{estimate}")]
    if found["free"] is not None:
        rows.append(("free", size(found["free"])))
    if found["lowered"]:
        keys = ", ".join(f"{key} = {value}" for key, value in found["lowered"].items())
        rows.append(("lowered", f"{keys}: as it is, it does not fit"))
    rows += [
        ("a step", f"{found['seconds_per_step']:.2g} s"),
        ("the run", f"about {duration(found['seconds'])} for {count(found['steps'])} steps"),
        ("on disk", f"{size(found['disk'])} at most"),
    ]
    show_table(rows)


def _say(event: Event) -> None:
    """What is going on, on stderr: results alone go to stdout."""
    if isinstance(event, Preparing | Warned):
        typer.echo(line(event), err=True)

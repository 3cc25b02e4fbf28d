"""`runs`: what there is, what it is doing, and what to type next."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.core.errors import InputError
from backprop_tui.core.printable import printable
from backprop_tui.core.reading import figure
from backprop_tui.core.text import count, duration, percent
from backprop_tui.core.wrap import cells
from backprop_tui.runs.state import RUNS, RunState, as_typed, find_runs

NAME = 22  # cells; a longer name has a line of its own, as it is copied from here
COLUMNS = (("state", 11), ("step", 15), ("margin", 8), ("accuracy", 9), ("time left", 9))
NEXT = {
    "interrupted": "was interrupted; go on with it:",
    "paused": "is paused; go on with it:",
    "prepared": "has not begun; start it:",
}


def runs_command(
    folder: Path = typer.Argument(RUNS, metavar="[DIR]", help="Where the run folders are."),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """List the runs of a folder, the newest first: state, step, margin, time left."""
    if not folder.is_dir() and folder != RUNS:
        raise InputError(
            f"{folder} is not a folder", hint="without one: ./runs", code="RUN_NOT_FOUND"
        )
    found = find_runs(folder)
    if as_json:
        show_json({"runs": [_plain(state) for state in found]})
    elif not found:
        typer.echo(f"no runs in {printable(str(folder.resolve()))}")
    else:
        typer.echo("\n".join(table(found)))


def table(found: list[RunState]) -> list[str]:
    """Lines of at most 79 cells, apart from long names; under them what to type next."""
    lines = [_row("run", [name for name, _ in COLUMNS])]
    for state in found:
        name = printable(state.name)
        if cells(name) > NAME:
            lines.append(name)
            name = ""
        lines.append(_row(name, _figures(state)))
    told = [
        line
        for state in found
        if state.state in NEXT
        for line in (
            f"{printable(state.name)} {NEXT[state.state]}",
            f"  backprop-tui resume {printable(as_typed(state.path))}",
        )
    ]
    return [*lines, *([""] if told else []), *told]


def _row(name: str, values: list[str]) -> str:
    padded = (f"{value:<{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))
    return " ".join([name + " " * (NAME - cells(name)), *padded]).rstrip()


def _figures(state: RunState) -> list[str]:
    steps = "" if state.steps is None else f"/{count(state.steps)}"
    return [
        state.state,
        f"{count(state.step)}{steps}",
        "" if state.margin is None else figure(state.margin, signed=True),
        "" if state.accuracy is None else percent(state.accuracy),
        "" if state.eta is None else duration(state.eta),
    ]


def _plain(state: RunState) -> dict[str, Any]:
    updated = datetime.fromtimestamp(state.updated, UTC).isoformat(timespec="seconds")
    return {**asdict(state), "path": str(state.path.resolve()), "updated": updated}

"""`compare`: two runs or more side by side: what differs, and what each came to."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import typer

from backprop_tui.cli.compare_text import lines
from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.cli.review import read_run
from backprop_tui.core.comparison import Comparison, Group, Row, Subject, compare
from backprop_tui.core.errors import InputError
from backprop_tui.core.plain import finite
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.runs.evals import read_evaluations
from backprop_tui.runs.state import find_run

RUNS_HELP = "Run folders, or their names under ./runs: two or more; live, over or killed."


def compare_command(
    runs: list[Path] = typer.Argument(metavar="RUN RUN...", help=RUNS_HELP),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """Hold runs against each other: settings and data that differ, figures, curves, evals."""
    found, problems = read_subjects(runs)
    told = compare(found)
    if as_json:
        show_json(plain(told, problems))
    else:
        typer.echo("\n".join(lines(told, problems)))


def read_subjects(runs: list[Path]) -> tuple[list[Subject], list[str]]:
    """The runs, and what of their evaluations cannot be used. Raises InputError:
    RUN_NOT_FOUND, RUN_UNREADABLE, CONFIG_INVALID_SETTING for fewer than two runs or one twice."""
    folders = [find_run(run) for run in runs]
    real = [folder.resolve() for folder in folders]
    if len(real) < 2:
        raise InputError(
            f"{runs[0]} alone cannot be compared: two runs or more are needed",
            hint="backprop-tui runs lists those under ./runs; review judges one run",
            code=INVALID,
        )
    twice = next((run for run, path in zip(runs, real, strict=True) if real.count(path) > 1), None)
    if twice is not None:
        raise InputError(
            f"{twice} was given twice: each run may stand once",
            hint="name another run",
            code=INVALID,
        )
    found: list[Subject] = []
    problems: list[str] = []
    for folder, name in zip(folders, names(real), strict=True):
        read = read_run(folder)
        evaluations, unusable = read_evaluations(folder)
        problems += unusable
        found.append(
            Subject(name, str(folder), read.state, read.history, read.plan, tuple(evaluations))
        )
    return found, problems


def names(folders: list[Path]) -> list[str]:
    """Each folder by the fewest last parts of its path that no other one has."""
    found = []
    for folder in folders:
        others = [other.parts for other in folders if other != folder]
        own = folder.parts
        least = next(
            (n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)),
            len(own),
        )
        found.append("/".join(own[-least:]))
    return found


def plain(told: Comparison, problems: list[str]) -> dict[str, Any]:
    """All of it for JSON; a number that is not finite becomes null."""
    whole: dict[str, Any] = {
        "runs": [
            {
                "name": run.name,
                "path": str(Path(run.path).resolve()),
                "state": run.state,
                **{field.name: getattr(one, field.name) for field in fields(one)},
            }
            for run, one in zip(told.subjects, told.measured, strict=True)
        ],
        "settings": _group(told.settings),
        "made_with": _group(told.made_with),
        "data": _group(told.data),
        "heldout": asdict(told.heldout),
        "evals": [
            {
                "name": one.name,
                "data": one.data,
                "rows": one.rows,
                "figures": {
                    metric: [found and asdict(found) for found in row]
                    for metric, row in one.figures
                },
            }
            for one in told.evals
        ],
        "notes": list(told.notes),
        "unusable": problems,
    }
    cleaned: dict[str, Any] = finite(whole)
    return cleaned


def _group(group: Group) -> dict[str, Any]:
    return {"same": group.same, "differ": {row.key: _values(row) for row in group.differ}}


def _values(row: Row) -> list[str | None]:
    return list(row.values)

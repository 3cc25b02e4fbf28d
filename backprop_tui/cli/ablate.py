"""`ablate`: which setting wins, decided on the same held-out pairs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from backprop_tui.cli.ablate_plan import planned, surveyed
from backprop_tui.cli.ablate_text import cost_lines, result_lines
from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.cli.plan import SET_HELP
from backprop_tui.cli.run import TRUST_HELP, Printer
from backprop_tui.cli.signals import stop_asked
from backprop_tui.core import runfile_io
from backprop_tui.core.cells import Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.errors import (
    EXIT_OK,
    EXIT_RUN,
    EXIT_STOPPED,
    InputError,
)
from backprop_tui.core.grid import MOST_CELLS, Ablation
from backprop_tui.core.printable import printable
from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.ablation import CELLS, PLAN, AblationFolder, begin, is_ablation, read_plan
from backprop_tui.runs.ablation_table import Table
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.requests import is_run
from backprop_tui.runs.state import RUNS, find_run

PATH_HELP = "A run file, a run, or an ablation to go on with; the last two by folder or name."
GRID_HELP = "A key of the run file and its values: simpo.beta=2,2.5. Repeatable; every combination."
PRESET_HELP = (
    "2x2 (the default): objective x LoRA rank; paper: the search grid of the file's method; "
    "published: its published settings."
)
RAY_HELP = "Run the cells as Ray tasks: the address of a cluster, or 'local'."
OUTPUT_HELP = "Folder to create, or one to go on with."


def ablate_command(
    path: Path = typer.Argument(metavar="RUN.toml", help=PATH_HELP),
    grid: list[str] = typer.Option([], "--grid", help=GRID_HELP),
    preset: str | None = typer.Option(None, "--preset", help=PRESET_HELP),
    seeds: int = typer.Option(1, "--seeds", min=1, help="Repeat each cell with so many seeds."),
    output: Path | None = typer.Option(None, "--output", "-o", help=OUTPUT_HELP),
    sets: list[str] = typer.Option([], "--set", help=SET_HELP),
    most: int = typer.Option(MOST_CELLS, "--max-cells", min=1, help="Refuse a larger grid."),
    ray: str | None = typer.Option(None, "--ray", metavar="ADDRESS", help=RAY_HELP),
    yes: bool = typer.Option(False, "--yes", "-y", help="Begin without asking."),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """Train a grid of settings and decide between them on the same held-out pairs."""
    if ray is not None:
        from backprop_tui.train.ablation.on_ray import need_ray

        need_ray()
    path = _found(path)
    if is_ablation(path):
        if grid or preset or seeds > 1 or sets or output:
            raise typer.BadParameter(
                f"{path} has its plan in {PLAN}; give the run file to plan another",
                param_hint="RUN.toml",
            )
        folder = AblationFolder(path)
        plan = read_plan(folder)
        paired, cost = surveyed(plan, folder, trust_remote_code)
    else:
        run, _ = runfile_io.read(path, sets)
        folder = AblationFolder((output or _default(run)).expanduser())
        plan, paired, cost = planned(
            run, path, folder, trust_remote_code, grid, preset, seeds, most
        )
    if os.path.lexists(folder.path):
        begin(folder, plan)  # refuses what is there; there is nothing to make
    say: Callable[[str], None] = _on_stderr if as_json else Printer()
    for line in cost_lines(folder, plan, cost, paired=paired, ray=ray):
        say(printable(line))
    if not _nothing_left(folder, plan, paired=paired):
        _confirm(yes, as_json)
    begin(folder, plan)
    lock = _owned(folder)
    try:
        done = _run(folder, plan, paired, ray, trust_remote_code, say, screen=not as_json)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder.path} cannot be written: {error.strerror or error}",
            hint="what was saved is kept; the same command goes on with it",
            code="WRITE_REFUSED",
        ) from error
    finally:
        lock.release()
    raise typer.Exit(_end(folder, plan, done, say, as_json=as_json))


def _found(path: Path) -> Path:
    """The run file or the ablation that is meant: a path, or a name under ./runs. Raises
    InputError RUN_NOT_FOUND."""
    for place in (path.expanduser(), RUNS / path):
        if is_ablation(place) or place.is_file():
            return place
        if is_run(place):
            return place / "run.toml"
    if path.suffix == ".toml":  # its absence is told where it is read
        return path
    return find_run(path) / "run.toml"


def _owned(folder: AblationFolder) -> Lock:
    """Nobody else works on it. Raises InputError RUN_OWNED, WRITE_REFUSED."""
    try:
        return Lock.take(folder.path)
    except InputError as error:
        if error.code != "RUN_OWNED":
            raise
        hint = f"its cells as they stand: backprop-tui runs {folder.path / CELLS}"
        raise InputError(error.message, hint=hint, code=error.code) from error


def _run(
    folder: AblationFolder,
    plan: Ablation,
    paired: bool,
    ray: str | None,
    trust_remote_code: bool,
    say: Callable[[str], None],
    *,
    screen: bool,
) -> tuple[Field, Decision] | None:
    """On a terminal the table, else lines."""
    from backprop_tui.train.ablation.cells import Doing, Stopping
    from backprop_tui.train.ablation.runner import Say, run_cells

    shown = screen and sys.stdin.isatty() and sys.stdout.isatty()

    def work(stopping: Stopping, tell: Say) -> tuple[Field, Decision] | None:
        doing = Doing(folder, stopping, paired, trust_remote_code)
        if ray is None:
            return run_cells(doing, plan, tell, steps=not shown)
        from backprop_tui.train.ablation.on_ray import run_on_ray

        return run_on_ray(doing, plan, tell, ray)

    if shown:
        from backprop_tui.tui.ablation import show_ablation

        return show_ablation(folder, plan, work, paired=paired)
    with stop_asked("stopping after this step and saving; ctrl+c again quits at once") as stopping:
        return work(stopping, say)


def _end(
    folder: AblationFolder,
    plan: Ablation,
    done: tuple[Field, Decision] | None,
    say: Callable[[str], None],
    *,
    as_json: bool,
) -> int:
    """Show the result; the exit code."""
    rows = Table(folder, plan).rows()
    if done is None:
        say(f"stopped and saved; go on with it: backprop-tui ablate {printable(str(folder.path))}")
        return EXIT_STOPPED
    if as_json:
        from backprop_tui.train.ablation.judging import as_json as plain

        show_json(plain(folder, plan, *done))
    else:
        say("")
        for line in result_lines(folder, plan, rows, *done):
            say(printable(line))
    return EXIT_RUN if any(row.state == "failed" for row in rows) else EXIT_OK


def _default(run: RunFile) -> Path:
    """runs/ablate-METHOD-MODEL: the same for the same run file, so that it is gone on with."""
    return Path("runs") / f"ablate-{run.method}-{Path(run.model.id).name[:80] or 'model'}"


def _nothing_left(folder: AblationFolder, plan: Ablation, *, paired: bool) -> bool:
    """Whether there is only the result to show."""
    if not is_ablation(folder.path):
        return False
    base, *cells = (row.state for row in Table(folder, plan).rows())
    return all(state == ("scored" if paired else "trained") for state in cells) and (
        base == "scored" or not paired
    )


def _confirm(yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "nothing was begun: without a terminal there is nobody to ask",
            hint="begin it with --yes",
            code="ABLATION_NOT_CONFIRMED",
        )
    if not typer.confirm("Begin?", default=True):
        typer.echo("nothing was written", err=True)
        raise typer.Exit(EXIT_OK)


def _on_stderr(text: str) -> None:
    typer.echo(text, err=True)

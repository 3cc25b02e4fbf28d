"""`init`: write a run file without the wizard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli import data_options as options
from backprop_tui.cli.output import as_set, show_advice
from backprop_tui.core import runfile_io
from backprop_tui.core.effective import effective
from backprop_tui.core.errors import ConfigError, InputError
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import estimate
from backprop_tui.core.methods import METHODS
from backprop_tui.core.recommend import Recommendation, recommend
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile
from backprop_tui.core.runfile_problems import INVALID

if TYPE_CHECKING:
    from backprop_tui.probe.survey import Survey

SET_HELP = "Override a key of the run file: section.key=value. Repeatable."


def init_command(
    model: str = typer.Option(..., "--model", "-m", help="Folder, hub id or 'pocket'."),
    data: list[str] = typer.Option(
        ..., "--data", "-d", help="File, folder, hub id or 'pocket'. Repeat it for more files."
    ),
    method: str = typer.Option("auto", help=f"auto, {', '.join(METHODS)}."),
    output: Path = typer.Option(Path("run.toml"), "--output", "-o", help="File to write."),
    columns: list[str] = typer.Option([], "--column", help=options.COLUMN_HELP),
    labels: list[str] = typer.Option([], "--label", help=options.LABEL_HELP),
    shape: str | None = typer.Option(None, help=options.SHAPE_HELP),
    sets: list[str] = typer.Option([], "--set", help=SET_HELP),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write a run file without the wizard."""
    from backprop_tui.probe.survey import as_problems, survey

    if method != "auto" and method not in METHODS:
        raise InputError(
            f"--method {method}: not a method",
            hint=f"allowed: auto, {', '.join(METHODS)}",
            code=INVALID,
        )
    if os.path.lexists(output) and not force:  # before anything slow; `write` looks again
        raise InputError(
            f"{output} exists and is not overwritten",
            hint="choose another name with -o, or --force to replace it",
            code="RUNFILE_EXISTS",
        )
    named: dict[str, Any] = {"method": method, "model": {"id": model}, "data": {"path": data[0]}}
    named["data"] |= options.as_keys(data[1:], columns, labels, shape)
    run, recommended = _first(named, sets)
    found = survey(run)
    if recommended:
        advice = recommend(found.facts, _headroom(run, found))
        if advice.method is None:
            raise InputError(
                f"{run.data.path}: no method fits: "
                + " ".join(reason.text for reason in advice.reasons),
                hint=_way_out(advice, found),
                code="data-no-method",
            )
        named["method"] = advice.method
        for reason in advice.reasons:
            typer.echo(f"{advice.method}: {reason.text}", err=True)
    run = _planned(named, sets, _fitted(run, found.facts))[0]
    advice_on_it = survey(run).advice
    # A model's own code is trusted at each start, not when the file is written.
    blocking = [
        item
        for item in advice_on_it
        if item.level == "problem" and item.code != "model-remote-code"
    ]
    if blocking:
        raise ConfigError(f"{output} is not written", as_problems(blocking))
    runfile_io.write(run, output, overwrite=force)
    typer.echo(f"wrote {output.resolve()}", err=True)
    show_advice(advice_on_it, err=True)
    typer.echo(f"next: backprop-tui run {output}", err=True)


def _way_out(advice: Recommendation, found: Survey) -> str:
    """What would make the data usable, as far as anything is known that would."""
    ways = [f"--method {advice.runner_up}, if {advice.runner_up_when}"] if advice.runner_up else []
    for offer in found.facts.data.offers if found.facts.data else ():
        ways.append(f"{offer.text}: {' '.join(map(as_set, offer.changes))}")
    return "\n  ".join(ways)


def _first(named: dict[str, Any], sets: list[str]) -> tuple[RunFile, bool]:
    """The plan the world is read for, and whether its method is still to be recommended.

    Until it is, what is set in a method's own table has to wait.
    """
    if named["method"] != "auto":
        return _planned(named, sets)[0], False
    named["method"] = "orpo"
    own = tuple(f"{name}." for name in METHOD_SECTIONS)
    run, overrides = _planned(named, [item for item in sets if not item.strip().startswith(own)])
    if "method" not in overrides:
        return run, True
    return _planned(named, sets)[0], False


def _planned(
    named: dict[str, Any], sets: list[str], fitted: dict[str, Any] | None = None
) -> tuple[RunFile, dict[str, str]]:
    """A run file of what was named, the defaults that were fitted, and --set over both."""
    raw = {**named, "model": {**named["model"]}, "data": {**named["data"]}, "lora": {}}
    for key, value in (fitted or {}).items():
        section, _, name = key.partition(".")
        raw.setdefault(section, {})[name] = value
    return runfile_io.overridden(raw, Path("run file"), sets, {})


def _headroom(run: RunFile, found: Survey) -> float | None:
    """Share of the memory that the plan leaves free, fitted as it will be written."""
    import psutil

    run = runfile_io.change(run, _fitted(run, found.facts))
    plan = effective(run, found.facts, found.counts)
    memory = estimate(run, found.facts, plan, psutil.virtual_memory().available)
    return memory.headroom if memory else None


def _fitted(run: RunFile, facts: Facts) -> dict[str, Any]:
    """Defaults that follow from what is there."""
    changes: dict[str, Any] = {}
    context = facts.model.context if facts.model else None
    if context and context < run.data.max_length:
        changes["data.max_length"] = context
    if facts.gpu_card is None:
        changes["training.checkpointing"] = False  # it trades time for memory a CPU has
    return changes

"""`check`: judge a run file, and say what fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli.output import JSON_HELP, show_advice, show_error, show_json, show_table
from backprop_tui.cli.plan import SET_HELP
from backprop_tui.cli.probe import PROBE_HELP, probed, show_probed
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import EXIT_INPUT, ConfigError, InputError
from backprop_tui.core.rules import LEVELS
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import count, rate

if TYPE_CHECKING:
    from backprop_tui.probe.survey import Survey

NO_ROOM = "RUN_DOES_NOT_FIT"
ROUGH_HELP = "Estimate the memory roughly: quick, and good to about a third."
EXACT_HELP = "Estimate the memory exactly for the whole table: minutes, the first time."


def check_command(
    path: Path = typer.Argument(help="The run file."),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
    sets: list[str] = typer.Option([], "--set", help=SET_HELP),
    rough: bool = typer.Option(False, "--rough", help=ROUGH_HELP),
    exact: bool = typer.Option(False, "--exact", help=EXACT_HELP),
    probe: bool = typer.Option(False, "--probe", help=PROBE_HELP),
) -> None:
    """Judge a run file: problems, warnings, what training will really use, and what fits."""
    from backprop_tui.cli import check_memory
    from backprop_tui.probe.survey import survey

    if rough and exact:
        raise typer.BadParameter("--rough and --exact: give one of them")
    try:
        run, overrides = runfile_io.read(path, sets)
        found = survey(run, path=str(path))
    except ConfigError as error:
        if as_json:
            _refused([_problem(problem) for problem in error.problems])
        else:
            show_error(error)
        raise typer.Exit(EXIT_INPUT) from None
    except InputError as error:
        if not as_json:
            raise
        _refused([{"code": error.code, "field": "", "message": error.message, "source": ""}])
        raise typer.Exit(EXIT_INPUT) from None
    refused = any(item.level == "problem" for item in found.advice)
    # What cannot run anyway is refused at once.
    most = check_memory.ALL if exact else 0 if rough or refused else check_memory.FEW
    found, memory = check_memory.estimated(run, found, _output(run), most=most, of_table=exact)
    if probe and memory["fits"] is False and found.plan.device == "cpu":
        hint = "a machine that runs out of memory ends processes; make the plan smaller first"
        raise InputError(f"--probe is not tried: {memory['words']}", hint=hint, code=NO_ROOM)
    measured = probed(run) if probe and not refused else None
    if as_json:
        _show_json(run, found, overrides, memory, measured)
    else:
        _show_plan(run, found, overrides, path)
        check_memory.show(memory, with_table=exact, timed=measured is not None)
        if measured:
            show_probed(measured)
        show_advice(found.advice)
        if not found.advice:
            typer.echo("no problems, no warnings")
    if refused:
        raise typer.Exit(EXIT_INPUT)


def _refused(problems: list[dict[str, str]]) -> None:
    """The same shape of JSON, of a file that cannot be judged."""
    show_json({"problems": problems, "warnings": [], "notes": []})


def _show_json(
    run: RunFile,
    found: Survey,
    overrides: dict[str, str],
    memory: dict[str, Any],
    measured: dict[str, Any] | None,
) -> None:
    by_level = {
        f"{level}s": [_problem(item) for item in found.advice if item.level == level]
        for level in LEVELS
    }
    decided = {"effective": _effective(run, found), "overrides": overrides, "memory": memory}
    show_json({**by_level, **decided, **({"probe": measured} if measured else {})})


def _effective(run: RunFile, found: Survey) -> dict[str, Any]:
    """What training will really use."""
    plan, counts = found.plan, found.counts
    effective: dict[str, Any] = {
        "method": run.method,
        "learning_rate": plan.learning_rate,
        "learning_rate_reason": plan.rate.reason,
        "batch_size": plan.batch_size,
        "accumulation": plan.accumulation,
        "steps": plan.steps,
        "train_rows": counts.train,
        "heldout_rows": counts.heldout,
        "max_length": plan.max_length,
        "device": plan.device,
        "precision": plan.precision,
        "optimizer": plan.optimizer,
    }
    if run.kto:
        weights = plan.balance or run.kto
        effective["desirable_weight"] = weights.desirable_weight
        effective["undesirable_weight"] = weights.undesirable_weight
    return effective


def _show_plan(run: RunFile, found: Survey, overrides: dict[str, str], path: Path) -> None:
    plan = found.plan
    show_table(
        [
            ("run file", str(path.resolve())),
            ("method", run.method),
            ("rows", _rows(found)),
            ("rate", f"{rate(plan.learning_rate)} ({plan.rate.reason})"),
            ("batch", f"{plan.batch_size} x {plan.accumulation}, {count(plan.steps)} steps"),
            ("machine", f"{plan.device}, {plan.precision}, {plan.optimizer}"),
            ("output", str(_output(run))),
            *overrides.items(),
        ]
    )


def _rows(found: Survey) -> str:
    """Counts of the split. What is too long by itself is only known once it is tokenised."""
    counts = found.counts
    words = f"{count(counts.train)} to train, {count(counts.heldout)} held out"
    if any(item.code == "data-over-long" for item in found.advice):
        return f"up to {words}, less those that are too long"
    return words


def _output(run: RunFile) -> Path:
    from backprop_tui.train.folder import default_output

    return Path(run.output or default_output(run)).resolve()


def _problem(item: Any) -> dict[str, str]:
    return {
        "code": item.code,
        "field": item.field,
        "message": item.message,
        "source": item.source,
    }

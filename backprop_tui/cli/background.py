"""`resume`, and runs that no terminal owns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from backprop_tui.cli.requests import RUN, go_on
from backprop_tui.cli.run import DETACH_HELP, TRUST_HELP, headless
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import EXIT_OK
from backprop_tui.core.events import Finished
from backprop_tui.core.history import History
from backprop_tui.runs.launch import last_said, launch, said_so_far, took_up
from backprop_tui.runs.lock import owned, owner
from backprop_tui.runs.requests import ask
from backprop_tui.runs.state import as_typed, find_run, finished_already, read_state
from backprop_tui.runs.stream import Follower

if TYPE_CHECKING:
    from backprop_tui.core.runfile import RunFile


def resume_command(
    run: Path = RUN,
    detach: bool = typer.Option(False, "--detach", help=DETACH_HELP),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
) -> None:
    """Go on with a run: one that is paused, or from the newest checkpoint of one that ended."""
    folder = find_run(run)
    if (who := owner(folder)) is not None:
        if read_state(folder).state != "paused":
            ask(folder, "go_on")  # a pause that was asked for and has not begun
            raise owned(folder, who)
        raise typer.Exit(go_on(folder))
    # The environment of this moment has no say in a run that was decided on before.
    plan, _ = runfile_io.read(folder / "run.toml", (), {})
    if detach:
        refuse_finished(folder)
        raise typer.Exit(in_background(folder, trust_remote_code=trust_remote_code))
    plan = plan.model_copy(update={"output": str(folder.resolve())})
    raise typer.Exit(headless(plan, trust_remote_code=trust_remote_code, resume=folder))


def refuse_finished(folder: Path) -> None:
    """Here, where it is seen. InputError RUN_FINISHED."""
    history = History()
    for event in Follower(folder / "events.jsonl").read():
        history.add(event)
    if isinstance(history.ended, Finished) and not history.ended.stopped:
        raise finished_already(folder, history.ended)


def prepare(run: RunFile, overrides: dict[str, str], *, trust_remote_code: bool) -> Path:
    """Judge a plan here, where its refusals are seen, and make its run folder.

    Raises InputError, ConfigError.
    """
    from backprop_tui.core.runfile import ProvenanceSection
    from backprop_tui.probe.survey import refuse, resolved, survey
    from backprop_tui.train.folder import RunFolder, default_output

    refuse(survey(run, trust_remote_code=trust_remote_code), "run file")
    folder = RunFolder.create(Path(run.output or default_output(run)).expanduser().resolve())
    made = (run.provenance or ProvenanceSection()).model_copy(update={"overrides": overrides})
    folder.write_run_file(
        resolved(run).model_copy(update={"output": str(folder.path), "provenance": made})
    )
    return folder.path


def in_background(folder: Path, *, trust_remote_code: bool) -> int:
    """Start the process, wait until the run is its own, and say how to find it; the exit code."""
    before = said_so_far(folder)
    process = launch(folder, trust_remote_code=trust_remote_code)
    if not took_up(folder, process) and process.returncode != EXIT_OK:
        typer.echo(last_said(folder, before).strip(), err=True)
        return process.returncode if process.returncode > 0 else 128 - process.returncode
    name = as_typed(folder)
    typer.echo(f"{folder} is trained by process {process.pid}; no terminal owns it")
    typer.echo(f"  watch it: backprop-tui watch {name}")
    typer.echo(f"  stop it:  backprop-tui stop {name}")
    return EXIT_OK

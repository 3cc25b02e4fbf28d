"""`watch`: the monitor of a run, live or over, or its lines without a terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from backprop_tui.cli.output import show_table
from backprop_tui.cli.requests import RUN
from backprop_tui.cli.run import Printer, show_failure
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import EXIT_INTERRUPTED, EXIT_OK, InputError
from backprop_tui.core.events import Failed, Finished
from backprop_tui.core.history import History
from backprop_tui.core.lines import line
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.summary import summary
from backprop_tui.runs.state import find_run


def watch_command(
    run: Path = RUN,
) -> None:
    """Watch a run, live or over; leaving does not end it. Its exit code, 0 while it goes on."""
    folder = find_run(run)
    if sys.stdin.isatty() and sys.stdout.isatty():
        from backprop_tui.tui.watching import watch

        raise typer.Exit(watch(plan_of(folder), folder))
    raise typer.Exit(follow(folder))


def plan_of(folder: Path) -> RunFile:
    """The run file; without one, which the very first moments leave, an empty plan."""
    path = folder / "run.toml"
    return runfile_io.read(path, (), {})[0] if path.is_file() else RunFile()


def follow(folder: Path) -> int:
    """Plain lines until the run ends or is found to be interrupted; the exit code."""
    from backprop_tui.tui.last_words import way_on
    from backprop_tui.tui.watcher import EVERY, Watcher

    watcher, history, printer = Watcher(folder), History(), Printer()
    while printer.read:
        try:
            seen = watcher.look()
        except OSError as error:
            raise InputError(
                f"{folder} cannot be read: {error.strerror or error}",
                hint="only the user who started a run may look at it",
                code="RUN_UNREADABLE",
            ) from error
        for event in seen.events:
            history.add(event)
            if not isinstance(event, Failed) and (text := line(event)) is not None:
                printer(text)
        if not seen.owned:
            break
        time.sleep(EVERY)
    else:
        return EXIT_OK  # the reader left
    ended = history.ended
    if ended is None:
        where = f"at step {history.last.step}" if history.last else "before the first step"
        typer.echo(f"interrupted {where}: {way_on(folder)}", err=True)
        return EXIT_INTERRUPTED
    if isinstance(ended, Failed):
        show_failure(ended)
    elif isinstance(ended, Finished) and ended.path:
        printer("")
        show_table(summary(history))
    return ended.exit_code

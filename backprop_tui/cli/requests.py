"""`stop`, `save` and `pause`: what one asks of a run in another process, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import typer

from backprop_tui.cli.run import show_failure
from backprop_tui.core.control import ASKED
from backprop_tui.core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RUN
from backprop_tui.core.events import Continued, Event, Failed, Finished, Paused, Saved
from backprop_tui.core.history import History
from backprop_tui.core.lines import line
from backprop_tui.runs.lock import owner
from backprop_tui.runs.requests import ask
from backprop_tui.runs.state import as_typed, find_run
from backprop_tui.runs.stream import Follower

EVERY = 0.1  # seconds between two looks
RUN = typer.Argument(metavar="RUN", help="A run folder, or its name under ./runs.")
NO_WAIT = typer.Option(False, "--no-wait", help="Leave the request and return at once.")
Answer = Callable[[Event], str | None]  # what the event says of the request; None: nothing


def stop_command(run: Path = RUN, no_wait: bool = NO_WAIT) -> None:
    """Stop a run after the step in progress and save what was learned."""
    raise typer.Exit(request(find_run(run), "stop", _stopped, wait=not no_wait))


def save_command(run: Path = RUN, no_wait: bool = NO_WAIT) -> None:
    """Have a run write a checkpoint after the step in progress, and go on."""
    raise typer.Exit(request(find_run(run), "save", _saved, wait=not no_wait))


def pause_command(run: Path = RUN, no_wait: bool = NO_WAIT) -> None:
    """Have a run wait after the step in progress; `resume` lets it go on."""
    raise typer.Exit(request(find_run(run), "pause", _paused, wait=not no_wait))


def go_on(folder: Path) -> int:
    """Let a paused run go on; the exit code."""
    return request(folder, "go_on", _continued, wait=True)


def request(folder: Path, asked: str, answer: Answer, *, wait: bool) -> int:
    """Ask, and say what came of it; the exit code. ctrl+c leaves the request where it is."""
    follower, history = Follower(folder / "events.jsonl"), History()
    for event in follower.read():
        history.add(event)
    paused = history.paused if owner(folder) else None
    if paused and asked == "pause" and ASKED in paused.why:  # it is, already
        typer.echo(answer(paused))
        return EXIT_OK
    if paused and asked == "go_on" and ASKED not in paused.why:
        typer.echo(f"{answer(paused)}; it goes on by itself when that is over")
        return EXIT_OK
    ask(folder, asked)
    if not wait:
        typer.echo(f"asked; see what comes of it: backprop-tui watch {as_typed(folder)}")
        return EXIT_OK
    typer.echo("asked; it is done after the step in progress (ctrl+c: do not wait)", err=True)
    try:
        return _wait(folder, follower, answer)
    except KeyboardInterrupt:
        typer.echo("the request stays; the run will honour it", err=True)
        return EXIT_INTERRUPTED


def _wait(folder: Path, follower: Follower, answer: Answer) -> int:
    while True:
        runs = owner(folder) is not None  # before the events: the last one comes before the end
        for event in follower.read():
            if isinstance(event, Failed):
                show_failure(event)
                return event.exit_code
            if (said := answer(event)) is not None or isinstance(event, Finished):
                typer.echo(said or line(event))
                return EXIT_OK
        if not runs:
            typer.echo("error: the process of this run is gone", err=True)
            typer.echo(f"  go on with it: backprop-tui resume {as_typed(folder)}", err=True)
            return EXIT_RUN
        time.sleep(EVERY)


def _stopped(event: Event) -> str | None:
    if isinstance(event, Finished):
        return f"{line(event)}: {event.path}" if event.path else line(event)
    return None


def _saved(event: Event) -> str | None:
    if isinstance(event, Saved) and event.kind == "checkpoint":
        return f"saved at step {event.step}: {event.path}"
    return None


def _paused(event: Event) -> str | None:
    if isinstance(event, Paused):
        return f"paused at step {event.step}: {event.why}"
    return None


def _continued(event: Event) -> str | None:
    if isinstance(event, Continued):
        return f"goes on after step {event.step}"
    if isinstance(event, Paused):
        return f"still paused at step {event.step}: {event.why}"
    return None

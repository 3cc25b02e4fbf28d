"""`run`, `demo` and the wizard: the three ways to train."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from types import FrameType

import typer

from backprop_tui.cli.output import show_table
from backprop_tui.cli.plan import SET_HELP
from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Event, Failed, Finished
from backprop_tui.core.history import History
from backprop_tui.core.lines import line
from backprop_tui.core.redact import redact
from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.stream import Follower
from backprop_tui.train.distributed import Team

DEMO = Path(str(files("backprop_tui") / "demo" / "demo.toml"))
STOPPING = (signal.SIGINT, signal.SIGTERM)
LEAVE_LATER = 2.0  # seconds
TRUST_HELP = "Run code the model brings along. Read that code first; asked for each time."
DETACH_HELP = "Train in a process of its own, which goes on when this terminal is gone."


def run_command(
    path: Path = typer.Argument(help="The run file."),
    output: str | None = typer.Option(None, "--output", "-o", help="Run folder to create."),
    sets: list[str] = typer.Option([], "--set", help=SET_HELP),
    strict: bool = typer.Option(
        False, "--strict", help="Refuse when a replay would differ from the recorded run."
    ),
    trust_remote_code: bool = typer.Option(False, "--trust-remote-code", help=TRUST_HELP),
    detach: bool = typer.Option(False, "--detach", help=DETACH_HELP),
) -> None:
    """Train a run file without a screen: plain lines, the same run."""
    if detach and (strict or not Team.here().alone):
        raise typer.BadParameter(
            "a run of several processes, and one with --strict, is watched from its terminal",
            param_hint="--detach",
        )
    try:
        run, overrides = runfile_io.read(path, sets)
        if output is not None:
            run = runfile_io.change(run, {"output": output})
    except BackpropError as error:
        if Team.here().main:
            raise
        time.sleep(LEAVE_LATER)  # the main process says it, and is ended when this one leaves
        raise typer.Exit(error.exit_code) from None
    if detach:
        from backprop_tui.cli.background import in_background, prepare

        folder = prepare(run, overrides, trust_remote_code=trust_remote_code)
        raise typer.Exit(in_background(folder, trust_remote_code=trust_remote_code))
    raise typer.Exit(
        headless(run, overrides=overrides, strict=strict, trust_remote_code=trust_remote_code)
    )


def demo_command(
    output: str | None = typer.Option(None, "--output", "-o", help="Run folder to create."),
    sets: list[str] = typer.Option([], "--set", help=SET_HELP),
) -> None:
    """Train the bundled tiny model: in the wizard, or as plain lines without a terminal."""
    run, overrides = runfile_io.read(DEMO, sets)
    if output is not None:
        run = runfile_io.change(run, {"output": output})
    if sys.stdin.isatty() and sys.stdout.isatty():
        raise typer.Exit(_wizard(run))
    raise typer.Exit(headless(run, overrides=overrides))


def wizard_command() -> None:
    """Open the wizard."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(
            "The wizard needs a terminal. Without one: backprop-tui init, check and run "
            "(backprop-tui --help).",
            err=True,
        )
        raise typer.Exit(2)
    raise typer.Exit(_wizard(None))


def _wizard(run: RunFile | None) -> int:
    from backprop_tui.tui.app import run_app

    return run_app(run)


def headless(
    run: RunFile,
    *,
    overrides: dict[str, str] | None = None,
    strict: bool = False,
    trust_remote_code: bool = False,
    resume: Path | None = None,
) -> int:
    """Train in this thread and print plain lines; returns the exit code. resume: the folder of a
    run to go on with."""
    from backprop_tui.train.runner import train

    control, history, printer = Control(), History(), Printer()
    if resume is not None:  # the summary is of the whole run
        for event in Follower(resume / "events.jsonl").read():
            history.add(event)

    def emit(event: Event) -> None:
        history.add(event)
        if isinstance(event, Failed):
            show_failure(event)
        elif (text := line(event)) is not None:
            printer(redact(text))

    with _signals(control):
        ending = train(
            run,
            emit,
            control,
            overrides=overrides,
            strict=strict,
            trust_remote_code=trust_remote_code,
            resume=resume,
        )
        # Of several processes the main one is told what happened.
        if isinstance(ending, Finished) and history.ended and ending.path and printer.read:
            from backprop_tui.core.summary import summary

            with suppress(OSError):  # the terminal may go at any time
                show_table([("", ""), *summary(history)])
    return ending.exit_code


def show_failure(event: Failed) -> None:
    """What went wrong, on stderr."""
    lines = [f"error: {sentence}  [{event.code}]" for sentence in event.message.splitlines()]
    lines += [f"  {event.hint}"] if event.hint else []
    lines += [f"  log: {event.log}"] if event.log else []
    with suppress(OSError):  # the terminal may be gone; the run folder has the same words
        typer.echo(redact("\n".join(lines)), err=True)


class Printer:
    """Prints lines until nobody reads them any more; the training goes on without."""

    def __init__(self) -> None:
        self.read = True

    def __call__(self, text: str) -> None:
        """One flushed line, so that a pipe or a log file follows along."""
        if not self.read:
            return
        try:
            print(text, flush=True)  # noqa: T201 - this is where results are printed
        except OSError:  # the pipe was closed, or the terminal is gone
            self.read = False
            silence()


def silence(descriptor: int = 1) -> None:
    """Send further output nowhere, so that Python's own flush at exit cannot fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def _signals(control: Control) -> Iterator[None]:
    """First ctrl+c or SIGTERM: stop after this step and save. Second ctrl+c: quit now. SIGHUP: the
    terminal is lost, and the run goes on without it."""
    team = Team.here()
    again = b"; ctrl+c again quits at once" if team.alone else b""
    terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    pressed: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if pressed and number == signal.SIGINT:
            raise KeyboardInterrupt
        pressed.append(number)
        control.stop()
        if not team.main:
            return
        with suppress(OSError):  # the terminal may be gone
            # os.write: print is not safe inside a signal handler.
            os.write(2, b"stopping after this step and saving" + again + b"\n")

    def go_on(_number: int, _frame: FrameType | None) -> None:
        for descriptor in terminals:
            if not os.isatty(descriptor):  # it was one, and has been hung up
                silence(descriptor)

    asked = dict.fromkeys(STOPPING, ask)
    before = {
        number: signal.signal(number, handler)
        for number, handler in {**asked, signal.SIGHUP: go_on}.items()
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # A launcher that sees one process leave ends the others, which are leaving anyhow.
            signal.signal(number, handler if team.alone else signal.SIG_IGN)

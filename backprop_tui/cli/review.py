"""`review`: a verdict on a run, with its evidence and what to try next."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from backprop_tui.cli.output import JSON_HELP, show, show_json
from backprop_tui.cli.watch import plan_of
from backprop_tui.core.errors import BackpropError, InputError
from backprop_tui.core.history import History
from backprop_tui.core.plain import finite
from backprop_tui.core.printable import printable
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.trainer_log import read_log
from backprop_tui.core.verdict import Verdict, verdict
from backprop_tui.runs.requests import is_run
from backprop_tui.runs.state import find_run, read_state
from backprop_tui.runs.stream import Follower

STATE = "trainer_state.json"
LARGEST = 1 << 30  # bytes of a foreign log, which is read as a whole


@dataclass(frozen=True, slots=True)
class Read:
    """What there is to judge. state: "running", "finished", …; "log" of another trainer."""

    path: Path
    state: str
    history: History
    plan: RunFile | None


def review_command(
    run: Path = typer.Argument(
        metavar="RUN",
        help="A run folder, its name under ./runs, or a log of TRL or transformers: JSONL, "
        "trainer_state.json, or a folder with one.",
    ),
    heldout_rows: int | None = typer.Option(
        None, "--heldout-rows", min=1, help="Of a foreign log that does not say: held-out rows."
    ),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
) -> None:
    """Judge a run, live, over or killed: did it learn, the evidence, and what to try next."""
    read = read_run_or_log(run, heldout_rows)
    found = verdict(read.history, read.plan)
    if as_json:
        show_json(plain(read, found))
    else:
        show(printable("\n".join(text(read, found))))


def read_run_or_log(path: Path, heldout_rows: int | None = None) -> Read:
    """A run of this program, or a log of another. Raises InputError: RUN_NOT_FOUND,
    RUN_UNREADABLE, RUN_LOG_UNUSABLE."""
    given = path.expanduser()
    if given.is_dir() and not is_run(given):
        states = sorted(given.glob(f"*/{STATE}"), key=_step_of)
        given = next((one for one in (given / STATE, *reversed(states)) if one.is_file()), given)
    if not given.exists() or given.is_dir():
        return read_run(find_run(path))
    if given.name == "events.jsonl" and is_run(given.parent):
        return read_run(given.parent)
    return _log(given, heldout_rows)


def text(read: Read, found: Verdict) -> list[str]:
    """Lines: the verdict, its evidence, what to try."""
    so_far = " so far" if read.state in ("running", "paused") else ""
    lines = [f"{read.path.name} ({read.state}): {found.kind}{so_far}", found.sentence]
    if found.evidence:
        lines += [
            "",
            "Evidence (±: the standard error of the change)",
            *(f"  {item.text}" for item in found.evidence),
        ]
    lines += ["", "What to try next"]
    for item in found.next:
        lines += [f"  {item.text}", f"    source: {item.source}"]
    return lines


def plain(read: Read, found: Verdict) -> dict[str, Any]:
    """The same for JSON; a number that is not finite becomes null."""
    return {
        "path": str(read.path.resolve()),
        "state": read.state,
        "verdict": found.kind,
        "sentence": found.sentence,
        "evidence": [
            {"name": item.name, "text": item.text, **finite(item.figures)}
            for item in found.evidence
        ],
        "next": [{"text": item.text, "source": item.source} for item in found.next],
    }


def read_run(folder: Path) -> Read:
    """Every event of a run of this program. Raises InputError: RUN_NOT_FOUND, RUN_UNREADABLE."""
    state, history = read_state(folder), History()
    try:
        events = Follower(folder / "events.jsonl", whole=True).read()
    except OSError as error:
        raise _unreadable(folder, error) from error
    for event in events:
        history.add(event)
    try:
        plan = plan_of(folder) if (folder / "run.toml").is_file() else None
    except BackpropError:  # damaged: rank is then not among the evidence
        plan = None
    return Read(folder, state.state, history, plan)


def _log(path: Path, heldout_rows: int | None) -> Read:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise InputError(
                f"{path} is no log: a file of at most {LARGEST:,} bytes is allowed",
                hint="give a run folder, a JSONL log or a trainer_state.json",
                code="RUN_LOG_UNUSABLE",
            )
        with path.open(encoding="utf-8", errors="replace") as lines:
            history = read_log(lines, str(path), heldout_rows)
    except OSError as error:
        raise _unreadable(path, error) from error
    return Read(path, "log", history, None)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be read: {error.strerror or error}",
        hint="check its permissions",
        code="RUN_UNREADABLE",
    )


def _step_of(state: Path) -> int:
    """checkpoint-120 -> 120, so that the newest is found."""
    number = state.parent.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1

"""What a run is doing, read from its folder by any process."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import BackpropError, InputError
from backprop_tui.core.events import Evaluated, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.runs.ablation import CELLS, is_ablation
from backprop_tui.runs.lock import owner
from backprop_tui.runs.requests import is_run, not_found
from backprop_tui.runs.stream import Follower

RUNS = Path("runs")
State = Literal[
    "running", "paused", "finished", "stopped", "failed", "interrupted", "prepared"
]  # interrupted: nobody runs it and it has no end. prepared: nobody has begun


@dataclass(frozen=True, slots=True)
class RunState:
    """One run at this moment.

    method, model: "" where no file says. margin, accuracy: held-out, of the training rows before
    the first measurement; None where there is no such figure. eta: seconds, None unless running.
    updated: seconds since 1970, of the newest event. pid: of the process that runs it.
    """

    name: str
    path: Path
    state: State
    method: str
    model: str
    step: int
    steps: int | None
    margin: float | None
    accuracy: float | None
    eta: float | None
    updated: float
    pid: int | None


def find_run(run: Path) -> Path:
    """The folder of a run, from its path or its name under ./runs. InputError RUN_NOT_FOUND."""
    for folder in (run.expanduser(), RUNS / run):
        if is_run(folder):
            return folder
        if cells := sorted(path.name for path in _cells(folder)):
            raise InputError(
                f"{folder} is an ablation, not a run: its runs are {', '.join(cells)}.",
                hint=f"give one of them, for example {as_typed(folder / CELLS / cells[0])}",
                code="RUN_NOT_FOUND",
            )
    error = not_found(run)
    names = {path.name: path.relative_to(RUNS) for path in _folders(RUNS)}
    near = difflib.get_close_matches(run.name, names, 1)
    hint = f"did you mean {names[near[0]]}?" if near else error.hint
    raise InputError(error.message, hint=hint, code=error.code)


def finished_already(folder: Path, ended: Finished) -> InputError:
    """The error for resuming what came to its end."""
    return InputError(
        f"{folder}: this run has finished, at step {ended.step}.",
        hint=f"to do it again: {ended.replay}",
        code="RUN_FINISHED",
    )


def find_runs(root: Path) -> list[RunState]:
    """Every run in a folder, the newest first; of the folder itself where that is a run.

    The cells of an ablation are among them, named by the way to them. Folders of other users,
    which may not be read, are left out.
    """
    found = []
    for path in [root] if is_run(root) else [*_folders(root), *_cells(root)]:
        name = path.resolve().name if path == root else str(path.relative_to(root))
        try:
            found.append(replace(read_state(path), name=name))
        except BackpropError:
            continue
    return sorted(found, key=lambda state: state.updated, reverse=True)


def read_state(folder: Path) -> RunState:
    """The run of this folder. Raises InputError: RUN_NOT_FOUND, RUN_UNREADABLE."""
    if not is_run(folder):
        raise not_found(folder)
    # The owner first: what a run that has one does afterwards is in the events.
    who, history, events = owner(folder), History(), folder / "events.jsonl"
    try:
        found = Follower(events).read()
        updated = (events if events.exists() else folder).stat().st_mtime
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror or error}",
            hint="only the user who started a run may look at it",
            code="RUN_UNREADABLE",
        ) from error
    for event in found:
        history.add(event)
    state = _state(history, owned=who is not None, begun=bool(found))
    method, model = _plan(folder, history)
    shown: Evaluated | Step | None = history.last
    if history.evaluations:
        shown = history.evaluations[-1]
    last, started = history.last, history.started
    return RunState(
        name=folder.resolve().name,
        path=folder,
        state=state,
        method=method,
        model=Path(model).name,
        step=last.step if last else 0,
        steps=last.steps if last else started.steps if started else None,
        margin=shown.margin if shown else None,
        accuracy=shown.accuracy if shown else None,
        eta=history.eta if state == "running" else None,
        updated=updated,
        pid=who.pid if who else None,
    )


def as_typed(folder: Path) -> str:
    """A run as one would type it here, for a shell: its name under ./runs, or its path."""
    try:
        shown = folder.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        return shlex.quote(str(folder))
    plain = shown.parent == RUNS and not os.path.lexists(shown.name)
    return shlex.quote(shown.name if plain else str(shown))


def _folders(root: Path) -> Iterator[Path]:
    """The runs in a folder, those of its ablations included."""
    for folder in _inside(root):
        if is_run(folder):
            yield folder
        else:
            yield from _cells(folder)


def _cells(folder: Path) -> Iterator[Path]:
    """The runs of an ablation; none where it is no ablation."""
    if is_ablation(folder):
        yield from (cell for cell in _inside(folder / CELLS) if is_run(cell))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _state(history: History, *, owned: bool, begun: bool) -> State:
    if owned:
        return "paused" if history.paused else "running"
    if history.ended is None:
        return "interrupted" if begun else "prepared"
    if isinstance(history.ended, Finished):
        if history.ended.stopped and not history.ended.path:  # before there was anything to save
            return "interrupted"
        return "stopped" if history.ended.stopped else "finished"
    return "failed"


def _plan(folder: Path, history: History) -> tuple[str, str]:
    """Method and model, from the events or else from the run file."""
    if history.started:
        return history.started.method, history.started.model
    try:
        run, _ = runfile_io.read(folder / "run.toml", (), {})
    except BackpropError:
        return "", ""
    return run.method, run.model.id

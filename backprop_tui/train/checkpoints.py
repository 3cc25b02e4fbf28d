"""Checkpoints: each is on disk whole or not at all; the newest two are kept, and the best one.

A checkpoint is the library's own (weights, optimizer, schedule, random numbers, state), written
into `.writing`, made durable and renamed. `run_state.json` in it holds what is ours.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backprop_tui.core.disk import KEPT
from backprop_tui.core.events import Evaluated, from_line, to_line
from backprop_tui.core.guards import better
from backprop_tui.core.runfile_guards import Watch

PREFIX = "checkpoint-"
WRITING, REPLACED, REMOVED = ".writing", ".replaced", ".removed"
STATE, LIBRARY_STATE = "run_state.json", "trainer_state.json"
PICKLED = "training_args.bin"  # the library leaves it, nothing reads it, and it is a pickle


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run knows at a checkpoint beside the library's state.

    tokens, rows: cumulative, as in Step. evaluated_at: the step last measured, None before the
    first time. evaluated: the held-out figures of this very step. order_batch: rows of a batch
    when the order of the rows was drawn; a batch made smaller since keeps the order. plan: the keys
    that decide the figures, and their values. files: name -> bytes, so that damage is known.
    """

    step: int
    tokens: int = 0
    rows: int = 0
    evaluated_at: int | None = None
    evaluated: Evaluated | None = None
    order_batch: int | None = None
    plan: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> str:
        """Text for run_state.json."""
        evaluated = to_line(self.evaluated) if self.evaluated else None
        return json.dumps({**asdict(self), "evaluated": evaluated}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """ValueError, TypeError: it is none."""
        plain = json.loads(text)
        event = from_line(plain["evaluated"]) if plain.get("evaluated") else None
        return cls(**{**plain, "evaluated": event if isinstance(event, Evaluated) else None})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is whole."""

    path: Path
    state: RunState

    @property
    def step(self) -> int:
        return self.state.step


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The folder of a run's checkpoints. watch: the held-out figure that tells which is best."""

    folder: Path
    watch: Watch

    @property
    def writing(self) -> Path:
        """Where the next one grows."""
        return self.folder / WRITING

    def whole(self) -> list[Checkpoint]:
        """Every whole one, oldest first. One with a missing or shorter file is not."""
        found = (_read(path) for path in self.folder.glob(f"{PREFIX}*"))
        return sorted((one for one in found if one), key=lambda one: one.step)

    def newest(self) -> Checkpoint | None:
        """What a run goes on from."""
        return next(reversed(self.whole()), None)

    def at(self, step: int) -> Checkpoint | None:
        """The one of a step."""
        return next((one for one in self.whole() if one.step == step), None)

    def best(self) -> Checkpoint | None:
        """The one whose held-out figures are best; None where none was measured."""
        best: Checkpoint | None = None
        for one in self.whole():
            new, old = one.state.evaluated, best.state.evaluated if best else None
            if new and (old is None or better(new, old, self.watch)):
                best = one
        return best

    def clear(self) -> None:
        """Remove what a write left that did not come to its end.

        What was to be replaced, by something that did not take its place, comes back.
        """
        old = next((path for path in self.folder.glob(f"{REPLACED}/*") if path.is_dir()), None)
        if old is not None:
            target = (self.folder if old.name.startswith(PREFIX) else self.folder.parent) / old.name
            if not target.exists():
                old.rename(target)
        for name in (WRITING, REPLACED, REMOVED):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def commit(self, state: RunState) -> Path:
        """What lies in `.writing` becomes the checkpoint of state.step. OSError: the disk."""
        made = self.writing / f"{PREFIX}{state.step}"
        (made / PICKLED).unlink(missing_ok=True)
        files = {str(file.relative_to(made)): file.stat().st_size for file in _files(made)}
        files.pop(STATE, None)
        whole = RunState(**{**_fields(state), "files": files})
        (made / STATE).write_text(whole.as_json(), encoding="utf-8")
        target = self.folder / made.name
        swap(made, target, self.folder / REPLACED)
        self.clear()
        return target

    def rotate(self) -> None:
        """Keep the newest ones and the best; called once the new one is whole."""
        whole, best = self.whole(), self.best()
        for old in whole[:-KEPT]:
            if best is None or old.step != best.step:
                # Renamed first: half of a checkpoint must not look like one.
                gone = self.folder / REMOVED
                old.path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)


def swap(made: Path, target: Path, aside: Path) -> None:
    """Put a finished folder in the place of another, or of none, durably.

    Until the rename the old one is in its place; killed in between, `clear` puts it back.
    """
    sync(made)
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        target.rename(aside / target.name)
    made.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync(folder: Path) -> None:
    """Return when all of it is on the disk. OSError: it did not fit."""
    for file in _files(folder):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        sync_folder(path)


def sync_folder(path: Path) -> None:
    """Return when the names in it are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _fields(state: RunState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in RunState.__slots__}


def _read(path: Path) -> Checkpoint | None:
    """The checkpoint in a folder, or None: not whole, or foreign."""
    try:
        state = RunState.from_json((path / STATE).read_text(encoding="utf-8"))
        sizes = {name: (path / name).stat().st_size for name in state.files}
        if LIBRARY_STATE in state.files:
            json.loads((path / LIBRARY_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if sizes != state.files or path.name != f"{PREFIX}{state.step}":
        return None
    return Checkpoint(path, state)

"""The run folder: run.toml, events.jsonl, run.log, checkpoints/, adapter/."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError, RunError
from backprop_tui.core.events import Event
from backprop_tui.core.redact import redact
from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.event_file import EventFile
from backprop_tui.runs.lock import Lock
from backprop_tui.train.card import write_card
from backprop_tui.train.checkpoints import REPLACED, WRITING, swap
from backprop_tui.train.distributed import Team

LONGEST_NAME = 100  # characters of a model's name in a folder's


@dataclass(slots=True)
class RunFolder:
    """Paths of one run, and its event stream.

    writes: off in the processes that train along with the main one, which alone writes.
    """

    path: Path
    writes: bool = True
    _file: EventFile | None = None
    _lock: Lock | None = None

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make the folder (0700). Refuses one that exists: nothing is overwritten."""
        if os.path.lexists(path):
            raise _exists(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:  # made by another run in the meantime
                raise _exists(path) from None
            (path / "events.jsonl").touch(mode=0o600)
        except OSError as error:
            raise InputError(
                f"output: {path} cannot be created: {error.strerror or error}",
                hint="choose a folder you may write to with --output",
                code="WRITE_REFUSED",
            ) from error
        return cls(path)

    @property
    def run_file(self) -> Path:
        """The run file as it was run, with provenance."""
        return self.path / "run.toml"

    @property
    def events(self) -> Path:
        """One JSON line an event."""
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the libraries said, and tracebacks; the main process alone says something."""
        return self.path / "run.log" if self.writes else Path(os.devnull)

    @property
    def checkpoints(self) -> Path:
        """Whole training states."""
        return self.path / "checkpoints"

    def weights(self, *, lora: bool) -> Path:
        """Where the result goes: an adapter, or a whole model after full fine-tuning."""
        return self.path / ("adapter" if lora else "model")

    def own(self) -> None:
        """Be its one owner from here on. InputError: another process runs it."""
        self._lock = Lock.take(self.path)
        self._file = EventFile(self.events)

    def still_there(self) -> None:
        """RunError: the folder was renamed or removed; what is written now would be lost."""
        if self._lock is not None and not self._lock.still_in(self.path):
            raise RunError(
                f"The run folder {self.path} was renamed or removed while it was running.",
                hint="put it back under that name, and backprop-tui resume goes on",
                code="RUN_IO",
            )

    def append(self, event: Event) -> None:
        """Write one event and flush it. Safe from any thread."""
        if self._file is not None:
            self._file.append(event)

    def close(self) -> None:
        """Somebody else may run it."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()
        self._file = self._lock = None

    def write_run_file(self, run: RunFile) -> None:
        """Record the run as it was made, provenance included."""
        if self.writes:
            runfile_io.write(run, self.run_file, overwrite=True)

    def note(self, text: str) -> None:
        """Add to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(redact(text))

    def save(self, trainer: Any, run: RunFile) -> Path:
        """Write what was learned, whole; every process calls it, since each may hold a part.

        What an earlier part of the run had left in its place is replaced.
        """
        weights = self.weights(lora=run.lora is not None)
        model = trainer.accelerator.unwrap_model(trainer.model)
        gathered = _gathered(trainer.model) if trainer.is_fsdp_enabled else None
        if self.writes:
            self.still_there()
            made = self.checkpoints / WRITING / weights.name
            model.save_pretrained(str(made), state_dict=gathered, safe_serialization=True)
            trainer.processing_class.save_pretrained(str(made))
            write_card(made, run)
            swap(made, weights, self.checkpoints / REPLACED)
        return weights


def make_folder(team: Team, path: Path) -> RunFolder:
    """A new folder for this run, made by the main process; the others are told its path."""
    made: RunFolder | None = None
    if team.main:
        made = RunFolder.create(path)
        made.own()
    path = team.share(path)
    return made or RunFolder(path, writes=False)


def find_folder(team: Team, path: Path) -> RunFolder:
    """The folder of an earlier run, to go on with it. InputError: another process does so."""
    found = RunFolder(path.resolve(), writes=team.main)
    if team.main:
        found.own()
    team.gather(None)
    return found


def _gathered(model: Any) -> dict[str, Any]:
    """The trained weights of a sharded model, whole, on the CPU of the main process."""
    from torch.distributed.checkpoint import state_dict

    options = state_dict.StateDictOptions(
        full_state_dict=True, cpu_offload=True, ignore_frozen_params=True
    )
    found = state_dict.get_model_state_dict(model, options=options)
    for name in getattr(model, "all_tied_weights_keys", ()):  # a head that is the embedding too
        found.pop(name, None)
    return found


def _exists(path: Path) -> InputError:
    return InputError(
        f"output: {path} exists and is not overwritten",
        hint=f"choose another with --output, for example {free_name(path)}",
        code="OUTPUT_EXISTS",
    )


def default_output(run: RunFile) -> Path:
    """runs/METHOD-MODEL, numbered when that name is taken."""
    model = Path(run.model.id).name[:LONGEST_NAME] or "model"
    return free_name(Path("runs") / f"{run.method}-{model}")


def free_name(path: Path) -> Path:
    """The path itself when it is free, else with -2, -3, … appended."""
    if not os.path.lexists(path):
        return path
    number = 2
    while os.path.lexists(candidate := path.with_name(f"{path.name}-{number}")):
        number += 1
    return candidate

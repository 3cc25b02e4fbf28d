"""The run folder: run.toml, events.jsonl, run.log, checkpoints/, adapter/."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Event, to_line
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.card import write_card
from backprop_tui.train.distributed import Team


@dataclass(slots=True)
class RunFolder:
    """Paths of one run, and its event stream. Never an existing folder.

    writes: off in the processes that train along with the main one, which alone writes.
    """

    path: Path
    writes: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make the folder (0700). Refuses one that exists: nothing is overwritten."""
        if path.exists():
            raise _exists(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:  # made by another run in the meantime
                raise _exists(path) from None
            (path / "events.jsonl").touch()
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

    def append(self, event: Event) -> None:
        """Write one event and flush it. Safe from any thread."""
        if not self.writes:
            return
        with self._lock, self.events.open("a", encoding="utf-8") as file:
            file.write(to_line(event) + "\n")

    def write_run_file(self, run: RunFile) -> None:
        """Record the run as it was made, provenance included."""
        if self.writes:
            runfile_io.write(run, self.run_file, overwrite=True)

    def note(self, text: str) -> None:
        """Add to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)

    def save(self, trainer: Any, run: RunFile) -> Path:
        """Write what was learned, whole; every process calls it, since each may hold a part."""
        weights = self.weights(lora=run.lora is not None)
        model = trainer.accelerator.unwrap_model(trainer.model)
        gathered = _gathered(trainer.model) if trainer.is_fsdp_enabled else None
        if self.writes:
            model.save_pretrained(str(weights), state_dict=gathered, safe_serialization=True)
            trainer.processing_class.save_pretrained(str(weights))
            write_card(weights, run)
        return weights


def make_folder(team: Team, run: RunFile) -> RunFolder:
    """The folder of this run, made by the main process; the others are told its path."""
    made: RunFolder | None = None
    if team.main:
        made = RunFolder.create(Path(run.output or default_output(run)).resolve())
    path = team.share(made.path if made else Path())
    return made or RunFolder(path, writes=False)


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
    model = Path(run.model.id).name or "model"
    return free_name(Path("runs") / f"{run.method}-{model}")


def free_name(path: Path) -> Path:
    """The path itself when it is free, else with -2, -3, … appended."""
    if not path.exists():
        return path
    number = 2
    while (candidate := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate

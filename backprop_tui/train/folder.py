"""The run folder: run.toml, events.jsonl, run.log, checkpoints/, adapter/."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Event, to_line
from backprop_tui.core.runfile import RunFile


@dataclass(slots=True)
class RunFolder:
    """Paths of one run, and its event stream. Never an existing folder."""

    path: Path
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
        """What the libraries said, and tracebacks."""
        return self.path / "run.log"

    @property
    def checkpoints(self) -> Path:
        """Whole training states."""
        return self.path / "checkpoints"

    def weights(self, *, lora: bool) -> Path:
        """Where the result goes: an adapter, or a whole model after full fine-tuning."""
        return self.path / ("adapter" if lora else "model")

    def append(self, event: Event) -> None:
        """Write one event and flush it. Safe from any thread."""
        with self._lock, self.events.open("a", encoding="utf-8") as file:
            file.write(to_line(event) + "\n")

    def write_run_file(self, run: RunFile) -> None:
        """Record the run as it was made, provenance included."""
        runfile_io.write(run, self.run_file, overwrite=True)


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

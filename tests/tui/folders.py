"""Run folders as a run leaves them, and processes that own one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backprop_tui.core import runfile_io
from backprop_tui.core.events import Event, to_line
from backprop_tui.core.methods import MethodName
from backprop_tui.core.runfile import MachineSection, ModelSection, RunFile


def plan(method: MethodName = "simpo") -> RunFile:
    """What the histories are of."""
    return RunFile(
        method=method, model=ModelSection(id="pocket"), machine=MachineSection(device="cpu")
    )


def run_folder(path: Path, events: Iterable[Event], method: MethodName = "simpo") -> Path:
    """A folder with its run file and its events."""
    path.mkdir(parents=True)
    runfile_io.write(plan(method), path / "run.toml")
    add(path, events)
    return path


def add(folder: Path, events: Iterable[Event]) -> None:
    """What the owner of a run does."""
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(to_line(event) + "\n" for event in events)

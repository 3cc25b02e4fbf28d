"""A run of the wizard's plan as a process of its own, which no terminal owns."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.launch import launch


@dataclass(frozen=True, slots=True)
class Background:
    """A run that was started: its plan as it was written, its folder and its process."""

    run: RunFile
    folder: Path
    process: subprocess.Popen[bytes]


def start_in_background(run: RunFile) -> Background:
    """Make the run folder with the plan in it, and start a process that trains it.

    Raises InputError: OUTPUT_EXISTS or WRITE_REFUSED.
    """
    from backprop_tui.probe.survey import resolved
    from backprop_tui.train.folder import RunFolder, default_output

    folder = RunFolder.create(Path(run.output or default_output(run)).expanduser().resolve())
    run = resolved(run).model_copy(update={"output": str(folder.path)})
    folder.write_run_file(run)
    return Background(run, folder.path, launch(folder.path))

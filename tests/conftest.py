"""Shared fixtures: one finished run a method, trained once a session on the bundled model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: steadier and faster
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs a network
# Nothing of the user's cache is read or written.
os.environ["XDG_CACHE_HOME"] = (_cache := tempfile.TemporaryDirectory(prefix="cache-")).name

from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.events import Event, Failed, Finished
from backprop_tui.core.runfile import RunFile

# How long a case takes tells of the machine, not of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@dataclass
class DoneRun:
    """A training that has ended, its events in order, and its folder."""

    run: RunFile
    events: list[Event]
    ending: Finished | Failed
    folder: Path


def pocket_run(method: str, output: Path, changes: Mapping[str, Any] | None = None) -> RunFile:
    """A short run of the bundled model that takes a second or two."""
    plan: dict[str, Any] = {
        "method": method,
        "output": str(output),
        "model": {"id": "pocket"},
        "data": {"path": "pocket", "max_length": 128, "heldout": 0.05},
        "lora": {"rank": 4},
        "training": {
            "learning_rate": 1e-3,
            "lr_clamp": False,
            "max_steps": 4,
            "batch_size": 4,
            "accumulation": 1,
            "checkpointing": False,
            "eval_steps": 2,
            "save_steps": 2,
        },
    }
    return runfile_io.change(runfile_io.parse(plan), dict(changes or {}))


def run_training(run: RunFile, control: Control | None = None, **options: Any) -> DoneRun:
    """Train in this thread and collect the events."""
    from backprop_tui.train.runner import train

    events: list[Event] = []
    ending = train(run, events.append, control or Control(), **options)
    return DoneRun(run, events, ending, Path(run.output))


DONE = ("sft", "orpo", "simpo", "kto")


@pytest.fixture(scope="session")
def done_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DoneRun]:
    """One finished run of each method the wizard recommends."""
    folder = tmp_path_factory.mktemp("runs")
    return {method: run_training(pocket_run(method, folder / method)) for method in DONE}


@pytest.fixture(scope="session")
def moved_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished simpo run whose adapter writes other words than its base. Copy what you change."""
    folder = tmp_path_factory.mktemp("moved") / "simpo-pocket"
    done = run_training(pocket_run("simpo", folder, {"training.learning_rate": 2e-2}))
    assert isinstance(done.ending, Finished), done.ending
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-screenshots` draws screenshots/*.svg anew, from a demo run made then."""
    parser.addoption("--update-screenshots", action="store_true", help="rewrite screenshots/")

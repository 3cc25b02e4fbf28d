"""A killed run is taken up and comes to what the unbroken one did. The long form: make soak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak import adapter, demo, finish, joined, kill_and_resume, writing

STEPS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody kills."""
    folder = tmp_path_factory.mktemp("soak") / "whole"
    finish(demo(folder, STEPS))
    return folder


@pytest.mark.parametrize(
    ("when", "now", "least"),
    [
        ("inside a checkpoint", writing("checkpoint-"), 6),
        pytest.param("inside the final save", writing("adapter"), STEPS, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed(
    when: str, now: Callable[[Path], bool], least: int, whole: Path, tmp_path: Path
) -> None:
    told = kill_and_resume(tmp_path / "run", STEPS, when, now)
    assert told >= least, "killed before its moment"
    events = joined(tmp_path / "run")
    assert {event["event"] for event in events} == {"Step", "Evaluated", "Saved"}
    assert events == joined(whole)
    assert adapter(tmp_path / "run") == adapter(whole)

"""f8 at the review: the run becomes a process of its own, and the monitor shows its folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from backprop_tui.core.runfile_io import change, read
from backprop_tui.runs import launch
from backprop_tui.runs.lock import owner
from backprop_tui.tui.ending import Question, SummaryScreen
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.watch_screen import WatchScreen
from tests.tui.wizard_pilot import NARROW, WIDE, Wizard, wizard

# Owns the run of its last argument, is past three steps, and ends when it is asked to.
STAND_IN = """
import sys, time
from pathlib import Path
from backprop_tui.core.control import Control
from backprop_tui.core.events import to_line
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.requests import Listener
from tests.tui import histories
folder = Path(sys.argv[-1])
lock, control = Lock.take(folder), Control()
with Listener(folder, control, print), (folder / "events.jsonl").open("a") as file:
    for event in histories.training(upto=3):
        file.write(to_line(event) + "\\n")
    file.flush()
    while not control.stopping:
        time.sleep(0.02)
    for event in histories.ending(step=3, stopped=True):
        file.write(to_line(event) + "\\n")
lock.release()
"""
PLAN = change(new_plan(), {"model.id": "pocket", "data.path": "pocket"})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go below this folder, and another trainer is in the place of the real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, "-c", STAND_IN))
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)


async def at_review(it: Wizard) -> None:
    await it.until(lambda: it.app.facts.data and it.app.facts.model)
    await it.settled()
    await it.press("escape", "7")
    await it.shows("ready to start")


def screen(it: Wizard) -> WatchScreen:
    assert isinstance(it.app.screen, WatchScreen)
    return it.app.screen


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_started_watched_and_left(size: tuple[int, int]) -> None:
    async with wizard(size, run=PLAN) as it:
        await at_review(it)
        await it.shows("f8 Background", "f9 starts the training here, f8 in the background")
        await it.press("f8")
        await it.until(lambda: isinstance(it.app.screen, WatchScreen))
        folder = screen(it).folder
        await it.shows("step 3 of 240", "Leave")
        found = owner(folder)
        assert found is not None
        assert os.getsid(found.pid) == found.pid != os.getsid(0), "a terminal owns it"
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert read(folder / "run.toml", (), {})[0].model_dump(exclude={"output"}) == (
            it.app.plan.model_dump(exclude={"output"})
        )
        await it.press("ctrl+q")
        await it.until(lambda: not it.app.is_running)
    assert it.app.exit_code == 0
    assert it.app.last_words() == ["The run goes on. See it again: backprop-tui watch orpo-pocket"]
    assert owner(folder) == found
    assert not (folder / "control" / "stop").exists()
    os.kill(found.pid, 9)


async def test_stopped_from_the_monitor_and_back_to_the_plan() -> None:
    async with wizard(run=PLAN) as it:
        await at_review(it)
        await it.press("f8")
        await it.until(lambda: isinstance(it.app.screen, WatchScreen))
        await it.shows("step 3 of 240")
        await it.press("f4")
        await it.until(lambda: isinstance(it.app.screen, Question))
        await it.press("y")
        await it.until(lambda: isinstance(it.app.screen, SummaryScreen))
        await it.press("b")
        await it.shows("ready to start")
        await it.press("ctrl+q")


async def test_a_process_that_ends_at_once_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (sys.executable, "-c", "raise SystemExit('no such trainer')")
    monkeypatch.setattr(launch, "COMMAND", broken)
    async with wizard(run=PLAN) as it:
        await at_review(it)
        await it.press("f8")
        await it.until(lambda: isinstance(it.app.screen, WatchScreen))
        await it.shows("not begun", "no such trainer", "backprop-tui resume orpo-pocket")
        await it.press("ctrl+q")


async def test_a_folder_that_exists_is_refused() -> None:
    Path("taken").mkdir()
    async with wizard(run=change(PLAN, {"output": "taken"})) as it:
        await at_review_of_problem(it)
        await it.press("f8")
        assert not isinstance(it.app.screen, WatchScreen)
        assert list(Path("taken").iterdir()) == []


async def at_review_of_problem(it: Wizard) -> None:
    await it.until(lambda: it.app.facts.data and it.app.facts.model)
    await it.settled()
    await it.press("escape", "7")
    await it.shows("not ready")


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_over_ssh_the_review_says_which_of_the_two(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    async with wizard(size, run=PLAN) as it:
        await at_review(it)
        await it.shows("f9: here; it goes on when the connection drops, and ends when you quit.")
        await it.shows(
            "f8, best over SSH: in the background; leaving ends nothing, watch finds it."
        )


async def test_the_key_is_of_the_review_alone() -> None:
    async with wizard(run=PLAN) as it:
        await it.until(lambda: it.app.facts.data and it.app.facts.model)
        await it.settled()
        await it.press("f8")
        assert not isinstance(it.app.screen, WatchScreen)
        assert not Path("runs").exists()

"""`watch`: any run in the monitor, from its folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backprop_tui.core.events import Continued, Event, Paused, Resumed
from backprop_tui.runs.lock import Lock
from backprop_tui.tui.ending import Question, SummaryScreen
from backprop_tui.tui.help import HelpScreen
from backprop_tui.tui.panels.margin import MarginPanel
from backprop_tui.tui.watching import WatchApp
from tests.tui import histories
from tests.tui.folders import add, plan, run_folder

SMALL, WIDE = (80, 24), (120, 36)


def text_of(app: WatchApp) -> str:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(pilot: Pilot[int], found: Callable[[], bool], what: str) -> None:
    """Wait for a state, at most ten seconds."""
    app = pilot.app
    assert isinstance(app, WatchApp)
    for _ in range(200):
        await pilot.pause()
        if found():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came: {what}\n{text_of(app)}")


async def shows(pilot: Pilot[int], *words: str) -> None:
    """Wait until all of it is on the screen."""
    app = pilot.app
    assert isinstance(app, WatchApp)
    for each in words:
        await until(pilot, lambda each=each: each in text_of(app), each)  # type: ignore[misc]


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """This process works on the run."""
    lock = Lock.take(folder)
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def watching(
    folder: Path, size: tuple[int, int] = SMALL
) -> AsyncIterator[tuple[WatchApp, Pilot[int]]]:
    """The screen over a folder."""
    app = WatchApp(plan(), folder)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def asked(folder: Path) -> list[str]:
    """The requests that were left for the owner."""
    control = folder / "control"
    return sorted(os.listdir(control)) if control.is_dir() else []


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_a_live_run_is_followed_and_left(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=30))
    more = [event for event in histories.training(upto=40) if getattr(event, "step", 0) > 30]
    with owned(folder):
        async with watching(folder, size) as (app, pilot):
            await shows(pilot, "step 30 of 240", "f2 Save now", "f3 Pause", "^q Leave")
            add(folder, more)
            await shows(pilot, "step 40 of 240")
            await pilot.press("ctrl+q")
    assert app.return_code == 0
    assert asked(folder) == []
    [words] = app.last_words()
    assert words.endswith(f"backprop-tui watch {folder}")


@pytest.mark.parametrize("key", ["d", "f10", "ctrl+c"])
async def test_leaving_is_one_key(tmp_path: Path, key: str) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=3))
    with owned(folder):
        async with watching(folder) as (app, pilot):
            await shows(pilot, "step 3 of")
            await pilot.press(key)
            await until(pilot, lambda: not app.is_running, "the end")


async def test_keys_leave_requests(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=30))
    with owned(folder):
        async with watching(folder) as (app, pilot):
            await shows(pilot, "step 30 of 240")
            await pilot.press("f2")
            assert asked(folder) == ["save"]
            await pilot.press("f3")
            assert asked(folder) == ["pause", "save"]
            await shows(pilot, "pausing after this step", "f3 Go on")
            add(folder, [Paused(t=20, step=31, why="you asked for it")])
            await shows(pilot, "step 30 of 240   ‖ paused: you asked for it")
            assert " left" not in text_of(app)
            await pilot.press("f3")
            assert asked(folder) == ["go_on", "save"]
            add(folder, [Continued(t=25, step=31)])
            await shows(pilot, "f3 Pause", " left")
            await pilot.press("f4")
            await until(pilot, lambda: isinstance(app.screen, Question), "the question")
            await pilot.press("y")
            assert asked(folder) == ["go_on", "save", "stop"]
            await shows(pilot, "stopping after this step")


async def test_another_one_pauses(tmp_path: Path) -> None:
    paused = Paused(t=20, step=30, why="the card has 91 °C, more than 85")
    folder = run_folder(tmp_path / "run", [*histories.training(upto=30), paused])
    with owned(folder):
        async with watching(folder) as (app, pilot):
            await shows(pilot, "paused: the card has 91 °C, more than 85", "f3 Go on")
            assert "f3 Pause" not in text_of(app)


async def test_a_run_that_is_over_shows_how_it_ended(tmp_path: Path) -> None:
    end = [*histories.training(upto=240), *histories.ending()]
    folder = run_folder(tmp_path / "run", end)
    async with watching(folder) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        await shows(pilot, "✔ Finished")
        assert "Back to the plan" not in text_of(app)
        await pilot.press("b", "escape")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        for key in ("Save now", "Pause", "Stop", "Plan"):
            assert key not in text_of(app).splitlines()[-1]
        await pilot.press("q")
    assert app.return_code == 0
    assert any("Held-out margin" in words for words in app.last_words())


async def test_a_failed_run_gives_its_exit_code(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [*histories.training(upto=3), histories.failure()])
    async with watching(folder) as (app, pilot):
        await shows(pilot, "The run failed")
        await pilot.press("q")
    assert app.return_code == histories.failure().exit_code != 0


async def test_a_killed_run_says_how_to_take_it_up_and_goes_live_again(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=30))
    async with watching(folder) as (app, pilot):
        await shows(pilot, "interrupted at step 30 of 240", f"backprop-tui resume {folder}"[:60])
        assert "elapsed" not in text_of(app)
        await pilot.press("f2", "f3", "f4")
        assert app.screen is app.monitor
        assert asked(folder) == []
        assert app.last_words() == [
            f"The run was interrupted at step 30. Take it up: backprop-tui resume {folder}"
        ]
        with owned(folder):
            again = [event for event in histories.training(upto=22) if step_of(event) > 20]
            add(folder, [Resumed(t=40, step=20, checkpoint="checkpoints/checkpoint-20"), *again])
            await shows(pilot, "step 22 of 240", "elapsed", "resumed after step 20")
            assert "interrupted" not in text_of(app)
            margin = app.monitor.query_one(MarginPanel)
            assert max(x for trace in margin.traces.values() for x in trace.xs) == 22
            await pilot.press("f2")
            assert asked(folder) == ["save"]


def step_of(event: Event) -> int:
    return getattr(event, "step", 0)


async def test_a_stopped_run_that_is_taken_up_while_its_summary_is_open(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=30))
    async with watching(folder) as (app, pilot):
        with owned(folder):
            await shows(pilot, "step 30 of 240")
            await until(pilot, app.monitor.reachable, "the owner")
            await pilot.press("f4", "y")
            add(folder, histories.ending(step=30, stopped=True))
            await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        with owned(folder):
            again = [event for event in histories.training(upto=33) if step_of(event) > 30]
            add(folder, [Resumed(t=40, step=30, checkpoint="checkpoint-30"), *again])
            await until(pilot, lambda: app.screen is app.monitor, "the charts")
            await shows(pilot, "step 33 of 240")
            await pilot.press("f2")
            assert asked(folder) == ["save", "stop"]  # this owner can be asked, too


async def test_a_file_that_begins_anew_is_shown_anew(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=30))
    with owned(folder):
        async with watching(folder) as (app, pilot):
            await shows(pilot, "step 30 of 240")
            (folder / "events.jsonl").unlink()
            add(folder, histories.training(upto=5))
            await shows(pilot, "step 5 of 240")
            assert len(app.monitor.history.steps) == 5


async def test_help_names_the_keys_of_watching(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", histories.training(upto=3))
    with owned(folder):
        async with watching(folder, WIDE) as (app, pilot):
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen), "the help")
            await shows(pilot, "ctrl+q, d or f10", "pause after this step")


FOLLOW = """
import sys
from pathlib import Path
from backprop_tui.cli.watch import watch_command
import typer
try: watch_command(Path(sys.argv[1]))
except typer.Exit as end: sys.exit(end.exit_code)
"""


def lines(folder: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FOLLOW, str(folder)],
        cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip


def test_plain_lines_without_a_terminal_by_the_name_of_a_run(tmp_path: Path) -> None:
    stopped = histories.ending(step=30, stopped=True)
    run_folder(tmp_path / "runs" / "mine", [*histories.training(upto=30), *stopped])
    done = lines(Path("mine"), tmp_path)
    assert done.returncode == 4, done.stderr
    assert "step    24  train" in done.stdout
    assert "stopped and saved at step 30" in done.stdout


def test_plain_lines_of_an_interrupted_run(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a run", histories.training(upto=30))
    done = lines(folder, tmp_path)
    assert done.returncode == 130
    assert done.stderr == "interrupted at step 30: backprop-tui resume 'a run'\n"

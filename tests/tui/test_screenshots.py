"""The pictures in screenshots/ are what the screens really look like.

They are drawn from a real demo run: `make screenshots` trains the demo, keeps its events in
tests/data/demo_events.jsonl, and redraws. The test draws from those events and compares.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Input

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.events import Event, Finished, Started, Step, from_line, to_line
from backprop_tui.core.facts import Facts, GpuFacts
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.messages import RunEvent
from backprop_tui.tui.monitor import MonitorScreen
from backprop_tui.tui.row_view import RowViewScreen
from tests.conftest import run_training
from tests.tui.wizard_pilot import GB, WIDE, wizard

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "screenshots"
PAIRS = DEMO.with_name("pairs.jsonl")
EVENTS = ROOT / "tests" / "data" / "demo_events.jsonl"
OUTPUT = "/home/you/runs/demo"  # shown, never written to
FREE_RAM = 22 * GB
STEPS = ("machine", "model", "data", "method", "tuning", "memory", "review")
MOMENTS = {"monitor-1-start": 5, "monitor-2-middle": 47, "monitor-3-end": None}  # last step seen


@pytest.fixture(scope="module", autouse=True)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With --update-screenshots: train the demo, and keep what happened."""
    if not request.config.getoption("--update-screenshots"):
        return
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = run_training(runfile_io.change(demo_run(), {"output": str(folder)}))
    assert isinstance(done.ending, Finished)
    lines = [to_line(event).replace(str(folder), OUTPUT) for event in done.events]
    EVENTS.parent.mkdir(exist_ok=True)
    EVENTS.write_text("\n".join(lines) + "\n")


def demo_run() -> RunFile:
    run, _ = runfile_io.read(DEMO, env={})
    return runfile_io.change(run, {"output": OUTPUT})


def events() -> list[Event]:
    found = [from_line(line) for line in EVENTS.read_text().splitlines()]
    return [event for event in found if event is not None]


def still(app: App[int]) -> None:
    """No blinking cursor: a picture must not depend on when it was taken."""
    for field in app.screen.query(Input):
        field.cursor_blink = False


def compare(app: App[int], name: str, request: pytest.FixtureRequest) -> None:
    """Compare the screen with its picture, or rewrite the picture."""
    path = SCREENSHOTS / f"{name}.svg"
    drawn = app.export_screenshot(title="backprop-tui")
    if request.config.getoption("--update-screenshots"):
        path.write_text(drawn)
    assert path.exists(), "make screenshots draws it"
    assert drawn == path.read_text(), f"{path.name} is not what is drawn now; make screenshots"


@pytest.mark.parametrize("step", STEPS)
async def test_wizard_step(step: str, request: pytest.FixtureRequest) -> None:
    facts = Facts(gpu=GpuFacts(problem="No NVIDIA driver is installed on this machine."))
    async with wizard(WIDE, run=demo_run(), facts=facts) as shown:
        shown.app.free_ram = FREE_RAM
        shown.app.refresh_view()
        await shown.go(step)
        await shown.settled()
        still(shown.app)
        await shown.pilot.pause()
        compare(shown.app, f"step-{STEPS.index(step) + 1}-{step}", request)


async def test_rows_as_they_are_trained(request: pytest.FixtureRequest) -> None:
    run = runfile_io.change(demo_run(), {"data.max_length": 64})
    async with wizard(WIDE, run=run, facts=Facts(gpu=GpuFacts())) as shown:
        await shown.go("data")
        await shown.settled()
        await shown.press("f4")
        screen = shown.app.screen
        assert isinstance(screen, RowViewScreen)
        await shown.until(lambda: screen.look is not None)
        compare(shown.app, "data-rows", request)


async def test_columns_being_mapped(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "ratings.jsonl"
    rows = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    path.write_text(
        "\n".join(
            json.dumps({"topic": row["prompt"], "one": row["chosen"], "two": row["rejected"]})
            for row in rows[:30]
        )
    )
    columns = {"prompt": "topic", "chosen": "one", "rejected": "two"}
    changes = {"data.path": str(path), "data.columns": columns, "data.shape": "paired"}
    run = runfile_io.change(demo_run(), changes)
    async with wizard(WIDE, run=run, facts=Facts(gpu=GpuFacts())) as shown:
        await shown.go("data")
        await shown.settled()
        await shown.press("f3")
        await shown.shows("30 of 30 rows")
        compare(shown.app, "data-columns", request)


@pytest.mark.parametrize("moment", list(MOMENTS))
async def test_monitor_moment(moment: str, request: pytest.FixtureRequest) -> None:
    last = MOMENTS[moment]
    async with wizard(WIDE, run=demo_run(), facts=Facts(gpu=GpuFacts())) as shown:
        # The clock stands still: elapsed time is what the events say.
        screen = MonitorScreen(demo_run(), Control(), clock=lambda: 0.0)
        await shown.app.push_screen(screen)
        for event in events():
            screen.post_message(RunEvent(event))
            if isinstance(event, Step) and event.step == last:
                break
        await shown.pilot.pause()
        screen.draw()
        await shown.pilot.pause()
        compare(shown.app, moment, request)


def test_the_recorded_run_learned() -> None:
    found = events()
    assert isinstance(found[-1], Finished)
    started = next(event for event in found if isinstance(event, Started))
    assert started.heldout_rows == 80
    assert replace(started, t=0.0).method == "simpo"

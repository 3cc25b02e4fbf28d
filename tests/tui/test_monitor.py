"""The monitor in every state of a run, driven by the messages the trainer posts."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from backprop_tui.core.events import Event, Step
from backprop_tui.core.methods import MethodName
from backprop_tui.tui.ending import FailureScreen, SummaryScreen
from backprop_tui.tui.panels.panel import Panel
from backprop_tui.tui.panels.reading import ReadingPanel
from tests.tui import histories
from tests.tui.monitor_harness import MonitorHarness

WIDE, SMALL = (120, 36), (80, 24)
BOTH = pytest.mark.parametrize("size", [WIDE, SMALL], ids=["120x36", "80x24"])


def text_of(app: MonitorHarness) -> str:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(pilot: Pilot[None], found: Callable[[], bool], what: str = "") -> None:
    """Wait for a state, at most ten seconds."""
    app = pilot.app
    assert isinstance(app, MonitorHarness)
    for _ in range(200):
        await pilot.pause()
        if found():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came: {what}\n{text_of(app)}")


@asynccontextmanager
async def watching(
    events: Iterable[Event],
    *,
    method: MethodName = "simpo",
    size: tuple[int, int] = WIDE,
    cuda: bool = False,
) -> AsyncIterator[tuple[MonitorHarness, Pilot[None]]]:
    """The monitor of a run so far, drawn."""
    app = MonitorHarness(method, cuda=cuda)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen is app.monitor, "the monitor")
        given = list(events)
        app.post(given)
        await settled(pilot, app, given)
        yield app, pilot


async def settled(pilot: Pilot[None], app: MonitorHarness, given: list[Event]) -> None:
    """All events are taken in and drawn."""
    steps = sum(isinstance(event, Step) for event in given)
    await until(pilot, lambda: len(app.monitor.history.steps) >= steps, "the steps")
    app.monitor.draw()
    await pilot.pause()


def shows(app: MonitorHarness, *words: str) -> None:
    text = text_of(app)
    missing = [word for word in words if word not in text]
    assert not missing, f"missing {missing} on\n{text}"


def reads(app: MonitorHarness, words: str) -> None:
    """The sentence holds these words, and all of it is visible in its panel."""
    panel = app.monitor.query_one(ReadingPanel)
    assert words in panel.sentence
    area = panel.content_region
    lines = text_of(app).splitlines()[area.y : area.bottom]
    assert " ".join(" ".join(line[area.x : area.right] for line in lines).split()) == panel.sentence


@BOTH
async def test_before_the_first_step_the_stage_and_the_time_stand_there(
    size: tuple[int, int],
) -> None:
    async with watching(histories.preparing()[:2], size=size) as (app, pilot):
        shows(app, "simpo · pocket", "loading the model", "after the first step", "0 %")
        reads(app, "Preparing: loading the model.")
        await until(pilot, lambda: "0:02 elapsed" in text_of(app), "the clock going on")


@BOTH
async def test_a_few_steps_show_figures_and_no_promise(size: tuple[int, int]) -> None:
    async with watching(histories.training(upto=3), size=size) as (app, _):
        shows(app, "step 3 of 240", "● held-out +0.02", "● held-out 51 %")
        reads(app, "Too early to tell.")


@BOTH
async def test_a_warning_stands_in_the_log_with_its_code(size: tuple[int, int]) -> None:
    events = [*histories.training(upto=3), histories.warned(t=8)]
    async with watching(events, size=size) as (app, _):
        shows(app, "▲ warning simpo-lr-clamped: The learning rate 1e-05 was lowered to")


async def test_a_loss_that_is_not_a_number_is_said_and_breaks_nothing() -> None:
    events = list(histories.training(upto=30))
    last = next(event for event in reversed(events) if isinstance(event, Step))
    events.append(dataclasses.replace(last, step=31, loss=math.nan, margin=math.nan))
    async with watching(events) as (app, _):
        shows(app, "train not a number")
        reads(app, "The loss is not a number at step 31")


@BOTH
async def test_the_end_is_a_summary_and_enter_goes_back_to_the_charts(
    size: tuple[int, int],
) -> None:
    events = [*histories.training(upto=240), *histories.ending()]
    async with watching(events, size=size) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        await pilot.pause()
        shows(
            app,
            "✔ Finished",
            "Verdict",
            "Learned: train margin +",
            "565 trained on, 63 held out",
            "12 rows: 4 identical sides, 8 answer too long",
            "+0.02 → +0.63",
            "51 % → 87 %",
            "1:18, 3,933 tokens/s, 13.3 pairs/s",
            "runs/simpo-pocket/adapter",
            "backprop-tui run runs/simpo-pocket/run.toml",
        )
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        shows(app, "✔ finished", "100 %", "1:19 elapsed", "Summary")
        assert "left" not in text_of(app).splitlines()[1]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary again")
        await pilot.press("q")
        await until(pilot, lambda: app.return_code == 0 and not app._running, "the exit")


@BOTH
async def test_a_failure_says_what_to_do_and_where_the_log_is(size: tuple[int, int]) -> None:
    events = [*histories.training(upto=120), histories.failure()]
    async with watching(events, size=size) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, FailureScreen), "the failure")
        await pilot.pause()
        shows(app, "✖ The run failed", "The card ran out of memory at step 120", "What to do")
        shows(app, "Lower data.max_length to 768", "runs/simpo-pocket/run.log", "RUN_OUT_OF_MEMORY")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        shows(app, "✖ failed")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app.return_code == 3, "the exit code of a failed run")


async def test_a_failure_before_the_first_step_is_readable_too() -> None:
    async with watching([*histories.preparing(), histories.failure(3.0)]) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, FailureScreen), "the failure")
        shows(app, "The card ran out of memory", "nothing")


async def test_panels_are_drawn_by_the_clock_and_not_by_the_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    redraw = Panel._build

    def counting(self: Panel) -> None:
        drawn.append(type(self).__name__)
        redraw(self)

    async with watching(histories.training(upto=5, steps=500)) as (app, pilot):
        app.monitor._timer.pause()
        monkeypatch.setattr(Panel, "_build", counting)
        app.post(event for event in histories.training(upto=500, steps=500))
        await until(pilot, lambda: len(app.monitor.history.steps) >= 505, "500 steps")
        assert drawn == []
        app.monitor.draw()
        assert sorted(drawn) == sorted(
            [
                "ProgressPanel",
                "MarginPanel",
                "RewardsPanel",
                "LossPanel",
                "AccuracyPanel",
                "MemoryPanel",
            ]
        )
        drawn.clear()
        app.monitor.draw()
        assert drawn == []


@pytest.mark.parametrize("plain", [False, True], ids=["signs", "ascii"])
async def test_resizing_moves_between_the_two_layouts(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPROP_TUI_ASCII", "1" if plain else "")
    async with watching(histories.training(upto=60)) as (app, pilot):
        shows(app, "Rewards, training rows", "In words")
        await pilot.resize_terminal(*SMALL)
        await until(pilot, lambda: "In words" not in text_of(app), "the small layout")
        await pilot.pause()
        shows(app, "Memory 1.2 GB, peak 1.3 GB", "step 60 of 240", "f4 Stop and save")
        shows(app, "step 48: held-out loss")
        await pilot.resize_terminal(*WIDE)
        await until(pilot, lambda: "In words" in text_of(app), "the large layout")
        if plain:
            charts = [panel for panel in app.monitor.query(Panel) if panel.id == "margin"]
            assert all(line.isascii() for line in str(charts[0]._lines).splitlines())


@BOTH
async def test_nothing_overlaps_or_is_cut(size: tuple[int, int]) -> None:
    """Every shown panel keeps its own cells, and no line of text is wider than its panel."""
    methods: tuple[MethodName, ...] = ("simpo", "kto", "sft")
    for method in methods:
        events = histories.training(method, upto=120, cuda=True)
        async with watching(events, method=method, size=size, cuda=True) as (app, _):
            shown = [
                item
                for item in app.monitor.query(Widget)
                if item.region.area and not item.children and item.id
            ]
            for i, one in enumerate(shown):
                for other in shown[i + 1 :]:
                    assert not one.region.overlaps(other.region), (one, other)
            for panel in app.monitor.query(Panel):
                if not panel.display:
                    continue
                for line in panel.lines(*panel.size):
                    assert sum(len(run.text) for run in line) <= panel.size.width, (panel, line)
                title = panel.border_title
                assert len(str(title)) <= panel.outer_size.width - 4 or size == SMALL

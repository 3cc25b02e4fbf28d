"""Pausing and going on in the monitor of a run in this program; what a run tells of itself."""

from __future__ import annotations

import pytest

from backprop_tui.core.events import Amended, Continued, Paused, Resumed, Saved
from backprop_tui.tui.panels.margin import MarginPanel
from tests.tui import histories
from tests.tui.test_monitor import SMALL, WIDE, shows, text_of, until, watching

BOTH = pytest.mark.parametrize("size", [WIDE, SMALL], ids=["120x36", "80x24"])


@BOTH
async def test_pause_and_go_on(size: tuple[int, int]) -> None:
    async with watching(histories.training(upto=30), size=size) as (app, pilot):
        shows(app, "f3 Pause", " left", "^q Quit")
        await pilot.press("f3")
        assert app.control.paused == "you asked for it"
        await until(pilot, lambda: "pausing after this step" in text_of(app), "the note")
        app.post([Saved(t=15, step=31, path="x", kind="checkpoint")])
        await pilot.pause()
        app.monitor.draw()
        shows(app, "pausing after this step", "f3 Go on")
        app.post([Paused(t=15, step=31, why="you asked for it")])
        await until(pilot, lambda: "paused: you asked for it" in text_of(app), "the pause")
        app.monitor.draw()
        await pilot.pause()
        assert "pausing" not in text_of(app).splitlines()[0]
        assert " left" not in text_of(app)
        await pilot.press("f3")
        assert app.control.paused == ""
        app.post([Continued(t=20, step=31)])
        await until(pilot, lambda: "f3 Pause" in text_of(app), "the key")
        app.monitor.draw()
        await pilot.pause()
        shows(app, " left")
        assert "paused" not in text_of(app).splitlines()[0]


async def test_a_pause_can_be_taken_back_before_it_comes() -> None:
    async with watching(histories.training(upto=30)) as (app, pilot):
        await pilot.press("f3", "f3")
        assert app.control.paused == ""
        await until(pilot, lambda: "f3 Pause" in text_of(app), "the key")
        assert "pausing" not in text_of(app).splitlines()[0]


async def test_pausing_waits_for_the_first_step() -> None:
    async with watching(histories.preparing()) as (app, pilot):
        await pilot.press("f3")
        assert app.control.paused == ""


@BOTH
async def test_a_pause_for_another_reason_stays(size: tuple[int, int]) -> None:
    async with watching(histories.training(upto=30), size=size) as (app, pilot):
        app.control.pause("temperature", "the card has 91 °C")
        app.post([Paused(t=15, step=30, why="the card has 91 °C")])
        await until(pilot, lambda: "paused: the card has 91 °C" in text_of(app), "the pause")
        await pilot.press("f3")
        assert app.control.paused == "the card has 91 °C"
        shows(app, "f3 Go on", "paused: the card has 91 °C")


async def test_what_was_amended_and_where_it_was_resumed_stands_in_the_log() -> None:
    changed = Amended(t=15, step=30, why="out of memory", changes={"training.batch_size": "2"})
    async with watching([*histories.training(upto=30), changed]) as (app, pilot):
        shows(app, "step 30: the plan was changed to training.batch_size = 2: out of memory")
        app.post([Resumed(t=16, step=24, checkpoint="checkpoints/checkpoint-24")])
        await until(pilot, lambda: "resumed after step 24, from" in text_of(app), "the log")
        curves = app.monitor.query_one(MarginPanel).traces.values()
        assert max(x for curve in curves for x in curve.xs) == 24
        assert [len(curve.xs) for curve in curves] == [24, 2]

"""The table of an ablation on screen: what it shows, and that nothing ends without a question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backprop_tui.core.decision import Decision
from backprop_tui.core.errors import InputError
from backprop_tui.runs.ablation_table import Row
from backprop_tui.tui.ablation import AblationApp
from backprop_tui.tui.cell_screen import CellScreen
from backprop_tui.tui.ending import EndScreen, Question
from tests.tui import histories
from tests.tui.ablations import SMALL, WIDE, Work, recorded, showing
from tests.tui.folders import run_folder

UNDER_WAY = [
    Row("base", "scored", right=39, n=80, margin=-0.01, clean=-0.06),
    Row("simpo-r8", "scored", 90, 90, 63, 80, 0.36, 0.77, 0.42, seconds=29.0),
    Row("simpo-r16", "running", 45, 90, train=0.31, seconds=20.0),
    Row("orpo-r8", "failed", 3, 90, seconds=2.0, why="The card ran out of memory."),
    Row("orpo-r16", "waiting"),
]


def text_of(app: AblationApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(app: AblationApp, pilot: Pilot[int], found: Callable[[], bool], what: str) -> None:
    for _ in range(200):
        await pilot.pause()
        if found():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never came: {what}\n{text_of(app)}")


async def shows(app: AblationApp, pilot: Pilot[int], *words: str) -> None:
    for each in words:
        await until(app, pilot, lambda each=each: each in text_of(app), each)  # type: ignore[misc]


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_a_line_a_cell_and_the_rule_until_it_is_decided(size: tuple[int, int]) -> None:
    async with showing(UNDER_WAY, Work(None), size) as (app, pilot):
        await shows(
            app,
            pilot,
            "2x2: objective x LoRA rank",
            "2 of 4 cells done · 3:11 elapsed · about 0:50 of training left",
            "✔ scored              63/80   +0.36   0.77   +0.42    0:29",
            "▸ step 45/90",
            "✖ failed",
            "○ waiting",
            "orpo-r8 failed: The card ran out of memory.",
            "one more held-out pair right",
            "[1/4] simpo-r8  begins",
            "Stop",
        )


async def test_a_cell_that_was_trained_is_being_scored_and_not_done() -> None:
    rows = [UNDER_WAY[0], UNDER_WAY[1], replace(UNDER_WAY[1], name="simpo-r16", state="trained")]
    async with showing(rows, Work(None)) as (app, pilot):
        await shows(app, pilot, "1 of 2 cells done", "▸ being scored")


async def test_the_decision_in_words_and_the_chosen_line() -> None:
    rows, decision = recorded()
    work = Work(decision)
    async with showing(rows, work) as (app, pilot):
        work.end.set()
        await shows(
            app, pilot, "decision: a winner", "▸ simpo-r16", "simpo-r16 wins: 80 of 80", "q Leave"
        )
        await shows(app, pilot, "; q leaves", "kept in ")
        await pilot.press("q")
        await until(app, pilot, lambda: not app.is_running, "the end")
    assert app.done is not None
    assert not work.stopped


async def test_no_decision_is_said_so() -> None:
    decision = Decision("no-decision", "simpo-r8", "No decision between the two.", ("Because.",))
    work = Work(decision)
    async with showing(UNDER_WAY, work) as (app, pilot):
        work.end.set()
        await shows(app, pilot, "decision: no decision", "No decision between", "· Because.")


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_leaving_asks_and_no_goes_on(key: str) -> None:
    work = Work(None)
    async with showing(UNDER_WAY, work) as (app, pilot):
        await shows(app, pilot, "waiting")
        await pilot.press(key)
        await until(app, pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("escape")
        await until(app, pilot, lambda: app.screen is app.table, "the table again")
        assert app.thread.is_alive()
        await pilot.press(key)
        await until(app, pilot, lambda: isinstance(app.screen, Question), "the question again")
        await pilot.press("y")
        await until(app, pilot, lambda: not app.is_running, "the end")
    assert work.stopped
    assert app.done is None


async def test_a_question_is_closed_by_the_end_it_was_asked_about() -> None:
    _, decision = recorded()
    work = Work(decision)
    async with showing(UNDER_WAY, work) as (app, pilot):
        await shows(app, pilot, "waiting")
        await pilot.press("q")
        await until(app, pilot, lambda: isinstance(app.screen, Question), "the question")
        work.end.set()
        await until(app, pilot, lambda: app.screen is app.table, "the table")
        await shows(app, pilot, "simpo-r16 wins")


async def test_what_the_work_raises_ends_the_screen_and_is_kept() -> None:
    class Broken(Work):
        def __call__(self, *_given: object) -> None:
            raise InputError("the folder is gone", code="WRITE_REFUSED")

    async with showing(UNDER_WAY, Broken(None)) as (app, pilot):
        await until(app, pilot, lambda: not app.is_running, "the end")
    assert isinstance(app.error, InputError)


async def test_enter_opens_the_monitor_of_a_cell_and_leaving_it_ends_nothing(
    tmp_path: Path,
) -> None:
    run_folder(tmp_path / "cells" / "simpo-r16", histories.training(upto=30))
    work = Work(None)
    async with showing(UNDER_WAY, work, folder=tmp_path) as (app, pilot):
        await shows(app, pilot, "waiting")
        await pilot.press("down", "enter")
        await until(app, pilot, lambda: isinstance(app.screen, CellScreen), "the monitor")
        await shows(app, pilot, "Reward margin")
        await pilot.press("escape")
        await until(app, pilot, lambda: app.screen is app.table, "the table")
        assert app.thread.is_alive()


async def test_the_summary_of_a_finished_cell_leads_back_to_the_table(tmp_path: Path) -> None:
    run_folder(tmp_path / "cells" / "simpo-r8", [*histories.training(upto=30), *histories.ending()])
    work = Work(None)
    async with showing(UNDER_WAY, work, folder=tmp_path) as (app, pilot):
        await shows(app, pilot, "waiting")
        await pilot.press("enter")
        await until(app, pilot, lambda: isinstance(app.screen, EndScreen), "the summary")
        await pilot.press("q")
        await until(app, pilot, lambda: app.screen is app.table, "the table")
        assert app.is_running


async def test_a_cell_that_has_not_begun_has_no_monitor(tmp_path: Path) -> None:
    async with showing(UNDER_WAY, Work(None), folder=tmp_path) as (app, pilot):
        await shows(app, pilot, "waiting")
        await pilot.press("down", "down", "down", "down", "enter")
        await shows(app, pilot, "orpo-r16 has not begun")
        assert app.screen is app.table


async def test_many_cells_scroll_and_the_marked_one_stays_in_view() -> None:
    many = [Row("base", "waiting"), *(Row(f"cell-{i}", "waiting") for i in range(40))]
    async with showing(many, Work(None)) as (app, pilot):
        await shows(app, pilot, "cell-0")
        await pilot.press(*(["down"] * 39))
        await shows(app, pilot, "cell-39")


async def test_a_long_name_is_cut_and_the_figures_stay() -> None:
    name = "simpo-learning_rate2.5e-05-beta2.5-gamma1.375-r16-s0"
    rows = [UNDER_WAY[0], replace(UNDER_WAY[1], name=name)]
    async with showing(rows, Work(None)) as (app, pilot):
        await shows(app, pilot, "63/80", "0:29", "simpo-learning_r…")


async def test_a_terminal_that_goes_ends_the_screen_not_the_work() -> None:
    work = Work(None)
    async with showing(UNDER_WAY, work) as (app, pilot):
        await shows(app, pilot, "waiting")
        app.lose_screen()
        await until(app, pilot, lambda: not app.is_running, "the end of the screen")
        assert app.thread.is_alive()
        assert not work.stopped
    app.thread.join(5)
    assert not app.thread.is_alive()

"""Keys of the monitor: saving, stopping and quitting, each asked for on purpose."""

from __future__ import annotations

import pytest
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Button

from backprop_tui.core.errors import EXIT_INTERRUPTED, EXIT_STOPPED
from backprop_tui.core.events import Saved
from backprop_tui.tui.ending import Question, SummaryScreen
from backprop_tui.tui.monitor import MonitorScreen
from backprop_tui.tui.panels.log import LogPanel
from tests.tui import histories
from tests.tui.test_monitor import shows, text_of, until, watching


@pytest.mark.parametrize("key", ["f2", "ctrl+s"])
async def test_save_now_asks_for_a_checkpoint_and_says_so(key: str) -> None:
    async with watching(histories.training(upto=30)) as (app, pilot):
        await pilot.press(key)
        assert app.control.take_save()
        await until(pilot, lambda: "checkpoint after this step" in text_of(app), "the note")
        app.post([Saved(t=16, step=31, path="runs/x/checkpoint-31", kind="checkpoint")])
        await until(
            pilot, lambda: "checkpoint after this step" not in text_of(app), "the end of it"
        )
        await until(pilot, lambda: "checkpoint-31" in text_of(app), "the log")
        assert not app.control.stopping


async def test_saving_waits_for_the_first_step() -> None:
    async with watching(histories.preparing()) as (app, pilot):
        await pilot.press("f2")
        assert not app.control.take_save()


@pytest.mark.parametrize("key", ["f4", "ctrl+x"])
@pytest.mark.parametrize("no", ["n", "escape", "enter", "ctrl+c"])
async def test_stopping_asks_and_no_is_the_default(key: str, no: str) -> None:
    async with watching(histories.training(upto=30), size=(80, 24)) as (app, pilot):
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.pause()
        shows(app, "Stop and save?", "usable adapter", "Keep training  (n)", "Stop and save  (y)")
        assert not app.control.stopping
        await pilot.press(no)
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        assert not app.control.stopping


@pytest.mark.parametrize("yes", [("y",), ("right", "enter"), ("tab", "enter")])
async def test_yes_stops_and_the_header_says_so(yes: tuple[str, ...]) -> None:
    async with watching(histories.training(upto=30), size=(80, 24)) as (app, pilot):
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press(*yes)
        await until(pilot, lambda: app.control.stopping, "the request")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        shows(app, "step 30 of 240", "stopping after this step…")
        await pilot.press("f4", "f2")
        assert app.screen is app.monitor
        assert not app.control.take_save()
        app.post(histories.ending(step=31, stopped=True))
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        await pilot.pause()
        shows(app, "✔ Stopped and saved", "30 of 240, stopped on request")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app.return_code == EXIT_STOPPED, "the exit code of a stop")


@pytest.mark.parametrize("key", ["ctrl+q", "ctrl+c"])
async def test_quitting_while_training_asks_then_stops_saves_and_leaves(key: str) -> None:
    async with watching(histories.training(upto=30), size=(80, 24)) as (app, pilot):
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.pause()
        shows(app, "Stop and save, then quit?", "Keep training")
        await pilot.press("n")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        assert not app.control.stopping
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Question), "the question again")
        await pilot.press("y")
        await until(pilot, lambda: app.control.stopping, "the request")
        assert app._running
        shows(app, "stopping after this step and saving…")
        app.post(histories.ending(step=31, stopped=True))
        await until(pilot, lambda: app.return_code == EXIT_STOPPED, "the exit")


@pytest.mark.parametrize(
    ("key", "title", "yes"),
    [("f4", "Stop?", "Stop  (y)"), ("ctrl+q", "Stop and quit?", "Stop and quit  (y)")],
)
async def test_before_the_first_step_no_question_promises_a_save(
    key: str, title: str, yes: str
) -> None:
    async with watching(histories.preparing(), size=(80, 24)) as (app, pilot):
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.pause()
        shows(app, title, "No step has been taken yet", yes)
        assert "save" not in str(app.screen.query_one("#yes", Button).label)


async def test_leaving_without_waiting_is_a_question_of_its_own() -> None:
    async with watching(histories.preparing()) as (app, pilot):
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("y")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: "Leave without waiting?" in text_of(app), "the second question")
        await pilot.press("y")
        await until(pilot, lambda: app.return_code == EXIT_INTERRUPTED, "the exit")


async def test_a_run_that_ends_under_a_question_closes_it() -> None:
    async with watching(histories.training(upto=240)) as (app, pilot):
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        app.post(histories.ending())
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.monitor, "the charts, not the question")
        assert not app.control.stopping


async def test_help_is_the_app_s_help() -> None:
    async with watching(histories.training(upto=3)) as (app, pilot):
        await pilot.press("f1")
        await until(pilot, lambda: app.helped, "the help")


async def test_the_footer_names_the_keys_that_work_now() -> None:
    async with watching([*histories.training(upto=240), *histories.ending()]) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, SummaryScreen), "the summary")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.monitor, "the charts")
        footer = text_of(app).splitlines()[-1]
        assert "Summary" in footer
        assert "^q Quit" in footer
        assert "Stop" not in footer
        assert "Save" not in footer


@pytest.mark.parametrize("screen", [MonitorScreen, Question, SummaryScreen])
def test_every_key_of_the_footer_has_an_id_and_a_tooltip(screen: type[Screen[object]]) -> None:
    keys = [item for item in screen.BINDINGS if isinstance(item, Binding)]
    assert any(item.show for item in keys)
    assert all(item.id and item.tooltip for item in keys if item.show)


async def test_the_log_follows_unless_the_user_scrolled_up() -> None:
    async with watching(histories.training(upto=240), size=(80, 24)) as (app, pilot):
        log = app.monitor.query_one(LogPanel)
        assert log.scroll_offset.y == log.max_scroll_y > 0
        await pilot.press("tab", "home")
        await until(pilot, lambda: log.scroll_offset.y == 0, "the top")
        shows(app, "reading 640 pairs")
        before = len(log.entries)
        app.post([histories.warned(t=90)])
        await until(pilot, lambda: len(log.entries) > before, "the warning")
        app.monitor.draw()
        assert log.scroll_offset.y == 0
        await pilot.press("end")
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y, "the end")
        shows(app, "keeps yours.")

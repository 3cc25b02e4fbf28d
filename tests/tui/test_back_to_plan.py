"""After an end: back to the plan, quitting, and what stays in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.events import Event, Failed, Finished, Preparing
from backprop_tui.core.history import History
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import FailureScreen, SummaryScreen
from backprop_tui.tui.last_words import last_words
from backprop_tui.tui.monitor import MonitorScreen
from backprop_tui.tui.wizard import WizardScreen
from tests.tui import histories
from tests.tui.test_story_training import PLAN, started
from tests.tui.wizard_pilot import wizard

REFUSED = Failed(
    t=1.0,
    code="OUTPUT_EXISTS",
    message="output: runs/x exists and is not overwritten",
    hint="choose another with --output, for example runs/x-2",
    log="",
    exit_code=1,
)
EMPTY = Finished(t=1.0, step=0, stopped=True, seconds=1, memory_peak=None, path="", replay="")


def ends_with(*events: Event) -> Callable[[RunFile, Callable[[Event], None], Control], None]:
    """A trainer that emits these and is done."""

    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        for event in events:
            emit(event)

    return train


@pytest.mark.parametrize("key", ["b", "ctrl+b"])
async def test_a_failed_run_leads_back_to_the_plan_and_starts_again(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, ends_with(REFUSED))
        await it.until(lambda: isinstance(it.app.screen, FailureScreen))
        await it.shows("choose another, for example runs/x-2 (step 5, output folder)", "Back to")
        await it.press(key)
        await it.until(lambda: isinstance(it.app.screen, WizardScreen))
        assert it.app.plan == PLAN
        assert it.app.control is None
        await started(it, monkeypatch, ends_with(*histories.training(upto=3), *histories.ending()))
        await it.until(lambda: isinstance(it.app.screen, SummaryScreen))
        assert isinstance(it.app.ending, Finished)
        await it.press("enter")
        await it.until(lambda: isinstance(it.app.screen, MonitorScreen))
        await it.press(key)
        await it.until(lambda: isinstance(it.app.screen, WizardScreen))


async def test_q_on_the_charts_leaves_once_the_run_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, ends_with(Preparing(t=0.0, stage="a"), EMPTY))
        await it.until(lambda: isinstance(it.app.screen, SummaryScreen))
        await it.shows("Stopped before the first step; nothing to save")
        await it.press("enter")
        await it.until(lambda: isinstance(it.app.screen, MonitorScreen))
        await it.press("q")
    assert it.app.exit_code == 130


def history(*events: Event) -> History:
    found = History()
    for event in events:
        found.add(event)
    return found


def test_the_last_words_are_the_summary_or_the_failure() -> None:
    ended = [*histories.training(upto=240), *histories.ending()]
    lines = last_words(history(*ended), history(*ended).ended)
    assert ["Adapter", "runs/simpo-pocket/adapter"] in [line.split() for line in lines]
    failed = last_words(history(REFUSED), REFUSED)
    assert failed[0].startswith("The run failed: output: runs/x exists")
    assert "choose another" in failed[1]
    assert last_words(history(EMPTY), EMPTY) == ["Stopped before the first step; nothing to save."]
    assert last_words(None, None) == []


def test_the_app_prints_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from backprop_tui.tui import app as module

    def run(app: Any) -> None:
        app.history, app.ending = history(REFUSED), REFUSED

    monkeypatch.setattr(module.BackpropApp, "run", run)
    assert module.run_app() == 1
    assert "The run failed: output" in capfd.readouterr().out

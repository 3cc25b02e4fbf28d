"""A user's story, keyboard only: from the first step to a trained adapter, and other endings."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.events import Event, Failed, Finished, Preparing
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.tui.ending import EndScreen, FailureScreen, Question, SummaryScreen
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.monitor import MonitorScreen
from tests.tui.wizard_pilot import NARROW, WIDE, Wizard, wizard

Train = Callable[[RunFile, Callable[[Event], None], Control], None]


@pytest.mark.parametrize("size", [pytest.param(WIDE, marks=pytest.mark.slow), NARROW])
async def test_from_the_first_step_to_an_adapter_with_the_keyboard_alone(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with wizard(size) as it:
        await it.press("ctrl+n", "f2")  # the bundled model
        await it.until(lambda: it.app.facts.model)
        await it.press("ctrl+n", "f2")  # the bundled examples
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        await it.press("ctrl+n")  # the method is recommended
        assert it.app.plan.method == "simpo"
        await it.press("ctrl+n", "tab", "tab", "tab")  # rate, its guard, epochs
        assert it.app.focused is it.input("training.max_steps")
        await it.type("2")
        await it.press("ctrl+n")
        await it.shows("fits with", "What fits, by max_length")
        await it.press("ctrl+n")
        await it.shows("ready to start")
        await it.press("f9")
        # Two steps may be over before the next look.
        await it.until(lambda: isinstance(it.app.screen, MonitorScreen | EndScreen))
        await it.until(lambda: it.app.ending, seconds=180)
        assert isinstance(it.app.ending, Finished), it.app.ending
        await it.until(lambda: isinstance(it.app.screen, SummaryScreen))
        await it.press("ctrl+q")
    assert it.app.exit_code == 0
    assert (tmp_path / "runs/simpo-pocket/adapter/adapter_model.safetensors").is_file()


async def started(it: Wizard, monkeypatch: pytest.MonkeyPatch, train: Train) -> None:
    """A run on the way, with another trainer in the place of the real one."""
    from backprop_tui.train import runner

    def stand_in(run: RunFile, emit: Any, control: Control, **_: Any) -> None:
        train(run, emit, control)

    monkeypatch.setattr(runner, "train", stand_in)
    await it.until(lambda: it.app.facts.data and it.app.facts.model)
    await it.settled()
    await it.press("f9")
    await it.until(lambda: isinstance(it.app.screen, MonitorScreen | EndScreen))


PLAN = change(new_plan(), {"model.id": "pocket", "data.path": "pocket"})


async def test_quitting_while_it_trains_asks_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        emit(Preparing(t=0.0, stage="waiting to be stopped"))
        while not control.stopping:
            threading.Event().wait(0.01)
        emit(
            Finished(t=1.0, step=1, stopped=True, seconds=1.0, memory_peak=None, path="", replay="")
        )

    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, train)
        await it.press("ctrl+q")
        await it.until(lambda: isinstance(it.app.screen, Question))
        await it.press("escape")
        assert it.app.ending is None
        await it.press("ctrl+c")
        await it.until(lambda: isinstance(it.app.screen, Question))
        await it.press("y")
        await it.until(lambda: it.app.ending)
    assert it.app.exit_code == 130  # nothing had been saved


async def test_a_trainer_that_breaks_becomes_a_failure_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        raise RuntimeError("no such kernel")

    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, train)
        await it.until(lambda: isinstance(it.app.screen, FailureScreen))
        await it.shows("no such kernel")
        await it.press("ctrl+q")
    assert isinstance(it.app.ending, Failed)
    assert it.app.exit_code == 3


async def test_leaving_the_app_stops_the_training_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        while not control.stopping:
            threading.Event().wait(0.01)
        stopped.set()

    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, train)
        it.app.exit()
    assert stopped.wait(5)


async def test_sigterm_stops_saves_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        while not control.stopping:
            threading.Event().wait(0.01)
        goes_on.wait(10)
        emit(
            Finished(
                t=1.0, step=1, stopped=True, seconds=1.0, memory_peak=None, path="a", replay=""
            )
        )

    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, train)
        it.app.on_signal(signal.SIGTERM)
        await it.shows("stopping after this step and saving")
        assert it.app.is_running
        goes_on.set()
        await it.until(lambda: not it.app.is_running)
    assert it.app.exit_code == 4


async def test_the_monitor_s_help_names_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(run: RunFile, emit: Callable[[Event], None], control: Control) -> None:
        while not control.stopping:
            threading.Event().wait(0.01)

    async with wizard(run=PLAN) as it:
        await started(it, monkeypatch, train)
        await it.press("f1")
        await it.shows("write a checkpoint after this step")
        await it.press("escape")
        assert isinstance(it.app.screen, MonitorScreen)

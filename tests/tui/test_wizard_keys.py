"""Keys and names in the wizard: leaving, escape and a digit, the hub, small windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_tui.core.events import Finished
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.tui import probing
from backprop_tui.tui.ending import Question
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.messages import ModelRead
from backprop_tui.tui.panels.log import entry
from backprop_tui.tui.panels.memory import LETTERS
from backprop_tui.tui.probing import output_problems
from backprop_tui.tui.view import STEPS, step_of
from backprop_tui.tui.warm import slow_imports
from tests.tui import histories
from tests.tui.test_monitor import text_of, watching
from tests.tui.wizard_pilot import NARROW, wizard


async def test_ctrl_q_asks_before_a_plan_is_lost() -> None:
    async with wizard() as it:
        it.app.apply({"training.seed": 7})
        await it.press("ctrl+q")
        await it.shows("Quit without saving?")
        await it.press("escape")
        assert it.screen.step == "machine"
        await it.press("ctrl+q")
        await it.until(lambda: isinstance(it.app.screen, Question))
        await it.press("y")
    assert it.app.exit_code == 0


async def test_escape_and_a_digit_in_one_breath_open_a_step() -> None:
    async with wizard() as it:
        await it.go("model")
        await it.press("alt+5")
        assert it.screen.step == "tuning"
        assert it.app.plan.model.id == ""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up."""
    names: list[str] = []

    def read(question: probing.ModelQuestion) -> ModelRead:
        names.append(question.name)
        return ModelRead(question, None, None)

    monkeypatch.setattr(probing, "read_model", read)
    return names


@pytest.mark.parametrize("done", ["enter", "ctrl+n", "f9"])
async def test_the_hub_is_asked_when_a_name_is_finished(asked: list[str], done: str) -> None:
    async with wizard(NARROW) as it:
        await it.go("model")
        await it.type("no-such/model")
        await it.pilot.pause(0.5)
        await it.settled()
        assert asked == ["no-such/"] or asked == []
        assert "enter looks it up on the hub" in it.notes("model.id")
        await it.press(done)
        await it.until(lambda: "no-such/model" in asked)


async def test_a_word_that_is_no_path_and_no_hub_name_asks_nobody(asked: list[str]) -> None:
    async with wizard() as it:
        await it.go("model")
        await it.type("zzz")
        await it.settled()
        assert "no such file or folder here" in it.notes("model.id")
        assert asked == []


async def test_starting_an_empty_plan_asks_for_the_model_first() -> None:
    async with wizard() as it:
        await it.press("f9")
        await it.until(lambda: it.screen.step == "model")
        await it.shows("Choose a model first.")


async def test_a_window_too_small_says_so_and_comes_back() -> None:
    async with wizard((60, 15)) as it:
        await it.shows("backprop-tui needs 80x24; this window is 60x15")
        assert "Machine" not in it.text
        await it.pilot.resize_terminal(80, 24)
        await it.shows("Machine")
        assert "this window is" not in it.text


async def test_a_monitor_too_small_says_so() -> None:
    async with watching(histories.training(upto=3), size=(60, 15)) as (app, pilot):
        assert "needs 80x24; this window is 60x15" in text_of(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "this window is" not in text_of(app)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("/proc/runs/x", "belongs to the kernel"),
        ("/sys/x", "belongs to the kernel"),
        ("file/x", "is not a folder"),
        ("fresh/x/y", ""),
        ("", ""),
    ],
)
def test_a_folder_that_cannot_be_made_is_a_problem(
    output: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    found = output_problems(change(new_plan(), {"output": output}))
    assert [item.code for item in found] == (["WRITE_REFUSED"] if why else [])
    assert all(why in item.message for item in found)


def test_nothing_saved_is_not_called_saved() -> None:
    event = Finished(t=1, step=0, stopped=True, seconds=1, memory_peak=None, path="", replay="")
    found = entry(event)
    assert found is not None
    assert found[1] == "stopped before the first step; nothing to save"


def test_every_part_of_the_memory_has_a_letter_of_its_own() -> None:
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert all(letter in part for part, letter in LETTERS.items())


async def test_the_letters_are_explained_at_80_columns() -> None:
    async with wizard(NARROW) as it:
        it.app.apply({"model.id": "pocket", "data.path": "pocket"})
        await it.shows("c activations", "v overhead")


def test_several_cards_keep_bitsandbytes_waiting() -> None:
    assert "peft" in slow_imports(one_card=True)
    assert {"peft", "trl"}.isdisjoint(slow_imports(one_card=False))


@pytest.mark.parametrize("key", list(RunFile.model_fields))
def test_every_key_of_the_run_file_has_a_step(key: str) -> None:
    """A problem leads to the step of its key; a key without one would end the program."""
    if key not in ("schema_version", "provenance"):  # written by the tool, never a problem
        assert step_of(key) in STEPS

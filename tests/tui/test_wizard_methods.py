"""The list of methods: the recommended ones first, the other objectives below a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList, Static
from typer.testing import CliRunner

from backprop_tui.cli import app
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile_io import change
from backprop_tui.tui.keeper import new_plan
from tests.tui.wizard_pilot import NARROW, WIDE, clipped, wizard

PLAN = change(new_plan(), {"model.id": "pocket", "data.path": "pocket"})
OTHERS = [name for name, method in METHODS.items() if method.other]


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_the_other_objectives_stand_below_a_line_and_are_never_recommended(
    size: tuple[int, int],
) -> None:
    async with wizard(size, run=PLAN) as it:
        await it.go("method")
        listed = it.screen.query_one("#methods", OptionList)
        ids = [option.id for option in listed.options]
        assert ids == ["sft", "orpo", "simpo", "kto", "others", *OTHERS]
        await it.shows("other objectives, never recommended")
        marked = [o.id for o in listed.options if "recommended  " in str(o.prompt)]
        assert not set(marked) & set(OTHERS)
        assert it.app.view.recommendation.method not in OTHERS
        assert clipped(it.app) == []


# Sizes take turns: every objective at one of them.
@pytest.mark.parametrize(
    ("name", "size"), [(name, (WIDE, NARROW)[i % 2]) for i, name in enumerate(OTHERS)]
)
async def test_another_objective_is_taken_by_keyboard_with_its_numbers(
    name: str, size: tuple[int, int]
) -> None:
    async with wizard(size, run=change(PLAN, {"method": "kto"})) as it:
        await it.go("method")
        for _ in range(1 + OTHERS.index(name)):  # the line is stepped over
            await it.press("down")
        await it.press("enter")
        assert it.method == name
        knob = METHODS[name].knobs[0]
        shown = {field.id for field in it.screen.query(f"#knobs-{name} .field") if field.display}
        assert len(shown) == len(METHODS[name].knobs)
        await it.press("tab")
        assert it.app.focused is it.input(f"{name}.{knob.name}")
        await it.type("0.25")
        assert it.app.plan.knobs[knob.name] == 0.25
        assert clipped(it.app) == []


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, (NARROW, WIDE)[i % 2], marks=pytest.mark.slow if i > 1 else ())
        for i, name in enumerate(OTHERS)
    ],
)
async def test_another_objective_makes_a_run_file_that_check_accepts(
    tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """From the list to the file, by keyboard; help and source of each number are on the way."""
    path = tmp_path / "mine.toml"
    async with wizard(size, run=change(PLAN, {"method": "kto"}), save_to=path) as it:
        await it.go("method")
        await it.press(*["down"] * (1 + OTHERS.index(name)), "enter")
        for knob in METHODS[name].knobs:
            field = it.screen.query_one(f"#field-{name}-{knob.name}")
            said = str(field.query_one(".field--help", Static).content)
            assert knob.help in said
            assert knob.source in said
        await it.go("tuning")
        rate = it.input("training.learning_rate")
        rate.focus()
        rate.value = "0.005"
        await it.until(lambda: "objective-rate-high" in it.codes())
        assert f"the rate {name} is trained with" in it.notes("training.learning_rate")
        assert clipped(it.app) == []
        rate.value = ""
        await it.until(lambda: "objective-rate-high" not in it.codes())
        await it.go("review")
        await it.press("ctrl+s", "enter")
        await it.until(path.is_file)
    done = CliRunner().invoke(app, ["check", str(path), "--rough"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f'method = "{name}"' in path.read_text()


async def test_the_line_cannot_be_chosen() -> None:
    async with wizard(run=change(PLAN, {"method": "kto"})) as it:
        await it.go("method")
        listed = it.screen.query_one("#methods", OptionList)
        listed.highlighted = 4
        await it.press("enter")
        assert it.method == "kto"


async def test_a_chosen_objective_is_in_view_when_the_step_opens() -> None:
    async with wizard(NARROW, run=change(PLAN, {"method": "rdpo"})) as it:
        await it.go("method")
        await it.shows("◉ rdpo", "beta")


async def test_a_searched_value_is_taken_without_a_rate() -> None:
    async with wizard(run=change(PLAN, {"method": "ipo", "lora": None})) as it:
        await it.go("method")
        it.screen.query_one("#presets", OptionList).focus()
        await it.shows("SimPO's comparison", "tau 0.5", "Values a comparison searched")
        await it.press("down", "down", "enter")
        assert it.app.plan.knobs == {"tau": 0.5}
        assert it.app.plan.training.learning_rate is None


async def test_a_published_rate_is_taken_with_full_fine_tuning() -> None:
    async with wizard(run=change(PLAN, {"method": "simpo", "lora": None})) as it:
        await it.go("method")
        it.screen.query_one("#presets", OptionList).focus()
        await it.press("enter")
        assert it.app.plan.training.learning_rate == 3e-7

"""Advice appears while typing, under its field, and one key applies its fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_tui.core.runfile_io import change
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.panels.advice import Notes
from tests.tui.wizard_pilot import NARROW, WIDE, wizard

SIMPO = change(new_plan(), {"method": "simpo"})


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_gamma_over_beta_is_warned_about_under_gamma_and_f6_mends_it(
    size: tuple[int, int],
) -> None:
    async with wizard(size, run=SIMPO) as it:
        await it.go("method")
        await it.press("tab", "tab")
        assert it.app.focused is it.input("simpo.gamma")
        await it.type("2.4")
        assert "simpo-gamma-ratio" in it.codes()
        notes = it.notes("simpo.gamma")
        assert "▲ warning" in notes
        assert "gamma/beta is 1.20" in notes
        assert "arXiv:2405.14734" in notes
        assert "f6 use gamma 1" in notes
        assert it.notes("simpo.beta") == ""
        await it.shows("1 warning", "f6 use gamma 1")  # in view, not scrolled away
        await it.press("f6")
        assert it.app.plan.simpo is not None
        assert it.app.plan.simpo.gamma == 1.0
        assert float(it.input("simpo.gamma").value) == 1.0
        assert it.notes("simpo.gamma") == ""


async def test_the_simpo_rate_is_clamped_at_1e_5_and_kept_at_9_9e_6() -> None:
    async with wizard(run=SIMPO) as it:
        await it.go("tuning")
        await it.type("1e-5")
        assert "simpo-lr-clamped" in it.codes()
        await it.shows("training uses 1e-06, not 1e-05", "f6 set 1e-06")
        await it.press("ctrl+u")
        await it.type("9.9e-6")
        assert "simpo-lr-clamped" not in it.codes()
        await it.shows("training uses 9.9e-06")
        await it.press("ctrl+u")
        await it.type("1e-5")
        await it.press("f6")
        assert it.app.plan.training.learning_rate == 1e-6
        assert it.input("training.learning_rate").value == "1e-06"


async def test_a_negative_beta_is_refused_while_typing_and_stops_the_start() -> None:
    async with wizard(run=change(SIMPO, {"model.id": "pocket", "data.path": "pocket"})) as it:
        await it.go("method")
        await it.press("tab")
        await it.type("-1")
        assert "a number above 0" in it.notes("simpo.beta")
        assert it.app.plan.simpo is not None
        assert it.app.plan.simpo.beta == 2.0
        await it.press("f9")
        assert it.app.control is None
        await it.shows("Cannot start yet")


async def test_of_two_fixes_f6_takes_the_focused_field_s() -> None:
    plan = change(SIMPO, {"method": "kto", "engine": "trl", "training.batch_size": 1})
    async with wizard(run=plan) as it:
        await it.go("tuning")
        await it.type("1e-4")
        assert {"kto-lr-clamped", "kto-batch-raised"} <= it.codes()
        it.input("training.batch_size").focus()
        await it.pilot.pause()
        assert "f6 set 2" in it.notes("training.batch_size")
        assert "fix: set 1e-06" in it.notes("training.learning_rate")
        await it.press("f6")
        assert it.app.plan.training.batch_size == 2
        assert it.app.plan.training.learning_rate == 1e-4
        await it.press("f6")  # the other one, now the first on the step
        assert it.app.plan.training.learning_rate == 1e-6


async def test_a_fix_can_be_clicked() -> None:
    async with wizard(run=SIMPO) as it:
        await it.go("method")
        await it.press("tab", "tab")
        await it.type("2.4")
        notes = it.screen.query_one("#field-simpo-gamma Notes", Notes)
        notes.action_fix(0)
        await it.until(lambda: it.app.plan.simpo and it.app.plan.simpo.gamma == 1.0)


async def test_the_recommendation_is_taken_until_the_user_chooses(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{i}", "chosen": "yes", "rejected": "no no no no no no"} for i in range(200)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with wizard() as it:
        assert it.method == "orpo"
        it.app.apply({"data.path": str(pairs)})
        await it.until(lambda: it.app.facts.data)
        assert it.method == "simpo"  # length separates the sides
        await it.go("method")
        await it.shows("simpo recommended", "Why simpo", "200 of 200", "Runner-up orpo")
        await it.press("up", "enter")
        assert it.method == "orpo"
        it.app.apply({"data.heldout": 0.2})
        await it.settled()
        assert it.method == "orpo"


async def test_knobs_typed_for_a_method_come_back_with_it() -> None:
    async with wizard(run=SIMPO) as it:
        await it.go("method")
        await it.press("tab", "tab")
        await it.type("1.3")
        it.app.choose_method("kto")
        assert it.app.plan.kto is not None
        assert it.app.plan.simpo is None
        it.app.choose_method("simpo")
        await it.pilot.pause()
        assert it.app.plan.simpo is not None
        assert it.app.plan.simpo.gamma == 1.3
        assert it.input("simpo.gamma").value == "1.3"


async def test_a_preset_sets_the_knobs_and_the_rate_only_without_an_adapter() -> None:
    async with wizard(run=SIMPO) as it:
        await it.go("method")
        await it.press("tab", "tab", "tab", "down", "down", "down", "enter")
        assert it.app.plan.simpo is not None
        assert (it.app.plan.simpo.beta, it.app.plan.simpo.gamma) == (2.5, 1.375)
        assert it.app.plan.training.learning_rate is None
        await it.shows("SimPO repository", "not taken")
        it.app.use_adapter(False)
        await it.press("enter")
        assert it.app.plan.training.learning_rate == 1e-6


async def test_review_lists_everything_and_enter_goes_to_the_field() -> None:
    plan = change(SIMPO, {"simpo.gamma": 10.0, "training.learning_rate": 1e-4})
    async with wizard(run=change(plan, {"data.path": "pocket"})) as it:
        await it.settled()
        await it.go("review")
        await it.shows("not ready", "to do model", "warning method", "warning tuning")
        await it.shows("several tools ship")
        assert "gamma = 10.0" in it.app.screen.query_one("#toml-text").content.plain  # type: ignore[attr-defined]
        first = it.app.view.advice[0]
        assert first.field == "model.id"
        await it.press("enter")
        await it.until(lambda: it.screen.step == "model")
        assert it.app.focused is it.input("model.id")
        await it.go("review")
        await it.press("f6")  # the highlighted one: use the bundled model
        assert it.app.plan.model.id == "pocket"
        await it.until(lambda: it.app.facts.model)
        await it.shows("ready to start", "23 steps of 16 rows", "runs/simpo-pocket")

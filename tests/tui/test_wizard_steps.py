"""Every step, by keyboard alone, at both sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.core.facts import Facts, GpuFacts, ModelFacts
from backprop_tui.core.runfile_io import change
from backprop_tui.tui.field import TextField
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.signs import PLAIN
from backprop_tui.tui.view import STEPS
from tests.tui.wizard_pilot import GB, NARROW, NO_CARD, WIDE, card, clipped, wizard


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_every_step_is_reached_by_keyboard_and_nothing_sticks_out(
    size: tuple[int, int],
) -> None:
    async with wizard(size) as it:
        for step in STEPS:
            await it.go(step)
            assert it.screen.step == step
            assert it.step.intro.split(".")[0] in " ".join(it.text.split())
            assert clipped(it.app) == []
            assert all(name.title() in it.text for name in STEPS)
            assert "Memory" in it.text
            assert "Quit" in it.text
            if step != "review":
                assert it.app.focused is not None, step
        for step in reversed(STEPS):
            assert it.screen.step == step
            if step != STEPS[0]:
                await it.press("ctrl+b")


async def test_digits_open_steps_once_no_field_has_the_focus() -> None:
    async with wizard() as it:
        await it.press("5")
        assert it.screen.step == "tuning"
        await it.press("2")  # typed into the learning rate
        assert it.screen.step == "tuning"
        await it.press("backspace", "escape", "3")
        assert it.screen.step == "data"


async def test_a_click_on_the_rail_opens_a_step() -> None:
    async with wizard() as it:
        await it.pilot.click("#rail-method")
        await it.until(lambda: it.screen.step == "method")


async def test_without_a_card_it_says_so_and_goes_on() -> None:
    async with wizard() as it:  # the real probe
        if it.app.facts.gpu and it.app.facts.gpu.cards:
            pytest.skip("this machine has a card")
        await it.shows("no card", "What still works", "CPU, no card")
        assert it.app.view.effective.device == "cpu"
        await it.press("ctrl+n")
        assert it.screen.step == "model"


async def test_two_cards_are_shown_and_one_is_chosen() -> None:
    gpu = GpuFacts(
        cards=(card(0), card(1, "NVIDIA GeForce RTX 3090", used=9)), driver="550.54", cuda="12.4"
    )
    async with wizard(facts=Facts(gpu=gpu)) as it:
        await it.shows("card 0", "16.0 GB of 16.0 GB free", "550.54", "12.4", "41 °C", "23 of 165")
        await it.press("down", "enter")
        assert it.app.plan.machine.card == 1
        await it.shows("python3, 9.0 GB, pid 1234", "RTX 3090")
        assert "memory-held" in it.codes()
        await it.press("down", "enter")
        assert it.app.plan.machine.device == "cpu"
        assert it.app.view.effective.device == "cpu"
        await it.press("up", "enter")
        assert it.app.view.effective.device == "cuda"


async def test_missing_readings_are_shown_as_not_available() -> None:
    bare = GpuFacts(cards=(card().__class__(index=0, name="Tesla K80"),))
    async with wizard(facts=Facts(gpu=bare)) as it:
        await it.shows("Tesla K80", "n/a of n/a free", "temperature n/a", "memory held by n/a")


async def test_the_bundled_model_and_data_by_key() -> None:
    async with wizard() as it:
        await it.go("model")
        await it.shows("bundled: a tiny model")
        await it.press("f2")
        await it.until(lambda: it.app.facts.model)
        await it.shows("LlamaForCausalLM", "chat template yes", "bundled with this tool")
        await it.go("data")
        await it.press("f2")
        await it.until(lambda: it.app.facts.data)
        await it.settled()
        await it.shows("a chosen and a rejected answer", "rows kept 400 of 400", "tokens")
        await it.shows("whole row")
        assert it.app.view.rows.train + it.app.view.rows.heldout == 400
        assert it.app.view.memory is not None
        await it.shows("weights", "activations", "fits")


async def test_going_back_keeps_what_was_typed_even_when_it_was_refused() -> None:
    async with wizard() as it:
        await it.go("tuning")
        await it.type("fast")
        assert it.input("training.learning_rate").value == "fast"
        assert "must be a number" in it.notes("training.learning_rate")
        await it.press("tab", "tab")  # past the switch
        await it.type("3")
        await it.press("ctrl+b", "ctrl+b", "ctrl+n", "ctrl+n")
        assert it.input("training.learning_rate").value == "fast"
        assert it.input("training.epochs").value == "3"
        assert it.app.plan.training.epochs == 3
        assert it.app.plan.training.learning_rate is None


async def test_an_emptied_field_means_the_default() -> None:
    async with wizard() as it:
        await it.go("tuning")
        field = it.screen.query_one("#field-training-batch_size", TextField)
        field.input.focus()
        await it.pilot.pause()
        await it.type("4")
        assert it.app.plan.training.batch_size == 4
        await it.press("backspace")
        assert it.app.plan.training.batch_size == 2
        assert field.input.value == ""


async def test_the_effective_batch_and_the_rate_are_said_while_typing() -> None:
    async with wizard() as it:
        await it.go("tuning")
        await it.shows("2 × 8 = 16 rows a step", "auto: 2e-05 (orpo)")
        it.input("training.accumulation").focus()
        await it.pilot.pause()
        await it.type("4")
        await it.shows("2 × 4 = 8 rows a step")


async def test_the_adapter_can_be_left_out_and_its_settings_come_back() -> None:
    async with wizard() as it:
        await it.go("tuning")
        it.input("lora.rank").focus()
        await it.pilot.pause()
        await it.type("64")
        await it.press("shift+tab", "space")
        assert it.app.plan.lora is None
        assert not it.screen.query_one("#field-lora-rank").display
        await it.press("space")
        assert it.app.plan.lora is not None
        assert it.app.plan.lora.rank == 64
        assert it.input("lora.rank").value == "64"


async def test_precision_is_chosen_from_a_list_and_auto_is_explained() -> None:
    model = ModelFacts(
        name="big", source="folder", parameters=7_000_000_000, layers=28, hidden=3584
    )
    plan = change(new_plan(), {"model.id": "big"})
    facts = Facts(gpu=GpuFacts(cards=(card(),)), model=model)
    async with wizard(run=plan, facts=facts) as it:
        await it.go("model")
        await it.shows("auto means nf4 here")
        await it.press("tab", "enter", "down", "down", "enter")
        assert it.app.plan.model.precision == "int8"
        await it.shows("auto would take nf4 here")


async def test_a_plan_that_does_not_fit_says_so_in_words() -> None:
    model = ModelFacts(
        name="big",
        source="folder",
        parameters=70_000_000_000,
        layers=80,
        hidden=8192,
        vocabulary=128_000,
    )
    facts = Facts(gpu=GpuFacts(cards=(card(),)), model=model)
    plan = change(new_plan(), {"model.id": "big"})
    async with wizard(run=plan, facts=facts) as it:
        await it.shows("roughly: does not fit: weights take 35.5 GB; nothing this tool can change")
        assert it.app.view.memory is not None
        assert it.app.view.memory.needed > 16 * GB


async def test_resizing_live_folds_and_unfolds_the_rail() -> None:
    async with wizard(facts=Facts(gpu=NO_CARD)) as it:
        await it.go("tuning")
        await it.type("1e-6")
        tall = it.screen.query_one("Rail").region
        await it.pilot.resize_terminal(*NARROW)
        await it.until(lambda: it.screen.query_one("Rail").region.height == 1)
        assert tall.height > 10
        assert clipped(it.app) == []
        assert it.input("training.learning_rate").value == "1e-6"
        await it.pilot.resize_terminal(*WIDE)
        await it.until(lambda: it.screen.query_one("Rail").region == tall)


async def test_help_opens_and_escape_closes_it() -> None:
    async with wizard() as it:
        await it.press("f1")
        await it.shows("the bundled model or data", "6 Memory", "7 Review", "run.toml")
        await it.press("escape")
        assert it.screen.step == "machine"


async def test_a_key_that_would_do_nothing_is_greyed() -> None:
    async with wizard() as it:
        assert it.screen.check_action("back", ()) is None
        assert it.screen.check_action("pocket", ()) is None
        assert it.screen.check_action("next", ()) is True
        await it.go("model")
        assert it.screen.check_action("fix", ()) is True  # "use the bundled model"
        await it.go("review")
        assert it.screen.check_action("next", ()) is None


def test_plain_signs_are_plain_and_chosen_by_the_environment() -> None:
    assert all(getattr(PLAIN, item.name).isascii() for item in fields(PLAIN))
    code = "from backprop_tui.tui.signs import SIGNS; print(SIGNS.warning)"
    for value, sign in (("1", "!"), ("", "▲"), ("0", "▲")):
        environment = {**os.environ, "BACKPROP_TUI_ASCII": value, "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert out.stdout.decode().strip() == sign


def test_the_wizard_loads_nothing_slow_before_it_is_seen() -> None:
    code = (
        "import sys, backprop_tui.tui.app; "
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'pyarrow', "
        "'pynvml', 'huggingface_hub', 'pygments') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert out.stdout.decode().strip() == "[]"


async def test_cached_models_are_offered_with_their_sizes(tmp_path: Path) -> None:
    from backprop_tui.probe.model_cache import CachedModel

    async with wizard() as it:
        it.app.cached = (
            CachedModel(name="Qwen/Qwen2.5-0.5B", bytes=GB, commit="abc", path=str(tmp_path)),
        )
        await it.go("model")
        await it.shows("Qwen/Qwen2.5-0.5B 1.0 GB, on this machine")
        await it.type("qwen")
        await it.press("down", "enter")
        assert it.app.plan.model.id == "Qwen/Qwen2.5-0.5B"


async def test_walking_through_the_steps_changes_nothing() -> None:
    """A control that shows its first option for a moment must not write it into the plan."""
    run, _ = runfile_io.read(DEMO, env={})
    async with wizard(WIDE, run=run) as shown:
        for step in ("model", "data", "method", "tuning", "memory", "review"):
            await shown.go(step)
            await shown.settled()
            assert shown.app.plan == run, step

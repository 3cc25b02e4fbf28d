"""The memory step: the verdict with its fix, the bar, and the table of what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import OptionList

from backprop_tui.core.facts import Facts, GpuFacts
from backprop_tui.core.memory import PARTS, Estimate
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.core.what_fits import Cell
from backprop_tui.probe.model_cache import CachedModel
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.panels.fit_table import FitTable, said
from backprop_tui.tui.panels.memory import legend
from backprop_tui.tui.panels.memory import said as verdict
from backprop_tui.tui.view import look, places
from tests.core.worlds import LLAMA_8B, PAIRS, SMALL
from tests.tui.wizard_pilot import GB, NARROW, NO_CARD, WIDE, Wizard, card, clipped, wizard

BOTH = pytest.mark.parametrize("size", [WIDE, NARROW])
MODEL = replace(LLAMA_8B, config='{"model_type": "llama"}')
TWELVE = GpuFacts(cards=(card(name="NVIDIA GeForce RTX 3060", used=1, total=12),))
FACTS = Facts(gpu=TWELVE, model=MODEL, data=PAIRS)


def plan(method: str = "orpo", **changes: object) -> RunFile:
    """An 8B at max_length 4096."""
    keys = {"model.id": "some/model", "data.path": "some.jsonl", "data.max_length": 4096}
    return change(new_plan(), {"method": method, **keys, **changes})


@BOTH
async def test_what_does_not_fit_is_said_with_its_reason_and_f6_makes_it_fit(
    size: tuple[int, int],
) -> None:
    async with wizard(size, run=plan(), facts=FACTS) as it:
        await it.press("escape", "6")
        await it.shows("does not fit: activations take 7.0 GB", "f6 applies: batch 1 x 16")
        await it.shows("14.2 GB needed, 11.0 GB free on the card", "c activations 7.0 GB")
        await it.shows("free now 11.0 GB of 12.0 GB", "held by python3 1.0 GB")
        await it.shows("largest batch 1 row", "time per step check --probe measures it")
        assert clipped(it.app) == []
        before = it.app.plan.effective_batch
        await it.press("f6")
        await it.shows("fits with")
        assert "does not fit" not in it.text
        assert it.app.plan.training.batch_size == 1
        assert it.app.plan.effective_batch == before


async def test_the_fix_can_be_clicked_and_is_still_on_the_tuning_step() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        await it.go("tuning")
        assert "f6 batch 1 x 16" in it.notes("training.batch_size")
        await it.go("memory")
        lines = it.text.splitlines()
        row = next(y for y, line in enumerate(lines) if "f6\N{NO-BREAK SPACE}applies" in line)
        await it.pilot.click(offset=(lines[row].index("applies"), row))
        await it.until(lambda: it.app.plan.training.batch_size == 1)
        await it.press("ctrl+b")
        assert it.notes("training.batch_size") == ""


async def test_the_bar_below_is_not_shown_twice_and_points_here_from_elsewhere() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        await it.shows("Memory ✖ roughly: does not fit", "(→ memory)")
        await it.go("memory")
        assert it.screen.query_one("#memory-bar").display is False
        assert it.text.count("q  quantisation") == 1
        await it.press("ctrl+n")
        assert it.screen.query_one("#memory-bar").display is True


async def test_review_leads_to_the_memory_step() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        item = next(a for a in it.app.view.advice if a.code == "memory-does-not-fit")
        assert places(item) == ("memory", "tuning")
        await it.go("review")
        await it.shows("warning memory")
        while it.screen.query_one("#all-advice", OptionList).highlighted != (
            it.app.view.advice.index(item)
        ):
            await it.press("down")
        await it.press("enter")
        await it.until(lambda: it.screen.step == "memory")


def verdicts(it: Wizard) -> str:
    """The table as it is drawn."""
    lines = it.text.splitlines()
    first = next(y for y, line in enumerate(lines) if "What fits" in line)
    return "\n".join(lines[first:])


async def test_the_table_marks_the_plan_and_says_what_is_rough() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        await it.go("memory")
        await it.shows("512 1,024 2,048 4,096", "▸ ▲ ~with changes")
        assert verdicts(it).count("▸ ▲") == 1
        await it.shows("orpo, nf4, 4,096: needs roughly")
        await it.press("f6")
        await it.shows("▸ ✔ ~fits")


@BOTH
async def test_a_cell_is_taken_by_keyboard_with_all_it_needs(size: tuple[int, int]) -> None:
    async with wizard(size, run=plan(), facts=FACTS) as it:
        await it.go("memory")
        table = it.screen.query_one(FitTable)
        assert it.app.focused is table
        assert table.marked is not None
        assert (table.marked.method, table.marked.max_length) == ("orpo", 4096)
        while table.marked.method != "simpo" or table.marked.precision != "nf4":
            await it.press("down")
        assert table.marked.verdict == "changes"
        await it.shows("simpo, nf4, 4,096: needs roughly", "batch size 1")
        row = it.screen.query_one(FitTable).region.y  # scrolled so that the mark is seen
        assert row + table._at[0] + 1 < it.app.size.height - 2
        await it.press("enter")
        assert it.method == "simpo"
        assert it.app.plan.training.batch_size == 1
        assert it.app.plan.data.max_length == 4096
        await it.shows("simpo, nf4, max_length 4,096: taken")
        assert it.app.view.memory is not None
        assert it.app.view.memory.fits


async def test_a_cell_that_cannot_fit_is_not_taken() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        await it.go("memory")
        table = it.screen.query_one(FitTable)
        await it.press("up", "up")
        assert table.marked is not None
        assert (table.marked.precision, table.marked.verdict) == ("bf16", "no")
        before = it.app.plan
        await it.press("enter")
        assert it.app.plan is before
        await it.shows("Nothing that can be changed makes it fit.", "and no change makes it fit")


async def test_a_click_marks_a_cell_and_a_second_one_takes_it() -> None:
    async with wizard(run=plan(), facts=FACTS) as it:
        await it.go("memory")
        table = it.screen.query_one(FitTable)
        line = next(
            y for y, text in enumerate(it.text.splitlines()) if "nf4" in text and "▸" in text
        )
        spot = (table.region.x + 13 + 2, line)  # the first column: max_length 512
        await it.pilot.click(offset=spot)
        assert table.marked is not None
        assert table.marked.max_length == 512
        assert it.app.plan.data.max_length == 4096
        await it.pilot.click(offset=spot)
        await it.until(lambda: it.app.plan.data.max_length == 512)


def test_a_verdict_is_a_sign_and_a_word_and_says_when_it_is_rough() -> None:
    cell = Cell(
        method="orpo", precision="nf4", max_length=512, verdict="fits", needed=1, rough=True
    )
    assert said(cell, wordy=True) == "✔ ~fits"
    assert said(replace(cell, rough=False), wordy=True) == "✔ fits"
    assert said(replace(cell, verdict="changes"), wordy=True) == "▲ ~with changes"
    assert said(replace(cell, verdict="no", rough=False), wordy=False) == "✖ no"
    assert said(replace(cell, verdict="unknown"), wordy=False).strip() == "?"


def test_the_legend_explains_nine_parts_within_80_columns() -> None:
    sizes = (5600, 130, 160, 160, 80, 2900, 300, 500, 900)
    parts = {part: size * 2**20 for part, size in zip(PARTS, sizes, strict=True)}
    memory = Estimate(parts=parts, available=12 * GB, total=12 * GB)
    text = legend(memory, 78).plain
    assert len(text) <= 78
    assert "quantisation" in text  # too narrow for its name
    assert "weights" not in text  # named in the bar


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"remote_code": True}, "it brings code of its own"),
        ({"quantisation": "gptq"}, "its weights are quantised with gptq"),
    ],
)
async def test_what_was_not_modelled_is_said_to_be_measured(
    changed: dict[str, object], why: str
) -> None:
    model = replace(MODEL, **changed)  # type: ignore[arg-type]
    words = f"cannot be estimated: {why}; it is measured when the run starts"
    async with wizard(NARROW, run=plan(), facts=replace(FACTS, model=model)) as it:
        assert verdict(it.app.view).plain == words
        await it.go("memory")
        await it.shows(words)
        assert "What fits" not in it.text
        assert clipped(it.app) == []


async def test_without_a_model_it_says_what_to_do() -> None:
    async with wizard(NARROW, facts=Facts(gpu=NO_CARD)) as it:
        await it.go("memory")
        await it.shows("choose a model to see what the plan takes")
        assert "What fits" not in it.text


async def test_the_models_on_this_machine_say_whether_they_can_be_trained(tmp_path: Path) -> None:
    huge = replace(LLAMA_8B, parameters=70_000_000_000, layers=80, hidden=8192)
    found = {"a/small": SMALL, "b/middle": LLAMA_8B, "c/huge": huge}
    async with wizard(facts=Facts(gpu=TWELVE)) as it:
        await it.until(lambda: it.app.cached is not None)
        it.app.cached = tuple(
            CachedModel(name=name, bytes=GB, commit="abc", path=str(tmp_path)) for name in found
        )
        it.app.cached_facts = {name: found[name] for name in ("b/middle", "c/huge")}
        await it.go("model")
        await it.shows("b/middle 1.0 GB, on this machine, ✔ ~fits this card")
        await it.shows("c/huge 1.0 GB, on this machine, ✖ ~too large for this card")
        small = next(line for line in it.text.splitlines() if "a/small" in line)
        assert small.rstrip().endswith("on this machine")  # nothing is known of it


def test_on_a_cpu_the_main_memory_counts() -> None:
    facts = Facts(gpu=NO_CARD, model=replace(SMALL, config="{}"), data=PAIRS)
    small = look(plan(), facts, free_ram=2 * GB)
    assert small.memory is not None
    assert small.memory.available == 2 * GB
    assert verdict(small).plain.startswith("✔ roughly: fits with")

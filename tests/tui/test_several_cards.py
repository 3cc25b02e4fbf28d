"""What the review says on a machine with several cards."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from backprop_tui.core.facts import Facts, GpuFacts
from tests.tui.wizard_pilot import NARROW, NO_CARD, card, clipped, wizard

TWO = Facts(gpu=GpuFacts(cards=(card(0), card(1))))


def command(text: str) -> list[str]:
    """What a shell makes of the lines as they are on the screen."""
    lines = text.splitlines()
    first = max(number for number, line in enumerate(lines) if "accelerate launch" in line)
    column = lines[first].index("accelerate")
    copied = "\n".join(line[column:].rstrip(" █▌▐│▁▂▃▄▅▆▇") for line in lines[first : first + 2])
    return shlex.split(copied.replace("\\\n", ""))


async def test_the_command_for_all_cards_is_copied_as_it_stands() -> None:
    async with wizard(NARROW, facts=TWO, save_to=Path("my plan.toml")) as it:
        await it.go("review")
        it.screen.query_one("#all-cards").scroll_visible(animate=False)
        await it.shows("On all 2 cards", "accelerate launch")
        assert command(it.text) == [
            *("accelerate", "launch", "--multi_gpu", "--num_processes", "2"),
            *("-m", "backprop_tui", "run", "my plan.toml"),
        ]
        assert not clipped(it.app)


@pytest.mark.parametrize("gpu", [GpuFacts(cards=(card(0),)), NO_CARD])
async def test_one_card_or_none_needs_no_launcher(gpu: GpuFacts) -> None:
    async with wizard(facts=Facts(gpu=gpu)) as it:
        await it.go("review")
        assert not it.screen.query_one("#all-cards").display


async def test_the_cpu_chosen_on_two_cards_needs_no_launcher() -> None:
    async with wizard(facts=TWO) as it:
        it.app.apply({"machine.device": "cpu"})
        await it.go("review")
        assert not it.screen.query_one("#all-cards").display

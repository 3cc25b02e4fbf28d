"""The card's panel says in words what holds the card back."""

from __future__ import annotations

import dataclasses

import pytest

from backprop_tui.tui.panels.gpu import GpuPanel, held_back
from backprop_tui.tui.panels.panel import WARN
from tests.tui import histories
from tests.tui.test_monitor import WIDE, shows, text_of, until, watching

NARROW, ROOMY = 34, 44  # the panel at 120x36: of a preference method, of sft


def drawn(throttle: str, width: int, **readings: float) -> list[str]:
    panel = GpuPanel()
    panel.take(dataclasses.replace(histories.gpu(0), throttle=throttle, **readings))  # type: ignore[arg-type]
    lines = panel.lines(width, 3)
    texts = ["".join(run.text for run in line) for line in lines]
    assert all(len(text) <= width for text in texts)
    warned = [run.text for line in lines for run in line if run.role == WARN]
    held = held_back(dataclasses.replace(histories.gpu(0), throttle=throttle))
    assert (held in warned) == bool(throttle)
    return texts


@pytest.mark.parametrize(
    ("throttle", "width", "row", "words"),
    [
        ("thermal", ROOMY, 1, "temperature   64 °C  held back: hot"),
        ("thermal", NARROW, 1, "held back: hot 64 °C"),
        ("power", ROOMY, 2, "power         145 W  held back: power limit"),
        ("power", NARROW, 2, "held back: power limit 145 W"),
        ("hardware", ROOMY, 1, "temperature   64 °C  held back: hardware"),
        ("hardware", NARROW, 1, "held back: hardware 64 °C"),
    ],
)
def test_the_row_of_its_cause_says_what_holds_it_back(
    throttle: str, width: int, row: int, words: str
) -> None:
    texts = drawn(throttle, width)
    assert texts[row].rstrip() == words
    assert sum("held back" in text for text in texts) == 1


def test_a_card_that_is_not_held_back_says_nothing_of_it() -> None:
    assert held_back(histories.gpu(0)) == ""
    assert not any("held" in text for text in drawn("", NARROW))


def test_heat_stays_said_beside_a_power_limit() -> None:
    texts = drawn("power", NARROW, temperature=86)
    assert texts[1] == "temperature   86 °C  hot"
    assert texts[2].startswith("held back: power limit")


async def test_it_is_read_on_the_monitor_and_goes_again() -> None:
    card = histories.gpu(20)
    events = list(histories.training(upto=20, cuda=True))
    hot = dataclasses.replace(card, throttle="thermal", temperature=88)
    async with watching([*events, hot], size=WIDE, cuda=True) as (app, pilot):
        shows(app, "held back: hot 88 °C")
        app.post([card])
        await until(pilot, lambda: "held back" not in text_of(app), "a card that runs freely")

"""Guards over the readings of a card: a pause when it is hot, a word when it is held back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.events import GpuSampled, Resumed
from backprop_tui.core.guards import Guards, Verdict
from backprop_tui.core.runfile_guards import GuardsSection


def reading(temperature: int | None = None, throttle: str = "") -> GpuSampled:
    return GpuSampled(t=0, temperature=temperature, power_limit=165.0, throttle=throttle)


def judged(guards: Guards, *readings: GpuSampled) -> list[Verdict]:
    return [verdict for one in readings for verdict in guards.judge(one)]


def guarded(**section: Any) -> Guards:
    return Guards(GuardsSection(**section), "orpo")


def kinds(guards: Guards, *degrees: int | None) -> list[list[str]]:
    return [[found.kind for found in guards.judge(reading(one))] for one in degrees]


def test_a_hot_card_is_paused_once_and_goes_on_when_it_has_cooled() -> None:
    guards = guarded(max_temperature=80, resume_temperature=65)
    degrees = (80, 81, 90, 80, 66, 65, 70, 80, 81, 60)
    assert kinds(guards, *degrees) == [
        *([], ["pause"], [], [], [], ["go_on"]),
        *([], [], ["pause"], ["go_on"]),
    ]


def test_both_are_said_with_their_figures() -> None:
    pause, go_on = judged(guarded(max_temperature=80), reading(84), reading(71), reading(70))
    assert pause == Verdict(
        kind="pause",
        code="card-hot",
        message="the card is at 84 °C, over guards.max_temperature = 80; training goes on at 70 °C",
    )
    assert go_on == Verdict(kind="go_on", code="card-hot", message="the card has cooled to 70 °C")


def test_a_reading_without_a_temperature_changes_nothing() -> None:
    guards = guarded(max_temperature=80)
    assert kinds(guards, None, 85, None, None, 70) == [[], ["pause"], [], [], ["go_on"]]


def test_without_a_limit_no_card_is_too_hot() -> None:
    assert kinds(guarded(), 110, 20) == [[], []]


def test_after_a_new_beginning_a_hot_card_is_paused_again() -> None:
    guards = guarded(max_temperature=80)
    assert kinds(guards, 85) == [["pause"]]
    guards.judge(Resumed(t=0, step=0, checkpoint=""))
    assert kinds(guards, 79, 85, 79, 70) == [[], ["pause"], [], ["go_on"]]


def test_a_pause_that_outlasts_a_new_beginning_ends() -> None:
    """The process that paused may be the one that begins again, after it ran out of memory."""
    guards = guarded(max_temperature=80)
    assert kinds(guards, 85) == [["pause"]]
    for _ in range(2):  # begun again, and again
        guards.judge(Resumed(t=0, step=0, checkpoint=""))
    assert kinds(guards, 75, 70, 65) == [[], ["go_on"], []]


@given(st.lists(st.integers(20, 100) | st.none(), max_size=60))
def test_a_pause_and_its_end_alternate(degrees: list[int | None]) -> None:
    guards = guarded(max_temperature=80, resume_temperature=60)
    paused = False
    for one, found in zip(degrees, kinds(guards, *degrees), strict=True):
        if one is not None and one > 80:
            assert found == ([] if paused else ["pause"])
            paused = True
        elif one is not None and one <= 60:
            assert found == (["go_on"] if paused else [])
            paused = False
        else:
            assert found == []


# --- Held back


@pytest.mark.parametrize(
    ("throttle", "words"),
    [
        ("thermal", "The card holds itself back because it is hot (87 °C), and training is slower"),
        ("power", "The card holds itself back at its power limit (165 W), which is usual under"),
        ("hardware", "The card holds itself back to protect itself, and training is slower"),
    ],
)
def test_a_card_that_is_held_back_is_told_once(throttle: str, words: str) -> None:
    guards = guarded()
    assert judged(guards, *[reading(87, throttle)] * 2) == []
    (found,) = judged(guards, *[reading(87, throttle)] * 9)
    assert (found.kind, found.code) == ("warn", "card-throttled")
    assert found.message.startswith(words)


def test_readings_must_be_in_a_row_and_of_one_cause() -> None:
    hot, power, free = reading(throttle="thermal"), reading(throttle="power"), reading()
    assert judged(guarded(), hot, hot, free, hot, hot, power, power, hot, hot) == []


def test_each_cause_is_told_once_also_after_a_new_beginning() -> None:
    guards = guarded()
    hot, power = reading(throttle="thermal"), reading(throttle="power")
    assert len(judged(guards, *[hot] * 3, *[power] * 3, *[hot] * 3)) == 2
    guards.judge(Resumed(t=0, step=0, checkpoint=""))
    assert judged(guards, *[hot] * 5, *[power] * 5) == []


def test_figures_that_are_not_known_are_left_out() -> None:
    bare = GpuSampled(t=0, throttle="thermal")
    (found,) = judged(guarded(), bare, bare, bare)
    assert "because it is hot, and" in found.message

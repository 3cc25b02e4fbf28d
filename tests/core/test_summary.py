"""What a run came to, as labelled facts."""

from __future__ import annotations

import pytest

from backprop_tui.core.events import Amended, Finished
from backprop_tui.core.history import History
from backprop_tui.core.summary import summary
from tests.tui import histories


def facts(why: str, *amended: Amended) -> dict[str, str]:
    history = History()
    ended = Finished(
        t=30, step=30, stopped=True, seconds=30, memory_peak=None, path="a", replay="", why=why
    )
    for event in [*histories.training(upto=30), *amended, ended]:
        history.add(event)
    return dict(summary(history))


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("", "30 of 240, stopped on request"),
        ("8 hours are over", "30 of 240, stopped: 8 hours are over"),
    ],
)
def test_why_a_run_stopped(why: str, words: str) -> None:
    assert facts(why)["Steps"] == words


def test_what_was_changed_in_the_plan_while_it_ran() -> None:
    amended = Amended(t=9, step=12, why="out of memory", changes={"training.batch_size": "2"})
    assert facts("", amended)["Changed"] == "training.batch_size = 2, at step 12: out of memory"
    assert "Changed" not in facts("")

"""How quick training is, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.events import Step
from backprop_tui.core.methods import METHODS
from backprop_tui.core.pace import ROWS, average, pace

STEP = Step(t=10.0, step=1, steps=9, epoch=0.1, loss=1.0, learning_rate=1e-6, tokens=500, rows=4)


@pytest.mark.parametrize(
    ("method", "rows", "words"),
    [
        ("simpo", 13.333, "13.3 pairs/s"),
        ("kto", 412.4, "412 answers/s"),
        ("sft", 1.313, "1.31 rows/s"),
        ("orpo", 0.0423, "0.042 pairs/s"),
        ("", 2.0, "2.00 rows/s"),  # before the run has said what it is
    ],
)
def test_rows_are_called_what_the_method_calls_them(method: str, rows: float, words: str) -> None:
    assert pace(None, rows, None, method) == [words]


def test_every_method_has_a_word_for_its_rows() -> None:
    assert all(method.shapes[0] in ROWS for method in METHODS.values())


def test_what_is_unknown_is_left_out() -> None:
    assert pace(1234.5, 2.0, 0.414, "simpo") == ["1,234 tokens/s", "2.00 pairs/s", "41 % of peak"]
    assert pace(None, None, None, "simpo") == []


def test_the_average_is_from_the_first_step_to_the_last() -> None:
    last = replace(STEP, t=18.0, step=9, tokens=8_500, rows=44, tokens_per_second=500.0, mfu=0.2)
    # 8,000 tokens in 8 s, at 0.0004 of the peak a token
    assert average([STEP, STEP, last], "simpo") == [
        "1,000 tokens/s",
        "5.00 pairs/s",
        "40 % of peak",
    ]


def test_one_step_has_no_average() -> None:
    assert average([STEP], "simpo") == average([], "simpo") == average([STEP, STEP], "simpo") == []


def test_a_run_recorded_without_rows_tells_its_tokens() -> None:
    steps = [replace(STEP, rows=0), replace(STEP, t=12.0, tokens=1_500, rows=0)]
    assert average(steps, "simpo") == ["500 tokens/s"]

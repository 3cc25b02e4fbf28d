"""The look inside a data set: what stands out, and what each max_length would do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.effective import TrainRows
from backprop_tui.core.facts import Fit
from backprop_tui.core.quality import Finding, Quality
from backprop_tui.tui.steps.data_inside import fit_words, fits_table, inside
from backprop_tui.tui.view import View, look
from tests.core.worlds import PAIRS, facts, run_file

FITS = (
    Fit(max_length=512, whole=60, prompt_cut=30, too_long=10),
    Fit(max_length=1024, whole=100, prompt_cut=0, too_long=0),
)


def view(max_length: int = 512, *, cut: bool = False, quality: Quality | None = None) -> View:
    run = run_file({"data.max_length": max_length, "data.cut_answers": cut})
    data = replace(PAIRS, fits=FITS, quality=quality)
    return look(run, facts(data=data), rows=TrainRows(576, 64))


@pytest.mark.parametrize(
    ("max_length", "cut", "said"),
    [
        (512, False, "60 % of the rows fit, 30 % lose the start of their prompt, 10 % are dropped"),
        (512, True, "60 % of the rows fit, 30 % lose the start of their prompt, 10 % have their"),
        (1024, False, "every row fits in 1,024 tokens"),
        (700, False, ""),
    ],
)
def test_the_chosen_length_says_what_it_does_to_the_rows(
    max_length: int, cut: bool, said: str
) -> None:
    words = fit_words(view(max_length, cut=cut))
    assert words.startswith(said)
    assert bool(words) == bool(said)


def test_each_length_has_its_shares_and_its_memory() -> None:
    seen = view()
    assert seen.facts.data is not None
    head, short, long = fits_table(seen, seen.facts.data).plain.splitlines()
    assert head.split() == ["max", "length", "whole", "prompt", "cut", "too", "long", "memory"]
    assert short.split()[:7] == ["512", "60", "%", "30", "%", "10", "%"]
    assert long.split()[:7] == ["1,024", "100", "%", "0", "%", "0", "%"]
    needed = [float(line.split("≈")[1].split()[0]) for line in (short, long)]
    assert needed[0] < needed[1]


def test_the_report_comes_before_the_rows_with_what_to_do() -> None:
    found = Finding(
        code="data-contradictions",
        level="warning",
        count=3,
        of=640,
        text="3 of 640 pairs say the opposite of another one.",
        examples=("row 2: a", "row 5: b", "row 7: c"),
        do="Keep one of each.",
    )
    seen = view(quality=Quality(rows=640, findings=(found,)))
    assert seen.facts.data is not None
    text = inside(seen, seen.facts.data).plain
    assert text.index("what stands out, in 640 rows") < text.index("max length")
    assert "3 of 640 pairs say the opposite of another one. → Keep one of each." in text
    assert "row 5: b" in text
    assert "row 7: c" not in text

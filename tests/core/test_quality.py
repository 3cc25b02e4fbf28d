"""Findings: their levels, what the facts add to the report, and which become advice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.facts import DataFacts, DroppedRow
from backprop_tui.core.findings import findings, length_separates
from backprop_tui.core.quality import WARN_FROM, Finding, Level, Quality, level
from backprop_tui.core.rules import judge
from tests.core.worlds import MARKS, PAIRS, bias, facts, run_file


def one(code: str, n: int, *, at: Level = "warning", of: int = 600) -> Finding:
    return Finding(code=code, level=at, count=n, of=of, text=f"{n} are odd.", do="Mend them.")


def told(*found: Finding) -> DataFacts:
    return replace(PAIRS, quality=Quality(rows=600, findings=found))


@pytest.mark.parametrize("code", WARN_FROM)
def test_a_finding_is_a_warning_from_its_share_on(code: str) -> None:
    edge = round(WARN_FROM[code] * 1000)
    assert level(code, edge, 1000) == "warning"
    assert level(code, edge - 1, 1000) == "note"


def test_nothing_found_warns_of_nothing() -> None:
    assert level("data-near-leak", 0, 0) == "note"
    assert level("data-leak", 5, 5) == "note"  # it has no share of its own


def test_findings_come_most_serious_first_then_by_share() -> None:
    data = told(one("c", 1, at="note"), one("a", 5), one("b", 9), one("d", 600, at="problem"))
    assert [found.code for found in findings(data)] == ["d", "b", "a", "c"]
    assert data.quality is not None
    assert data.quality.find("b") == one("b", 9)
    assert data.quality.find("none") is None


def test_without_a_report_the_facts_still_tell_what_they_know() -> None:
    assert findings(PAIRS) == ()
    data = replace(PAIRS, length_bias=bias(90, 480, ratio=1.42, p_value=1e-12))
    (found,) = findings(data)
    assert (found.code, found.level, found.count, found.of) == (
        "data-length-bias",
        "warning",
        480,
        570,
    )
    assert "longer in 90 and shorter in 480 of 570 pairs" in found.text
    assert "(sign test p under 0.001); rejected has 1.42 times the words" in found.text
    assert "simpo" in found.do


def test_a_length_difference_by_chance_is_a_note_with_its_test() -> None:
    (found,) = findings(replace(PAIRS, length_bias=bias(310, 320, p_value=0.72)))
    assert (found.level, found.count, found.do) == ("note", 0, "")
    assert "sign test p 0.720" in found.text
    assert findings(replace(PAIRS, length_bias=bias(0, 0))) == ()
    assert not length_separates(None)


def test_identical_sides_were_dropped_at_reading_and_are_told_here() -> None:
    rows = (
        DroppedRow(row=7, reason="identical sides", excerpt="{}"),
        DroppedRow(row=9, reason="identical sides", excerpt="{}", place="b.jsonl 2"),
        DroppedRow(row=8, reason="empty text", excerpt="{}"),
    )
    dropped = {"identical sides": 2, "empty text": 1}
    (found,) = findings(replace(PAIRS, rows=643, dropped=dropped, dropped_rows=rows))
    assert (found.code, found.count, found.of) == ("data-identical-sides", 2, 643)
    assert found.examples == ("row 7, b.jsonl 2",)


@pytest.mark.parametrize(
    ("good", "bad", "said", "count"),
    [(300, 300, "inside", 0), (400, 300, "inside", 0), (401, 300, "outside", 101)],
)
def test_the_balance_of_marks_is_held_against_the_papers_band(
    good: int, bad: int, said: str, count: int
) -> None:
    (found,) = findings(replace(MARKS, labels={True: good, False: bad}))
    assert f"{good} good and {bad} bad" in found.text
    assert f"{said} the 1 to 1.33" in found.text
    assert found.count == count
    assert "arXiv:2402.01306" in found.source


def test_one_mark_alone_is_no_balance() -> None:
    assert findings(replace(MARKS, labels={True: 9})) == ()


@pytest.mark.parametrize("code", ["data-contradictions", "data-cycles"])
def test_sft_is_not_bothered_with_rankings(code: str) -> None:
    world = facts(told(one(code, 60)))
    codes = {method: {item.code for item in judge(run_file(method=method), world)}
             for method in ("orpo", "sft")}  # fmt: skip
    assert code in codes["orpo"]
    assert code not in codes["sft"]


def test_without_held_out_rows_nothing_leaks_into_them() -> None:
    world = facts(told(one("data-near-leak", 60)))
    kept = judge(run_file({"data.heldout": 0.0}), world)
    assert "data-near-leak" not in {item.code for item in kept}


def test_no_finding_refuses_a_run() -> None:
    """A report is an opinion on the data; the user may know better."""
    every = [one(code, 600) for code in WARN_FROM]
    levels = {item.level for item in judge(run_file(), facts(told(*every)))}
    assert levels == {"warning"}

"""The rows as each method reads them, and the split they are counted by."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from backprop_tui.core.effective import estimated_rows
from backprop_tui.core.rows import Chat, Labelled, Pair, Row
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.probe.data import DataSource, bundled, describe, load
from backprop_tui.probe.survey import judged, resolved, rows_for, survey
from tests.conftest import pocket_run

NOWHERE = Path("no-such-folder")


def plan(method: str) -> RunFile:
    return pocket_run(method, NOWHERE, {"data.path": str(bundled("pocket", "orpo"))})


def test_kto_reads_a_pair_as_a_good_and_a_bad_answer_to_one_prompt() -> None:
    found = survey(plan("kto"))
    rows = [row for row in found.train + found.heldout if isinstance(row, Labelled)]
    assert len(rows) == 800
    assert Counter(row.label for row in rows) == {True: 400, False: 400}
    assert found.counts.desirable == found.counts.undesirable == len(found.train) // 2
    assert "kto-splits-pairs" in {item.code for item in found.advice}
    assert not [item for item in found.advice if item.level == "problem"]


def test_the_estimate_before_the_split_counts_both_halves() -> None:
    found = survey(plan("kto"))
    assert estimated_rows(plan("kto"), found.facts) == found.counts


def test_sft_takes_the_chosen_side_and_the_rest_take_what_fits() -> None:
    pair, chat, marked = Pair(1, (), (), ()), Chat(2, ()), Labelled(3, (), (), label=True)
    rows: list[Row] = [pair, chat]
    assert [type(row) for row in rows_for(plan("sft"), rows)] == [Chat, Chat]
    assert rows_for(plan("orpo"), rows) == rows_for(plan("simpo"), rows) == [pair]
    halves = [Labelled(1, (), (), label=True), Labelled(1, (), (), label=False)]
    assert rows_for(plan("kto"), [pair, marked]) == [marked, *halves]


def test_both_halves_of_a_pair_stay_on_one_side_of_the_split() -> None:
    run = plan("kto")
    pairs = survey(plan("orpo"))
    train, heldout = split(rows_for(run, pairs.train + pairs.heldout), 0.2, 0)
    assert {row.number for row in train}.isdisjoint(row.number for row in heldout)
    assert len(heldout) == 160


def test_every_local_path_of_a_plan_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("{}")
    changes = {"data.path": "a.jsonl", "data.more_paths": ["b.jsonl", "some/hub"]}
    run = resolved(pocket_run("orpo", NOWHERE, changes))
    assert run.data.path == str(tmp_path / "a.jsonl")
    assert run.data.more_paths == [str(tmp_path / "b.jsonl"), "some/hub"]
    assert run.model.id == "pocket"
    several = resolved(pocket_run("orpo", NOWHERE, {"data.path": "*.jsonl"}))
    assert several.data.path == str(tmp_path / "*.jsonl")


def test_findings_name_rows_by_file_and_say_where_a_place_is_a_guess(tmp_path: Path) -> None:
    row = {"prompt": "What is {{name}}?", "chosen": "A thing.", "rejected": "None."}
    for name in ("a.jsonl", "b.jsonl"):
        rows = [{**row, "prompt": f"{name} {i}"} for i in range(30)]
        rows[7] = row if name == "b.jsonl" else rows[7]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    loaded = load(DataSource(str(tmp_path)))
    found = judged(describe(loaded), loaded, 0, 0.1).quality
    assert found is not None
    finding = found.find("data-placeholders")
    assert finding is not None
    assert finding.examples[0].startswith("row b.jsonl 8: ")
    guessed = judged(describe(loaded), replace(loaded, exact=False), 0, 0.1).quality
    assert guessed is not None
    finding = guessed.find("data-placeholders")
    assert finding is not None
    assert finding.examples[0].startswith("row about b.jsonl 8: ")

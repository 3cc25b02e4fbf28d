"""What `eval` left of a run, whatever somebody did to it since."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.comparison_evals import Evaluation
from backprop_tui.core.scores import Figure
from backprop_tui.runs.evals import read_evaluations, result_sha256

FIGURE = Figure("accuracy", 0.8, 0.7, 0.9, 80, base=0.5, base_low=0.4, base_high=0.6)
GOOD: dict[str, Any] = {
    "schema": 1,
    "data": "pairs.jsonl",
    "data_sha256": "ab",
    "rows": 80,
    "figures": [asdict(FIGURE)],
    "later": "a field of a later version",
}


def write(run: Path, name: str, text: str) -> None:
    folder = run / "evals" / name
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(text)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, "heldout", json.dumps(GOOD))
    found, problems = read_evaluations(tmp_path)
    assert found == [Evaluation("heldout", "pairs.jsonl", "ab", 80, (FIGURE,))]
    assert problems == []


def test_none_was_made(tmp_path: Path) -> None:
    assert read_evaluations(tmp_path) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps(GOOD | {"schema": 2}),
        json.dumps(GOOD | {"rows": "80"}),
        json.dumps(GOOD | {"rows": -1}),
        json.dumps(GOOD | {"figures": [{"name": "accuracy"}]}),
        json.dumps(GOOD | {"of": ["x"]}),
        json.dumps(GOOD | {"settings": {"max_new_tokens": "x"}}),
        json.dumps(GOOD | {"figures": [asdict(FIGURE) | {"base": "x"}]}),
        json.dumps(GOOD).replace("0.8", "NaN"),
        "[" * 100_000,
    ],
)
def test_a_broken_one_is_left_out_and_told(tmp_path: Path, text: str) -> None:
    write(tmp_path, "a", text)
    write(tmp_path, "b", json.dumps(GOOD))
    found, problems = read_evaluations(tmp_path)
    assert [one.name for one in found] == ["b"]
    assert len(problems) == 1
    assert "no summary that eval writes" in problems[0]


def test_one_that_is_under_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "evals" / "heldout").mkdir(parents=True)
    found, problems = read_evaluations(tmp_path)
    assert (found, len(problems)) == ([], 1)
    assert "has not come to its end" in problems[0]


def test_no_terminal_obeys_a_name(tmp_path: Path) -> None:
    write(tmp_path, "x", json.dumps(GOOD | {"data": "\x1b[2J"}))
    assert "\x1b" not in read_evaluations(tmp_path)[0][0].data


def test_a_figure_that_is_no_number_costs_that_figure_alone(tmp_path: Path) -> None:
    """A perplexity beyond what a number holds is null in the summary."""
    broken = asdict(FIGURE) | {"name": "perplexity", "tuned": None, "tuned_high": None}
    write(tmp_path, "heldout", json.dumps(GOOD | {"figures": [asdict(FIGURE), broken]}))
    found, problems = read_evaluations(tmp_path)
    assert (found[0].figures, problems) == ((FIGURE,), [])


def test_one_of_weights_the_run_no_longer_has_is_not_used(tmp_path: Path) -> None:
    """A run that was stopped, measured, and has gone on since."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"new")
    now = result_sha256(tmp_path / "adapter")
    write(tmp_path, "heldout", json.dumps(GOOD | {"of": {"tuned": "old"}}))
    write(tmp_path, "heldout-2", json.dumps(GOOD | {"of": {"tuned": now}, "rows_of": "heldout"}))
    found, problems = read_evaluations(tmp_path)
    assert [one.name for one in found] == ["heldout"]
    assert len(problems) == 1
    assert "evals/heldout/summary.json" in problems[0]
    assert "other weights now" in problems[0]


def test_the_newest_comes_first(tmp_path: Path) -> None:
    for at, (name, rows) in enumerate({"b": 1, "a": 2}.items()):
        write(tmp_path, name, json.dumps(GOOD | {"rows": rows, "rows_of": "heldout"}))
        os.utime(tmp_path / "evals" / name / "summary.json", (at, at))
    assert [one.rows for one in read_evaluations(tmp_path)[0]] == [2, 1]

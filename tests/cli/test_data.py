"""`data`: what it prints of a data set, aligned at 80 columns, and what its options do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backprop_tui.cli import app
from backprop_tui.cli.data_text import facts_lines, fit_lines, offer_lines
from backprop_tui.core.facts import DroppedRow, Fit, Offer
from backprop_tui.core.wrap import cells, clipped, wrapped
from tests.core.worlds import PAIRS

LONG = "a story that goes on for a while, so that it has more than ten words, about"


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def told(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def facts(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(*arguments, "--json"))
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(n: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Tell me {i}.", "chosen": f"{LONG} {i}.", "rejected": f"No, {LONG} not {i}."}
        for i in range(n)
    ]


def torn(n: int) -> list[dict[str, Any]]:
    """Pairs of which the last two say the opposite of each other."""
    first, last = {"prompt": "Q?", "chosen": "A.", "rejected": "B."}, {"prompt": "Q?"}
    return [*pairs(n - 2), first, {**last, "chosen": "B.", "rejected": "A."}]


def test_findings_stand_with_their_figures_remedy_rows_and_code(tmp_path: Path) -> None:
    said = " ".join(told(write(tmp_path / "a.jsonl", torn(40))).split())
    assert "warning 2 rows (5 %) contradict each other" in said
    assert "Decide which is right" in said
    assert "[data-contradictions] row 39 against row 40: Q?" in said
    assert "0 of 4 held-out prompts are also trained on" in said


def test_json_has_the_report_the_findings_and_the_confidence(tmp_path: Path) -> None:
    found = facts(write(tmp_path / "a.jsonl", torn(40)))
    assert found["quality"]["rows"] == 40
    assert found["findings"][0]["code"] in ("data-contradictions", "data-length-bias")
    assert {"method", "confidence", "wait", "reasons", "runner_up"} <= set(found["recommendation"])
    assert found["recommendation"]["runner_up"] == "kto"


def test_the_report_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", torn(40))
    assert facts(path, "--no-quality")["quality"] is None
    assert "contradict" not in told(path, "--no-quality")


def test_do_not_train_yet_comes_first(tmp_path: Path) -> None:
    said = told(write(tmp_path / "a.jsonl", pairs(9)))
    assert said.startswith("wait       Do not train yet, because 9 rows")
    assert not told(write(tmp_path / "b.jsonl", pairs(10))).startswith("wait")


def test_method_confidence_reasons_and_runner_up_are_told(tmp_path: Path) -> None:
    lines = told(write(tmp_path / "a.jsonl", pairs(120))).splitlines()
    labels = [line[:11].strip() for line in lines]
    for label in ("data", "shape", "rows", "method", "confidence", "why", "runner-up"):
        assert label in labels


def test_no_line_is_wider_than_the_screen_but_a_path(tmp_path: Path) -> None:
    wide = {"prompt": "这是一个很长的问题" * 9, "chosen": "答案" * 60}
    rows = [{**wide, "rejected": "不" * 50 + str(i)} for i in range(12)]
    for path in (write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", torn(40))):
        for line in told(path, "--model", "pocket").splitlines():
            assert cells(line) <= 80 or str(path.parent) in line
            assert line == line.rstrip()


def test_lengths_are_one_table_in_words_and_tokens(tmp_path: Path) -> None:
    said = told(write(tmp_path / "a.jsonl", pairs(20)), "--model", "pocket").splitlines()
    head = next(i for i, line in enumerate(said) if "longest" in line)
    table = said[head : head + 8]
    assert [line.split("  ")[0] for line in table[1:]] == [
        *("prompt words", "chosen words", "rejected words"),
        *("prompt tokens", "chosen tokens", "rejected tokens", "whole row tokens"),
    ]
    ends = {len(line.split("   (")[0]) for line in table}
    assert len(ends) == 1  # the figures stand under one another


# Options


def test_columns_and_text_labels_can_be_named(tmp_path: Path) -> None:
    rows = [
        {"q": f"Q{i}?", "a=b": f"{LONG} {i}", "verdict": "yes=so" if i % 2 else "no"}
        for i in range(12)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    found = facts(
        *(path, "--column", "prompt=q", "--column", "completion=a=b", "--column", "label=verdict"),
        *("--label", "yes=so=good", "--label", "no=bad"),
    )
    assert (found["shape"], found["labels"]) == ("unpaired", {"true": 6, "false": 6})


def test_a_shape_can_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{**row, "completion": "x"} for row in pairs(12)])
    assert facts(path)["shape"] == "paired"
    assert facts(path, "--shape", "sft")["shape"] == "sft"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--column", "prompt"), "--column prompt: expected ours=theirs"),
        (("--column", "=q"), "--column =q: expected ours=theirs"),
        (("--label", "yes"), "--label yes: expected text=good or text=bad"),
        (("--label", "yes=maybe"), "--label yes=maybe: expected"),
        (("--shape", "other"), "--shape other: not a shape"),
        (("--show", "3"), "--show needs --model"),
        (("--row", "3"), "--row needs --model"),
        (("--show", "3", "--row", "3", "--model", "pocket"), "--show and --row: one or the"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["data", str(write(tmp_path / "a.jsonl", pairs(2))), *options])
    assert isinstance(done.exception, Exception)
    assert str(done.exception).startswith(said)


# Printing


def test_dropped_rows_are_told_by_reason_and_place() -> None:
    rows = (
        DroppedRow(row=3, reason="empty text", excerpt=""),
        DroppedRow(row=9, reason="empty text", excerpt="", place="b.jsonl 2"),
    )
    lost = {"empty text": 5, "identical sides": 1}
    data = replace(PAIRS, rows=646, dropped=lost, dropped_rows=rows, exact=False)
    said = list(facts_lines(data))
    assert "rows       about 646, about 640 can be trained" in said
    assert "dropped    about 5 empty text (row 3, b.jsonl 2, …)" in said
    assert "           about 1 identical sides" in said


def test_each_max_length_says_what_it_would_cost() -> None:
    fits = (Fit(max_length=512, whole=600, prompt_cut=250, too_long=150),
            Fit(max_length=1024, whole=900, prompt_cut=90, too_long=10))  # fmt: skip
    head, short, asked = fit_lines(fits, 1024)
    assert head.split("   (")[0].split() == ["max_length", "whole", "prompt", "cut", "too", "long"]
    assert short.split() == ["512", "600", "250", "150"]
    assert asked.split() == ["1,024", "900", "90", "10", "<"]
    assert list(fit_lines((), 1024)) == []


def test_an_offer_is_told_as_the_options_that_take_it() -> None:
    offers = (
        Offer(text="marks in tag", changes=(("data.columns", {"label": "my tag"}),)),
        Offer(
            text="texts as marks",
            changes=(("data.labels", {"yes": True, "no": False}), ("data.shape", "unpaired")),
        ),
    )
    assert list(offer_lines(offers)) == [
        "offer      marks in tag",
        "           --column 'label=my tag'",
        "offer      texts as marks",
        "           --label yes=good",
        "           --label no=bad",
        "           --shape unpaired",
    ]


def test_offers_are_told_once(tmp_path: Path) -> None:
    rows = [{"question": f"Q{i}?", "answer_one": f"A{i}.", "answer_two": f"B{i}."}
            for i in range(12)]  # fmt: skip
    said = told(write(tmp_path / "a.jsonl", rows))
    assert said.count("If 'answer_one' is the better one") == 1
    assert "[data.columns]" not in said
    assert "--column chosen=answer_one" in said
    assert "method     none fits" in said


def test_text_wraps_at_spaces_and_wide_signs_count_twice() -> None:
    assert list(wrapped([("ab", "x" * 100), ("", "")])) == ["ab         " + "x" * 100, ""]
    assert all(cells(line) <= 80 for line in wrapped([("ab", "字" * 100)]))
    assert "".join(line.strip() for line in wrapped([("", "字" * 100)])) == "字" * 100
    assert clipped("字" * 10, 20) == "字" * 10
    assert clipped("字" * 10, 19) == "字" * 9 + "…"
    assert clipped("abcdef", 5) == "abcd…"


SEQUENCE = "\x1b[31m\x07"


@pytest.mark.parametrize(
    "rows",
    [
        [
            {"prompt": f"q{i}{SEQUENCE}", "chosen": f"a{SEQUENCE}", "rejected": "b"}
            for i in range(9)
        ],
        [{f"{SEQUENCE}q": "q", f"{SEQUENCE}answer_a": "a", f"{SEQUENCE}answer_b": "b"}] * 9,
        [{"prompt": f"q{i}", "completion": "a", "label": f"{SEQUENCE}{i % 2}"} for i in range(9)],
        [{"prompt": f"q{i}", "chosen": f"{{{{ {SEQUENCE} }}}}", "rejected": "b"} for i in range(9)],
        [{"prompt": "q", "chosen": f"a{SEQUENCE}", "rejected": "b"}] * 9,
    ],
    ids=["text", "column", "label", "placeholder", "copies"],
)
def test_what_a_file_says_is_no_command_to_the_terminal(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    shown = CliRunner().invoke(app, ["data", str(write(tmp_path / "a.jsonl", rows))], color=True)
    assert shown.exit_code == 0
    assert "\x1b" not in shown.output
    assert "\x07" not in shown.output
    assert "␛[31m" in shown.output

"""`split`: the rows a run would hold out, as two files; nothing lost, nothing overwritten."""

from __future__ import annotations

import gzip
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backprop_tui.cli import app, split_files
from backprop_tui.cli.split import default_prefix
from backprop_tui.core.errors import InputError
from backprop_tui.core.split import split as split_rows
from backprop_tui.probe.data import DataSource, load


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["split", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str | Path) -> InputError:
    done = CliRunner().invoke(app, ["split", *map(str, arguments)])
    assert isinstance(done.exception, InputError), done.output
    return done.exception


def line(i: int, **more: Any) -> str:
    row = {"prompt": f"Is {i // 2} so?", "chosen": f"Yes, {i}.", "rejected": f"No, {i}.", **more}
    return json.dumps(row, indent=None, separators=(", ", ":  "))  # as nobody writes it again


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def sides(path: Path) -> tuple[list[str], list[str]]:
    name = path.name.partition(".")[0]
    return lines_of(path.with_name(f"{name}.train.jsonl")), lines_of(
        path.with_name(f"{name}.heldout.jsonl")
    )


def test_the_lines_are_the_files_own_and_none_is_lost(tmp_path: Path) -> None:
    lines = [line(i, note="naïve, 字") for i in range(40)]
    path = write(tmp_path / "pairs.jsonl", lines)
    said = run(path)
    train, held = sides(path)
    assert sorted(train + held) == sorted(lines)
    assert [lines.index(one) for one in held] == sorted(lines.index(one) for one in held)
    assert len(held) == 4
    assert "36 rows" in said
    assert "4 rows" in said
    assert not (tmp_path / "pairs.dropped.jsonl").exists()


def test_held_out_are_the_rows_a_run_would_hold_out(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [line(i) for i in range(60)])
    run(path, "--heldout", "0.25", "--seed", "7")
    _, held = split_rows(load(DataSource(str(path))).rows, 0.25, 7)
    written = load(DataSource(str(tmp_path / "pairs.heldout.jsonl"))).rows
    assert {row.prompt for row in written} == {row.prompt for row in held}  # type: ignore[union-attr]
    assert len(written) == len(held) == 15 - 1  # by whole prompts, of two rows each


def test_no_prompt_stands_on_both_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [line(i) for i in range(60)])
    run(path)
    train, held = ({json.loads(one)["prompt"] for one in side} for side in sides(path))
    assert not train & held


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [line(i) for i in range(60)])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(path, "--seed", str(seed), "-o", tmp_path / name)
    held = [(tmp_path / f"{name}.heldout.jsonl").read_bytes() for name in "abc"]
    assert held[0] == held[1] != held[2]


def test_marks_are_stratified_and_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i}?", "completion": f"A{i}.", "label": i < 30} for i in range(100)]
    path = write(tmp_path / "marks.jsonl", [json.dumps(row) for row in rows])
    found = json.loads(run(path, "--json"))
    assert found["train"] == {"rows": 90, "labels": {"true": 27, "false": 63}}
    assert found["heldout"] == {"rows": 10, "labels": {"true": 3, "false": 7}}


def test_rows_that_cannot_be_trained_are_written_with_their_reasons(tmp_path: Path) -> None:
    lines = [*(line(i) for i in range(20)), line(50, chosen=""), "not json", "[1]"]
    path = write(tmp_path / "pairs.jsonl", lines)
    said = run(path)
    dropped = [json.loads(one) for one in lines_of(tmp_path / "pairs.dropped.jsonl")]
    assert [(one["row"], one["reason"]) for one in dropped] == [
        ("21", "empty text"),
        ("23", "not a JSON object"),
        ("22", "unparseable line"),
    ]
    assert (dropped[0]["record"], dropped[2]["text"]) == (json.loads(lines[20]), "not json")
    assert "3 rows on neither side: " in said
    train, held = sides(path)
    assert len(train) + len(held) + len(dropped) == len(lines)


def test_a_row_nested_too_deep_is_named_with_its_reason(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900  # more than Python writes again
    odd = f'{{"prompt": {deep}, "chosen": "a", "rejected": "b"}}'
    kept = f'{{"prompt": "Q?", "chosen": "a", "rejected": "b", "more": {deep}}}'
    lines = [*(line(i) for i in range(20)), odd, kept]
    run(write(tmp_path / "pairs.jsonl", lines), "-o", tmp_path / "out")
    train, held = (lines_of(tmp_path / f"out.{side}.jsonl") for side in ("train", "heldout"))
    assert sorted(train + held) == sorted([*lines[:20], kept])
    (dropped,) = lines_of(tmp_path / "out.dropped.jsonl")
    assert json.loads(dropped)["reason"] == "not text"


def test_several_files_are_split_as_one_and_rows_keep_their_places(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [line(i) for i in range(20)])
    second = write(tmp_path / "b.jsonl", [line(50, chosen=""), *(line(i) for i in range(20, 30))])
    run(first, second, "-o", tmp_path / "both")
    train, held = (lines_of(tmp_path / f"both.{side}.jsonl") for side in ("train", "heldout"))
    assert sorted(train + held) == sorted(line(i) for i in range(30))
    (dropped,) = lines_of(tmp_path / "both.dropped.jsonl")
    assert json.loads(dropped)["row"] == "b.jsonl 1"


def test_a_csv_becomes_jsonl_that_reads_as_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    rows = "".join(f'"Q{i}, really?",A{i}.,{"True" if i % 2 else 0}\n' for i in range(20))
    path.write_text(f"prompt,completion,label\n{rows}")
    run(path)
    before = load(DataSource(str(path))).rows
    after = [
        row
        for side in ("train", "heldout")
        for row in load(DataSource(str(tmp_path / f"marks.{side}.jsonl"))).rows
    ]

    def what(row: Any) -> tuple[Any, ...]:
        return row.prompt, row.completion, row.label

    assert sorted(map(what, after), key=repr) == sorted(map(what, before), key=repr)


def test_columns_are_mapped_and_records_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"q": f"Q{i}?", "good": f"A{i}.", "bad": f"B{i}."} for i in range(20)]
    path = write(tmp_path / "odd.jsonl", [json.dumps(row) for row in rows])
    mapping = ("--column=prompt=q", "--column=chosen=good", "--column=rejected=bad")
    run(path, *mapping)
    train, held = sides(path)
    assert set(json.loads(held[0])) == {"q", "good", "bad"}
    assert len(train) + len(held) == 20


def test_line_ends_and_a_byte_order_mark_do_not_come_along(tmp_path: Path) -> None:
    lines = [line(i) for i in range(10)]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    run(path)
    train, held = sides(path)
    assert sorted(train + held) == sorted(lines)


@pytest.mark.parametrize("ratio", ["0", "1", "-0.1", "1.5", "nan", "inf"])
def test_a_ratio_that_makes_no_sense_is_refused(ratio: str, tmp_path: Path) -> None:
    error = refused(write(tmp_path / "pairs.jsonl", [line(0), line(2)]), "--heldout", ratio)
    assert "must be above 0 and under 1" in error.message
    assert sorted(os.listdir(tmp_path)) == ["pairs.jsonl"]


def test_a_side_may_not_be_empty(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "pairs.jsonl", [line(0), line(1)]))  # one prompt
    assert error.code == "DATA_CANNOT_SPLIT"
    assert "2 rows, all of one prompt" in error.message
    none = refused(write(tmp_path / "none.jsonl", [line(0, chosen="")]))
    assert none.code == "DATA_CANNOT_SPLIT"
    assert "1 empty text" in none.message
    assert sorted(os.listdir(tmp_path)) == ["none.jsonl", "pairs.jsonl"]


@pytest.mark.parametrize("side", ["train", "heldout", "dropped"])
def test_nothing_is_overwritten_and_nothing_read_before_that_is_said(
    side: str, tmp_path: Path
) -> None:
    taken = tmp_path / f"pairs.{side}.jsonl"
    taken.write_text("mine")
    error = refused(tmp_path / "pairs.jsonl")  # which is not even there
    assert error.code == "OUTPUT_EXISTS"
    assert str(taken) in error.message
    assert taken.read_text() == "mine"


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "b"
    taken.write_text("mine")
    with pytest.raises(InputError, match="exists and is not overwritten"):
        split_files.write_new({tmp_path / "a": [b"1\n"], taken: [b"2\n"]})
    assert taken.read_text() == "mine"
    assert os.listdir(tmp_path) == ["b"]  # neither the first file nor a temporary one stays


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        split_files.write_new({tmp_path / "a": [b"1\n"]})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = write(tmp_path / "pairs.jsonl", [line(i) for i in range(9)])
    assert refused(path, "-o", tmp_path / "file" / "x").code == "WRITE_REFUSED"


def test_the_files_stand_beside_a_file_and_here_for_what_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl.gz").write_text("")
    assert default_prefix("data/a.jsonl.gz") == Path("data/a")
    assert default_prefix("data") == Path("data")
    assert default_prefix("data/part-*.jsonl") == Path("data/part")
    assert default_prefix("pocket") == tmp_path / "pocket"
    assert default_prefix("owner/name") == tmp_path / "name"


def test_the_bundled_examples_can_be_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("pocket")
    assert "360 rows" in said
    assert len(lines_of(tmp_path / "pocket.heldout.jsonl")) == 40


@pytest.mark.parametrize("named", ["folder", "folder/*.jsonl"])
def test_one_file_in_a_folder_keeps_its_lines(named: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    lines = [line(i) for i in range(20)]
    write(tmp_path / "folder" / "a.jsonl", lines)
    run(tmp_path / named, "-o", tmp_path / "out")
    train, held = sides(tmp_path / "out.jsonl")
    assert sorted(train + held) == sorted(lines)


@pytest.mark.parametrize("packed", [False, True])
def test_what_reads_as_another_number_stays_as_it_is(packed: bool, tmp_path: Path) -> None:
    lines = [line(i, id=10**25 + i) for i in range(20)]  # read as a float
    lines[3] = line(3, score=float("nan"))
    path = write(tmp_path / "pairs.jsonl", lines)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    run(path)
    train, held = sides(path)
    assert sorted(train + held) == sorted(lines)


@pytest.mark.parametrize("column", ["label", "is_correct", "Feedback"])
def test_the_labels_of_a_csv_are_labels_in_its_parts(column: str, tmp_path: Path) -> None:
    marks = ["true" if i % 2 else "false" for i in range(20)]
    rows = [f"p{i},a{i},{mark}" for i, mark in enumerate(marks)]
    path = write(tmp_path / "votes.csv", [f"prompt,completion,{column}", *rows])
    mapped = ["--column", f"label={column}"] if column == "Feedback" else []
    run(path, *mapped)
    columns = {"label": column} if mapped else None
    part = load(DataSource(str(tmp_path / "votes.train.jsonl"), columns=columns))
    assert part.shape == "unpaired"
    assert part.kept == 18


@pytest.mark.parametrize("output", ["", ".", "/", ".."])
def test_a_prefix_that_names_no_file_is_refused(output: str, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [line(i) for i in range(4)])
    assert refused(path, "--output", output).code == "CONFIG_INVALID_SETTING"


def test_an_interrupt_between_the_files_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    made: list[Path] = []

    def interrupted(source: str, target: Path) -> None:
        if made:
            raise KeyboardInterrupt
        made.append(target)
        link(source, target)

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        split_files.write_new({tmp_path / "a": [b"1\n"], tmp_path / "b": [b"2\n"]})
    assert made == [tmp_path / "a"]
    assert list(tmp_path.iterdir()) == []

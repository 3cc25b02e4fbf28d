"""What cannot be read is said in a sentence that names the file; no row is lost in silence."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backprop_tui.core.errors import InputError
from backprop_tui.probe.data import DataSource, load, probe_data

Write = Callable[..., str]


def refused(path: str, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        load(DataSource(path, **options))
    assert caught.value.exit_code == 1
    assert Path(path).name in caught.value.message
    return caught.value


def test_no_such_file_names_the_nearest(write: Write, tmp_path: Path) -> None:
    write("pairs_train.jsonl", [])
    error = refused(str(tmp_path / "pair_train.jsonl"))
    assert error.code == "DATA_NOT_FOUND"
    assert error.hint == f"did you mean {tmp_path / 'pairs_train.jsonl'}?"


def test_no_such_file_and_nothing_near(write: Write, tmp_path: Path) -> None:
    write("zzz.csv", "a\n")
    assert refused(str(tmp_path / "b.jsonl")).hint == f"data files in {tmp_path}: zzz.csv"
    no_folder = refused(str(tmp_path / "nowhere" / "b.jsonl"))
    assert no_folder.hint == f"there is no folder {tmp_path / 'nowhere'}"


@pytest.mark.parametrize("name", ["data/pairs.jsonl", "pairs", "a/b/c", "", "x" * 5000])
def test_what_is_no_hub_id_is_never_looked_up_there(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)  # importing it would raise
    with pytest.raises(InputError) as caught:
        load(DataSource(name))
    assert caught.value.code == "DATA_NOT_FOUND"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", ""),
        ("a.jsonl", "\n \n\n"),
        ("a.json", "[]"),
        ("a.csv", "prompt,chosen,rejected\n"),
        ("a.parquet", ""),
        ("unknown", ""),
    ],
)
def test_empty(write: Write, name: str, content: str) -> None:
    error = refused(write(name, content))
    assert error.code == "DATA_EMPTY"
    assert error.hint


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.safetensors", "a"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)) * 40])
def test_a_binary_file(write: Write, name: str, content: bytes) -> None:
    error = refused(write(name, content))
    assert error.code == "DATA_NOT_TEXT"


def test_another_encoding(write: Write) -> None:
    error = refused(write("a.csv", "prompt,completion\né,ü\n".encode("latin-1")))
    assert error.code == "DATA_NOT_TEXT"
    assert "UTF-8" in error.message


def test_broken_json_names_line_and_column(write: Write) -> None:
    rows = ",\n".join(['{"prompt": "a", "chosen": "b", "rejected": "c"}'] * 499)
    error = refused(write("a.json", f"[{rows},\n{{'prompt': 1}}]"))
    assert error.code == "DATA_UNREADABLE"
    assert "line 500, column 2" in error.message


def test_every_line_broken(write: Write) -> None:
    error = refused(write("a.jsonl", "prompt: a\nprompt: b\n"))
    assert error.code == "DATA_UNREADABLE"
    assert "none of its 2 lines is JSON (line 1: " in error.message


def test_nested_too_deep(write: Write) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert "nested too deep" in refused(write("a.json", deep)).message
    good = '{"prompt": "a", "chosen": "b", "rejected": "c"}'
    facts = probe_data(DataSource(write("a.jsonl", f"{good}\n{deep}\n")))
    assert (facts.kept, facts.dropped) == (1, {"unparseable line": 1})


@pytest.mark.parametrize("depth", [10, 900, 960, 990])
@pytest.mark.parametrize("column", ["prompt", "chosen", "completion", "label", "other"])
def test_nested_as_deep_as_can_be_read(write: Write, column: str, depth: int) -> None:
    row = {"prompt": "a", "completion": "b", "label": True, "chosen": "c", "rejected": "d"}
    line = json.dumps(row | {column: "X"}).replace('"X"', "[" * depth + "]" * depth)
    facts = probe_data(DataSource(write("a.jsonl", f"{json.dumps(row)}\n{line}\n")))
    assert facts.rows == facts.kept + sum(facts.dropped.values()) == 2
    # Close to Python's own limit (1,000, less the frames in use) the line itself is unreadable.
    untouched = column in ("chosen", "other")
    assert facts.kept == (2 if untouched and depth == 10 else 1) or (untouched and depth > 10)


@pytest.mark.parametrize("name", ["a.parquet", "a"])
def test_a_parquet_cut_in_half(write: Write, tmp_path: Path, name: str) -> None:
    import pyarrow
    import pyarrow.parquet

    whole = tmp_path / "whole.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "a"}] * 100), whole)
    data = whole.read_bytes()
    error = refused(write(name, data[: len(data) // 2]))
    assert error.code == "DATA_UNREADABLE"
    assert "cut short" in error.hint


@pytest.mark.parametrize(("name", "text"), [("a.md", "# Title"), ("a", "hello"), ("a.txt", "a\tb")])
def test_a_format_that_is_not_read(write: Write, name: str, text: str) -> None:
    error = refused(write(name, text))
    assert error.code == "DATA_FORMAT"
    assert ".parquet" in error.hint


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies below a folder of its owner
        path = Path(name) / "a.jsonl"
        path.write_text('{"prompt": "a"}')
        path.chmod(0)
        Path(name).chmod(0o755)
        root = os.geteuid() == 0
        if root:  # root may read everything, so be somebody else for a moment
            os.seteuid(65534)
        try:
            error = refused(str(path))
        finally:
            if root:
                os.seteuid(0)
    assert error.code == "DATA_UNREADABLE"
    assert "permission" in error.hint


def test_no_permission_as_the_system_says_it(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *_: Any, **__: Any) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = write("a.jsonl", '{"prompt": "a"}')
    monkeypatch.setattr(Path, "open", denied)
    error = refused(path)
    assert (error.code, error.hint) == ("DATA_UNREADABLE", "check the file's permissions")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    error = refused(str(pipe))
    assert "not a regular file" in error.message


def test_a_symlink_loop(tmp_path: Path) -> None:
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    assert refused(str(loop)).code == "DATA_NOT_FOUND"


def test_two_csv_columns_of_one_name(write: Write) -> None:
    error = refused(write("a.csv", "prompt,chosen,chosen\na,b,c\n"))
    assert error.code == "DATA_UNREADABLE"
    assert "'chosen'" in error.message


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"promt": "q"}, "did you mean prompt?"),
        ({"prompt": "qeustion"}, "did you mean question?"),
    ],
)
def test_a_mapping_that_names_no_column(write: Write, columns: dict[str, str], said: str) -> None:
    path = write("a.jsonl", [{"question": "a", "q": "a", "chosen": "b", "rejected": "c"}])
    error = refused(path, columns=columns)
    assert error.code == "DATA_COLUMN"
    assert said in error.hint


NOT_LABELS = [1.0, 0.0, "true", "1", 2, -1, None, [True], {"value": True}, 1e400]


@pytest.mark.parametrize("label", NOT_LABELS)
def test_what_is_no_label_drops_its_row(write: Write, label: object) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c", "label": i % 2} for i in range(4)]
    facts = probe_data(DataSource(write("a.jsonl", [*rows, rows[0] | {"label": label}])))
    assert facts.shape == "unpaired"
    assert facts.dropped == {"label unusable": 1}
    assert facts.dropped_rows[0].row == 5
    assert facts.labels == {True: 2, False: 2}


def test_no_usable_label_at_all_is_still_unpaired(write: Write) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c", "label": 1.0} for i in range(4)]
    facts = probe_data(DataSource(write("a.jsonl", rows)))
    assert (facts.shape, facts.kept, facts.dropped) == ("unpaired", 0, {"label unusable": 4})
    assert facts.labels == {True: 0, False: 0}


PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p", "chosen": "a"}, "one side missing"),
        (PAIR | {"rejected": None}, "one side missing"),
        ({"chosen": "same. a", "rejected": "same. b"}, "one side missing"),
        (PAIR | {"rejected": ""}, "empty text"),
        (PAIR | {"chosen": " \n\t"}, "empty text"),
        (PAIR | {"prompt": ""}, "empty text"),
        (PAIR | {"chosen": []}, "empty text"),
        (PAIR | {"rejected": "a\n"}, "identical sides"),
        (PAIR | {"rejected": 7}, "not text"),
        (PAIR | {"rejected": True}, "not text"),
        (PAIR | {"rejected": ["x", "y"]}, "not text"),
        (PAIR | {"rejected": {"role": "assistant", "content": None}}, "not text"),
        (PAIR | {"rejected": [{"role": "assistant"}]}, "not text"),
        (PAIR | {"rejected": [{"role": "assistant", "content": "x"}, "y"]}, "not text"),
        (PAIR | {"rejected": [{"type": "image", "url": "x"}]}, "needs an image, sound or video"),
        (PAIR | {"rejected": "half a pair \ud800"}, "not text"),
        ("a string", "not a JSON object"),
        (None, "not a JSON object"),
        ([PAIR], "not a JSON object"),
    ],
)
def test_a_bad_row_in_a_good_file(write: Write, row: object, reason: str) -> None:
    rows = [{**PAIR, "prompt": f"p{i}"} for i in range(3)]
    facts = probe_data(DataSource(write("a.jsonl", [*rows, row])))
    assert (facts.shape, facts.rows, facts.kept) == ("paired", 4, 3)
    assert facts.dropped == {reason: 1}
    assert [lost.row for lost in facts.dropped_rows] == [4]
    facts.dropped_rows[0].excerpt.encode()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["user", "assistant", "\n\nHuman: a\n\nAssistant: b", "<|im_start|>user\n"])
    | st.text(max_size=5)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "type", "text", "x"]), inner
        )
    ),
    max_leaves=6,
)
COLUMNS = [
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "label",
    "messages",
    "conversations",
    "instruction",
    "input",
    "output",
    "text",
    "system",
    "history",
    "tag",
]
rows = st.dictionaries(st.sampled_from(COLUMNS), json_values, max_size=5) | json_values


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.lists(rows, min_size=1, max_size=5),
    shape=st.sampled_from([None, None, "sft", "paired", "unpaired"]),
)
@example(data=[{"prompt": "a", "chosen": 1, "rejected": []}], shape="paired")
def test_any_value_anywhere_is_counted(write: Write, data: list[Any], shape: Any) -> None:
    facts = probe_data(DataSource(write("a.json", json.dumps(data)), shape=shape))
    assert facts.rows == len(data)
    assert facts.kept + sum(facts.dropped.values()) == facts.rows
    assert facts.shape == shape or shape is None
    assert (facts.shape == "other") <= (facts.kept == 0 and facts.advice != "")
    json.dumps([list(facts.examples), facts.advice], ensure_ascii=False).encode()
    for lost in facts.dropped_rows:
        lost.excerpt.encode()

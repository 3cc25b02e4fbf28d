"""Packed files, other encodings, folders, patterns, several files, and files that change."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import NOT_TEXT, UNPARSEABLE, Pair
from backprop_tui.probe.data import DataSource, Loaded, describe, load, probe_data
from backprop_tui.probe.data.read import csv_files
from backprop_tui.probe.data.read import files as files_module

Write = Callable[..., str]


def row(i: int) -> dict[str, str]:
    return {"prompt": f"p{i}", "chosen": f"a{i}", "rejected": f"b{i}"}


def jsonl(*numbers: int) -> str:
    return "".join(json.dumps(row(i)) + "\n" for i in numbers)


def table(*numbers: int, separator: str = ",") -> str:
    lines = [separator.join(("prompt", "chosen", "rejected"))]
    return "\n".join([*lines, *(separator.join(row(i).values()) for i in numbers)]) + "\n"


def parquet(path: Path, *numbers: int) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row(i) for i in numbers]), path)


def prompts(source: DataSource | str) -> list[str]:
    loaded = load(DataSource(source) if isinstance(source, str) else source)
    numbers = [one.number for one in loaded.rows]
    assert len(set(numbers)) == len(numbers)
    assert loaded.total == loaded.kept + sum(loaded.dropped.values())
    return [one.prompt[0].content for one in loaded.rows if isinstance(one, Pair)]


def refused(source: DataSource | str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(DataSource(source) if isinstance(source, str) else source)
    return caught.value


FORMATS = {
    "a.jsonl": jsonl(1, 2),
    "a.json": json.dumps([row(1), row(2)]),
    "a.csv": table(1, 2),
    "a.tsv": table(1, 2, separator="\t"),
    "no-suffix": jsonl(1, 2),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_in_every_encoding_packed_or_not(
    write: Write, name: str, encoding: str, packed: bool
) -> None:
    text = FORMATS[name].replace("p1", "pé😀")
    mark = "\ufeff" if encoding in ("utf-16-be", "utf-16-le") else ""
    data = (mark + text).encode(encoding)
    path = write(name + ".gz" * packed, gzip.compress(data) if packed else data)
    assert prompts(path) == ["pé😀", "p2"]
    assert probe_data(DataSource(path)).columns == ("prompt", "chosen", "rejected")


def test_gzip_is_known_by_its_first_bytes(write: Write) -> None:
    assert prompts(write("a.jsonl", gzip.compress(jsonl(1).encode()))) == ["p1"]
    two_members = gzip.compress(jsonl(1).encode()) + gzip.compress(jsonl(2).encode())
    assert prompts(write("b.jsonl.gz", two_members + b"\0" * 512)) == ["p1", "p2"]


def test_a_packed_parquet(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", 1, 2)
    packed = tmp_path / "a.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert prompts(str(packed)) == ["p1", "p2"]


def test_a_gzip_bomb_is_refused_before_it_has_grown(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "FLOOR", 1 << 20)
    grown = 0
    real = files_module._without_mark

    def watched(found: Any) -> Any:
        nonlocal grown
        for block in real(found):
            grown += len(block)
            yield block

    monkeypatch.setattr(files_module, "_without_mark", watched)
    line = json.dumps(row(1)).encode() + b"\n"
    path = write("a.jsonl.gz", gzip.compress(line + b" " * (400 << 20)))
    error = refused(path)
    assert error.code == "DATA_TOO_LARGE"
    limit = max(files_module.FLOOR, files_module.MOST_RATIO * os.path.getsize(path))
    assert grown <= limit + files_module.BLOCK


def test_what_repeats_itself_is_no_bomb(write: Write) -> None:
    text = jsonl(*[1] * 20_000)
    assert len(prompts(write("a.jsonl.gz", gzip.compress(text.encode())))) == 20_000


@pytest.mark.parametrize("cut", [3, 12, 40, -9, -1])
def test_gzip_cut_short(write: Write, cut: int) -> None:
    error = refused(write("a.jsonl.gz", gzip.compress(jsonl(1, 2).encode())[:cut]))
    assert error.code == "DATA_UNREADABLE"
    assert "gzip" in error.message


def test_half_a_character_of_utf_16_breaks_its_row_only(write: Write) -> None:
    half = jsonl(1).encode("utf-16") + '{"prompt": "'.encode("utf-16-le") + b"\x3d\xd8"
    facts = probe_data(DataSource(write("a.jsonl", half + '"}\n'.encode("utf-16-le") + b"\x0a")))
    assert (facts.kept, set(facts.dropped)) == (1, {UNPARSEABLE})


@pytest.mark.parametrize("name", ["data", "rows", "examples", "train", "instances"])
def test_an_object_that_wraps_the_rows(write: Write, name: str) -> None:
    value = {"version": 1, name: [row(1), row(2)], "tags": ["x"]}
    assert prompts(write("a.json", json.dumps(value, indent=1))) == ["p1", "p2"]


@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"other": [row(1)]},
        {"data": [row(1)], "rows": [row(2)]},
        {"prompt": "p", "data": [row(1)]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_any_other_object_is_one_row(write: Write, value: dict[str, Any]) -> None:
    assert probe_data(DataSource(write("a.json", json.dumps(value)))).rows == 1


@pytest.mark.parametrize(
    ("text", "format", "columns"),
    [
        ("prompt;chosen;rejected\np1;a;b\np2;a;b\n", "csv", 3),
        ("prompt\tchosen\trejected\np1\ta\tb\np2\ta\tb\n", "tsv", 3),
        ("prompt;chosen;rejected\np1;a\np2;a;b\n", "csv", 1),  # not sure, so not taken
        ("a;b,chosen\np1,a\np2,b\n", "csv", 2),
    ],
)
def test_another_separator_only_when_nothing_speaks_against_it(
    write: Write, text: str, format: str, columns: int
) -> None:
    facts = probe_data(DataSource(write("a.csv", text)))
    assert (facts.format, len(facts.columns)) == (format, columns)


def test_a_tsv_cell_may_hold_commas_and_quotes(write: Write) -> None:
    text = 'prompt\tchosen\trejected\np1\ta, b\t"c\td"\n'
    (only,) = load(DataSource(write("a.tsv", text))).rows
    assert isinstance(only, Pair)
    assert (only.chosen[0].content, only.rejected[0].content) == ("a, b", "c\td")


# Several files.


def test_several_files_in_the_order_given(write: Write, tmp_path: Path) -> None:
    first = write("z.jsonl", "\n" + jsonl(1) + "{broken\n")
    second, third = write("b.csv", table(2, 3)), str(tmp_path / "c.parquet")
    parquet(Path(third), 4)
    loaded = load(DataSource(first, more=(second, third)))
    assert prompts(DataSource(first, more=(second, third))) == ["p1", "p2", "p3", "p4"]
    facts = describe(loaded)
    assert facts.files == (first, second, third)
    assert facts.format == "jsonl + csv + parquet"
    assert facts.size == sum(os.path.getsize(path) for path in facts.files)
    (lost,) = facts.dropped_rows
    assert (lost.place, lost.excerpt) == ("z.jsonl 3", "{broken")
    other_order = load(DataSource(second, more=(first, third)))
    assert other_order.table.sha256 != loaded.table.sha256
    assert other_order.dropped_rows[0].place == "z.jsonl 3"
    assert other_order.dropped_rows[0].row == 5


def test_one_file_has_plain_line_numbers(write: Write) -> None:
    facts = probe_data(DataSource(write("a.jsonl", jsonl(1) + "{broken\n")))
    assert (facts.files, facts.dropped_rows[0].place) == ((), "2")


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text(jsonl(1) + "{broken\n")
    source = DataSource(str(tmp_path / "x" / "a.jsonl"), more=(str(tmp_path / "y" / "a.jsonl"),))
    assert [lost.place for lost in load(source).dropped_rows] == ["x/a.jsonl 2", "y/a.jsonl 2"]


def test_a_folder_of_parts_in_order(tmp_path: Path) -> None:
    for i in (2, 1, 10):
        (tmp_path / f"part-{i:05}.jsonl").write_text(jsonl(i))
    (tmp_path / "part-00011.jsonl").write_text("")  # a writer of parts leaves such
    for name in ("README.md", "dataset_infos.json", "a.jsonl.lock", ".hidden.jsonl", "_x.jsonl"):
        (tmp_path / name).write_text("{}")
    assert prompts(str(tmp_path)) == ["p1", "p2", "p10"]
    assert prompts(str(tmp_path / "part-*.jsonl")) == ["p1", "p2", "p10"]
    assert prompts(str(tmp_path / "part-0000?.jsonl")) == ["p1", "p2"]


def test_a_folder_as_the_hub_lays_it_out(tmp_path: Path) -> None:
    for i in range(2):
        parquet(tmp_path / "data" / f"train-{i:05}-of-00002.parquet", i)
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", 9)
    assert prompts(str(tmp_path)) == ["p0", "p1"]
    assert prompts(DataSource(str(tmp_path), split="test")) == ["p9"]
    left_out = probe_data(DataSource(str(tmp_path))).left_out
    assert [Path(path).name for path in left_out] == ["test-00000-of-00001.parquet"]
    error = refused(DataSource(str(tmp_path), split="dev"))
    assert error.code == "DATA_SPLIT"
    assert "train" in error.hint
    assert "test" in error.hint


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00002.parquet", 1)
    error = refused(str(tmp_path))
    assert "1 of the 2 parts of train" in error.message
    assert prompts(str(tmp_path / "train-*.parquet")) == ["p1"]


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl"),
        ("my_train.jsonl", "my_eval.jsonl"),
        ("train/0.jsonl", "test/0.jsonl"),
        ("train-a.jsonl", "validation-a.jsonl", "test-a.jsonl"),
    ],
)
def test_train_and_test_are_never_mixed(tmp_path: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(jsonl(i))
    assert prompts(str(tmp_path)) == ["p0"]
    assert len(probe_data(DataSource(str(tmp_path))).left_out) == len(names) - 1
    if "/" not in names[0]:
        assert prompts(str(tmp_path / "*.jsonl")) == ["p0"]


@pytest.mark.parametrize(
    "names",
    [
        ("pairs.jsonl", "test.jsonl"),
        ("validation.jsonl", "test.jsonl"),
        ("train_sft-00000-of-00001.jsonl", "train_prefs-00000-of-00001.jsonl"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        (tmp_path / name).write_text(jsonl(i))
    error = refused(str(tmp_path))
    assert error.code == "DATA_SPLIT"
    assert all(name in error.hint for name in names)
    if "prefs" in names[1]:
        assert prompts(DataSource(str(tmp_path), split="train_prefs")) == ["p1"]


def test_folders_of_configs(tmp_path: Path) -> None:
    for i, name in enumerate(("small", "large")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(jsonl(i))
    error = refused(str(tmp_path))
    assert error.code == "DATA_IS_FOLDER"
    assert str(tmp_path / "small") in error.hint
    assert prompts(DataSource(str(tmp_path), config="large")) == ["p1"]
    assert refused(DataSource(str(tmp_path), config="huge")).code == "DATA_CONFIG"


def test_a_folder_without_data(tmp_path: Path) -> None:
    assert refused(str(tmp_path)).code == "DATA_IS_FOLDER"
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    assert "save_to_disk" in refused(str(tmp_path)).hint


def test_a_pattern_that_matches_nothing(write: Write, tmp_path: Path) -> None:
    write("a.jsonl", "x")
    error = refused(str(tmp_path / "part-*.jsonl"))
    assert error.code == "DATA_NOT_FOUND"
    assert "a.jsonl" in error.hint
    write("notes.md", "x")
    assert "notes.md" in refused(str(tmp_path / "n*")).hint


def test_a_folder_that_loops(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(1))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "b.jsonl")
    error = refused(str(tmp_path))
    assert error.code == "DATA_UNREADABLE"
    assert "b.jsonl" in error.message
    (tmp_path / "b.jsonl").unlink()
    assert prompts(str(tmp_path)) == ["p1"]


def test_a_hub_id_among_several(write: Write) -> None:
    error = refused(DataSource(write("a.jsonl", jsonl(1)), more=("owner/name",)))
    assert error.code == "DATA_NOT_FOUND"
    assert "owner/name" in error.message


# Files that change while they are read.


def while_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Call `change` after the file was examined and before it is read."""
    from backprop_tui.probe.data.read import formats, found

    def examine(path: Path, name: str) -> Any:
        examined = formats.examine(path, name)
        change()
        return examined

    monkeypatch.setattr(found, "examine", examine)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json", "a.parquet"])
def test_a_file_that_shrinks(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        parquet(path, *range(100))
    else:
        write(name, FORMATS[name])
    while_read(monkeypatch, lambda: os.truncate(path, 20))
    error = refused(str(path))
    assert error.code == "DATA_CHANGED"
    assert name in error.message


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_file_that_grows_is_read_as_it_was(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = Path(write(name, FORMATS[name]))
    before = load(DataSource(str(path)))
    more = jsonl(3) if name == "a.jsonl" else "p3,a,b\n"
    while_read(monkeypatch, lambda: path.open("a").write(more))
    after = load(DataSource(str(path)))
    assert (after.total, after.table.sha256) == (2, before.table.sha256)


def test_a_file_larger_than_memory_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backprop_tui.probe.data.read import readers

    monkeypatch.setattr(readers, "MEMORY_ASKED_FROM", 10)
    monkeypatch.setattr(readers, "free_memory", lambda: 60)
    assert refused(write("a.jsonl", jsonl(1, 2))).code == "DATA_TOO_LARGE"


# CSV with broken quotes.


def csv_facts(write: Write, body: str) -> Loaded:
    return load(DataSource(write("a.csv", "prompt,chosen,rejected\n" + body)))


def test_a_stray_quote_costs_its_row_only(write: Write) -> None:
    good = "".join(f"p{i},a{i},b{i}\n" for i in range(50))
    loaded = csv_facts(write, good + '"stray,a,b\n' + good)
    assert (loaded.kept, loaded.dropped) == (100, {UNPARSEABLE: 1})
    assert loaded.dropped_rows[0].excerpt.startswith("line 52: ")
    assert "stray" in loaded.dropped_rows[0].excerpt


def test_a_stray_quote_before_quoted_rows(write: Write) -> None:
    good = "".join(f'"p{i}","a, {i}","b\n{i}"\n' for i in range(50))
    loaded = csv_facts(write, good + '"stray,a,b\n' + good)
    assert loaded.kept == 100
    assert loaded.dropped == {UNPARSEABLE: 1}


def test_two_stray_quotes_do_not_swallow_what_lies_between(write: Write) -> None:
    good = "".join(f"p{i},a{i},b{i}\n" for i in range(50))
    loaded = csv_facts(write, '"stray,a,b\n' + good + '"stray too,a,b\n' + good)
    assert (loaded.kept, loaded.dropped) == (100, {UNPARSEABLE: 2})


def test_a_quote_inside_a_text_costs_its_row_and_no_line_of_it_becomes_a_row(
    write: Write,
) -> None:
    text = 'p,"one, two\nhe said "yes", and\nthree, four, five\nsix",b\n'
    loaded = csv_facts(write, "p0,a,b\n" + text + "p1,a,b\np2,a,b\n")
    assert [one.prompt[0].content for one in loaded.rows if isinstance(one, Pair)] == [
        "p0", "p1", "p2"
    ]  # fmt: skip
    assert loaded.dropped == {UNPARSEABLE: 1}
    assert loaded.dropped_rows[0].excerpt.startswith("lines 3 to 6: ")


def test_a_quote_never_closed_at_the_end(write: Write) -> None:
    loaded = csv_facts(write, 'p0,a,b\np1,"a,b\n')
    assert (loaded.kept, loaded.dropped) == (1, {UNPARSEABLE: 1})
    assert "line 3" in loaded.dropped_rows[0].excerpt


def test_csv_rows_in_another_encoding_and_with_nul(write: Write) -> None:
    body = b"prompt,chosen,rejected\np0,a,b\np\xe9,a,b\np1,a\0,b\np2,a,b\n"
    loaded = load(DataSource(write("a.csv", body)))
    assert loaded.kept == 3
    assert loaded.dropped == {UNPARSEABLE: 1}
    assert loaded.dropped_rows[0].excerpt.startswith("line 3: not text in UTF-8")


def test_every_csv_row_broken(write: Write) -> None:
    error = refused(write("a.csv", "prompt,chosen\na,b,c\na,b,c\n"))
    assert error.code == "DATA_UNREADABLE"
    assert "line 2" in error.message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_line_ends(write: Write, end: str) -> None:
    text = f'prompt,chosen,rejected{end}p,"a{end}b",c{end}{end}q,a,b{end}'
    assert prompts(write("a.csv", text)) == ["p", "q"]


# Rows out of the ordinary.


def test_a_row_of_five_megabytes(write: Write) -> None:
    long = "word " * 1_000_000
    for name, text in (
        ("a.jsonl", json.dumps(row(1) | {"chosen": long}) + "\n" + jsonl(2)),
        ("a.csv", f"prompt,chosen,rejected\np1,{long},b\np2,a,b\n"),
    ):
        facts = probe_data(DataSource(write(name, text)))
        assert (facts.kept, facts.words["chosen"].max) == (2, 1_000_000)


def test_nul_bytes_in_lines(write: Write) -> None:
    lines = [jsonl(1).encode(), b"\0" * 100 + b"\n", b'{"prompt": "a\0b"}\n', jsonl(2).encode()]
    facts = probe_data(DataSource(write("a.jsonl", b"".join(lines))))
    assert (facts.kept, facts.dropped) == (2, {UNPARSEABLE: 2})


def test_numbers_and_half_characters_read_as_json_reads_them(write: Write) -> None:
    extra = ["NaN", "1e400", "-Infinity", '"\\ud800"', "18446744073709551616", "1" * 5000]
    lines = [json.dumps(row(i))[:-1] + f', "x": {cell}}}\n' for i, cell in enumerate(extra)]
    loaded = load(DataSource(write("a.jsonl", "".join(lines))))
    assert loaded.kept + sum(loaded.dropped.values()) == len(extra)
    assert loaded.kept >= len(extra) - 1  # a number of 5,000 digits json refuses


@pytest.mark.parametrize("name", ["data", "method", "path", "orpo", "training", "columns", "kept"])
def test_a_column_named_like_a_key_of_the_run_file(write: Write, name: str) -> None:
    facts = probe_data(DataSource(write("a.jsonl", [row(1) | {name: {"x": 1}}])))
    assert (facts.kept, facts.columns[-1]) == (1, name)


# Hub data sets, by the real library on folders laid out like repositories.


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """owner/multi with the configs a and b, owner/one with two splits, in the working folder."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("multi/a/train", "multi/b/train", "one/train", "one/test")):
        path = tmp_path / "owner" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(jsonl(i))
    configs = "".join(f'- config_name: {c}\n  data_files: "{c}/*.jsonl"\n' for c in "ab")
    (tmp_path / "owner" / "multi" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return tmp_path


def test_configs_and_splits_by_the_real_library(repositories: Path) -> None:
    import datasets

    from backprop_tui.probe.data.read.hub import read_hub

    datasets.config.HF_DATASETS_CACHE = repositories / "cache"

    def error(name: str, config: str | None, split: str | None) -> InputError:
        with pytest.raises(InputError) as caught:
            read_hub(name, config, split, None)
        return caught.value

    assert list(read_hub("owner/multi", "b", None, None)) == [row(1)]
    assert list(read_hub("owner/one", None, "test", None)) == [row(3)]
    missing, unknown = error("owner/multi", None, None), error("owner/multi", "c", None)
    assert (missing.code, unknown.code) == ("DATA_CONFIG", "DATA_CONFIG")
    assert missing.message.endswith("several data sets: a, b")
    assert unknown.message.endswith("no such config: a, b")
    split = error("owner/one", None, "dev")
    assert (split.code, split.message) == (
        "DATA_SPLIT", "owner/one: no split 'dev'; there are: train, test"
    )  # fmt: skip


def test_a_file_of_broken_lines_among_others_is_counted(write: Write, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write("set/a.jsonl", jsonl(1, 2, 3))
    write("set/b.jsonl", "broken\n{broken}\n")
    loaded = load(DataSource(str(tmp_path / "set")))
    assert (loaded.total, loaded.kept, loaded.dropped) == (5, 3, {UNPARSEABLE: 2})
    assert [one.place for one in loaded.dropped_rows] == ["b.jsonl 1", "b.jsonl 2"]


def write_table(path: Path, **columns: Any) -> str:
    import pyarrow
    import pyarrow.parquet

    texts = {name: [row(i)[name] for i in range(5)] for name in row(0)}
    pyarrow.parquet.write_table(pyarrow.table({**texts, **columns}), path)
    return str(path)


def test_a_parquet_cell_that_is_no_python_value_spoils_no_row(tmp_path: Path) -> None:
    import pyarrow

    far = pyarrow.array([2**62, 1, 2, 3, 4], pyarrow.timestamp("us"))  # after the year 9999
    path = write_table(tmp_path / "a.parquet", at=far)
    assert prompts(path) == ["p0", "p1", "p2", "p3", "p4"]


def test_a_parquet_text_that_is_no_utf8_costs_its_row_only(tmp_path: Path) -> None:
    import pyarrow

    starts = b"".join(i.to_bytes(4, "little") for i in range(6))
    buffers = [None, pyarrow.py_buffer(starts), pyarrow.py_buffer(b"ab\xffde")]
    path = write_table(
        tmp_path / "a.parquet", prompt=pyarrow.Array.from_buffers(pyarrow.string(), 5, buffers)
    )
    assert prompts(path) == ["a", "b", "d", "e"]
    assert load(DataSource(path)).dropped == {NOT_TEXT: 1}


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    cells = [pyarrow.array(["x", "y"])] * 4
    names = ["prompt", "chosen", "rejected", "prompt"]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_arrays(cells, names=names), tmp_path / "a.parquet"
    )
    assert "two columns are named 'prompt'" in refused(str(tmp_path / "a.parquet")).message


def test_stray_quotes_cost_no_more_than_the_text_is_long(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each opens a quote that takes in all lines after it, so each made all be read again."""
    lines = ['x","' if i % 20 == 0 else f"p{i},a{i}" for i in range(60_000)]
    path = write("a.csv", "prompt,completion\n" + "\n".join(lines) + "\n")
    read = 0
    following = csv_files._Lines.__next__

    def counted(lines: csv_files._Lines) -> str:
        nonlocal read
        read += 1
        return following(lines)

    monkeypatch.setattr(csv_files._Lines, "__next__", counted)
    loaded = load(DataSource(path))
    assert (loaded.kept, loaded.dropped) == (57_000, {UNPARSEABLE: 3_000})
    assert read < 100 * len(lines)

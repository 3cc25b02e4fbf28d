"""Whatever stands in a file: nothing but InputError comes out, every row is accounted for, and
the shortcuts of the scan say what the ordinary path says."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import to_json
from backprop_tui.core.rows import Labelled
from backprop_tui.probe.data import DataSource, Loaded, describe, glance, load, scan
from backprop_tui.probe.data.large import hashes, look
from backprop_tui.probe.data.large.plain import PROOFS, Sure, only_reads, proof_for
from backprop_tui.probe.data.large.tally import Counting, Draw
from backprop_tui.probe.data.layouts.decision import Asked, decision
from backprop_tui.probe.data.layouts.shapes import COLUMNS
from backprop_tui.probe.data.layouts.turns import Unusable
from backprop_tui.probe.data.read.csv_files import table_rows
from backprop_tui.probe.data.read.json_files import BAD_JSON, parse, parse_together
from backprop_tui.probe.data.read.table import Broken

Write = Callable[..., str]
many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

texts = st.sampled_from([
    "", " ", "a", " a", "a\n", "b", "H", "Human: x", "\n\nHuman: a\n\nAssistant: b", "Human:",
    "\n\nHuman: a\n\nAssistant:", "<|im_start|>user\n", "a b", "a: b", "\ud800", "\u00a0", "\x1e",
    "<img>x</img>", "\u2028", "0", "true", "yes",
]) | st.text(max_size=6)  # fmt: skip
turn = st.fixed_dictionaries({
    "role": st.sampled_from(["user", "assistant", "system", "tool", "Human", "x", ""]),
    "content": texts | st.none(),
})  # fmt: skip
cells = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(turn, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
NAMES = [*COLUMNS, "score_chosen", "score_rejected", "metadata", "images", "id", "tag", "data"]
records = st.dictionaries(st.sampled_from(NAMES), cells, max_size=6)


def accounted(loaded: Loaded) -> None:
    assert loaded.total == loaded.kept + sum(loaded.dropped.values())
    assert len({row.number for row in loaded.rows}) == len(loaded.rows)
    if loaded.whole:
        assert loaded.kept == len(loaded.rows)
    facts = describe(loaded)
    assert facts.rows == facts.kept + sum(facts.dropped.values())
    json.dumps(to_json(facts), ensure_ascii=False).encode()


@many
@given(
    data=st.lists(records | cells, min_size=1, max_size=6),
    shape=st.sampled_from([None, None, "sft", "paired", "unpaired"]),
    packed=st.booleans(),
)
@example(data=[{"\ud800": None}], shape=None, packed=False)
def test_any_value_in_any_cell(write: Write, data: list[Any], shape: Any, packed: bool) -> None:
    lines = "\n".join(json.dumps(value) for value in data).encode()
    path = write("a.jsonl", gzip.compress(lines) if packed else lines)
    if lines == b"[]":  # an array without rows
        return
    loaded = load(DataSource(path, shape=shape))
    accounted(loaded)
    assert loaded.total == len(data) or any(isinstance(value, (list, dict)) for value in data)


@many
@given(
    data=st.binary(max_size=200),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a", "a.jsonl.gz"]),
)
@example(data=b"\xff\xfe", name="a.csv")
@example(data=b"\xef\xbb\xbf", name="a.csv")
@example(data=b"\xff\xfe\n\0", name="a.json")
@example(data=b'"', name="a.csv")
@example(data=b'a,b\n"', name="a.csv")
@example(data=b"\x1f\x8b", name="a")
@example(data=b"\n", name="a.tsv")
@example(data=b"\r", name="a.csv")
@example(data=b"PAR1", name="a")
def test_any_bytes_at_all(write: Write, data: bytes, name: str) -> None:  # fmt: skip
    path = write(name, data)
    for call in (load, glance):
        refused: InputError | None = None
        try:
            accounted(call(DataSource(path)))
        except InputError as error:
            refused = error
        assert refused is None or refused.code.startswith("DATA_")


@many
@given(
    lines=st.lists(
        st.binary(max_size=12).filter(lambda line: b"\n" not in line)
        | cells.map(lambda cell: json.dumps(cell).encode())
        | st.sampled_from(
            [b"{}", b"[1", b"2]", b"3],[4", b'{"a":1},{"b":2}', b'{"c":[1', b"2]}", b'"x', b'y"']
        ),
        min_size=1,
        max_size=6,
    )
)
def test_lines_read_together_are_the_lines_read_one_by_one(lines: list[bytes]) -> None:
    together = parse_together(b"\n".join(lines))
    if together is None:
        return
    one_by_one = []
    for line in lines:
        try:
            one_by_one.append(parse(line))
        except BAD_JSON:
            pytest.fail(f"{line!r} is not JSON by itself")
    assert repr(together) == repr(one_by_one)


@many
@given(
    lines=st.lists(st.text(st.sampled_from('ab,"\n\r\udc80'), max_size=12), max_size=12),
)
def test_any_csv_at_all(lines: list[str]) -> None:
    text = "prompt,chosen\n" + "\n".join(lines)
    items = list(table_rows(iter(io.StringIO(text, newline="")), ",", "a.csv"))
    numbers = [item.number if isinstance(item, Broken) else item[0] for item in items]
    assert numbers == list(range(1, len(items) + 1))


csv_cells = st.text(st.sampled_from('ab ,"\n;é'), max_size=8)


@many
@given(rows=st.lists(st.tuples(csv_cells, csv_cells, csv_cells), min_size=1, max_size=8))
def test_whatever_is_written_as_csv_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("prompt", "chosen", "rejected"), *rows])
    items = table_rows(iter(io.StringIO(out.getvalue(), newline="")), ",", "a.csv")
    assert [tuple(item[1].values()) for item in items if not isinstance(item, Broken)] == rows


@many
@given(
    rows=st.lists(st.sampled_from(["p,a,b", '"p, q","a","b"', "p,a", '"x\ny",a,b']), max_size=20),
    at=st.integers(0, 20),
)
def test_a_stray_quote_costs_few_rows_and_no_more_than_are_told(rows: list[str], at: int) -> None:
    at = min(at, len(rows))
    text = "\n".join(["prompt,chosen,rejected", *rows[:at], '"stray,a,b', *rows[at:], "p,a,b"])
    items = list(table_rows(iter(io.StringIO(text + "\n", newline="")), ",", "a.csv"))
    broken = [item for item in items if isinstance(item, Broken)]
    assert broken
    told = 0
    for item in broken:
        where = item.text.split(":")[0].removeprefix("lines ").removeprefix("line ").split(" to ")
        told += int(where[-1].replace(",", "")) - int(where[0].replace(",", "")) + 1
    lines_of_rows = sum(row.count("\n") + 1 for row in rows) + 2
    read = sum(
        1 + sum(cell.count("\n") for cell in item[1].values())
        for item in items
        if not isinstance(item, Broken)
    )
    assert read + told >= lines_of_rows


PLAIN: dict[str, dict[str, Any]] = {
    "prompt, chosen, rejected": {"prompt": "p", "chosen": "a", "rejected": "b"},
    "prompt, completion, label": {"prompt": "p", "completion": "a", "label": True},
}


@pytest.mark.parametrize("layout", PROOFS)
@settings(max_examples=1000, deadline=None)
@given(data=st.data(), text_cells=st.booleans())
def test_a_proof_says_what_the_ordinary_path_says(layout: str, data: Any, text_cells: bool) -> None:
    good = PLAIN[layout]
    text_cells = text_cells and layout == "prompt, chosen, rejected"
    how = decision("a", [good] * 9, tuple(good), Asked(), text_cells=text_cells)
    assert how.layout is not None
    assert how.layout.name == layout
    found = proof_for(how)
    assert found is not None
    columns, proof = found
    change = st.dictionaries(st.sampled_from([*good, *good, *NAMES]), cells | texts, max_size=4)
    record = good | data.draw(change)
    sure = Sure(names={tuple(record)} if only_reads(columns, tuple(record)) else set())
    if proof([record], sure):
        assert not sure.rows
        assert not sure.prompts
        return
    try:
        row = how.row(1, record)
    except Unusable as why:
        pytest.fail(f"{record} is dropped: {why.reason}")
    assert (*sure.rows, *sure.prompts) == hashes.of(row)
    labels = [row.label is False, row.label] if isinstance(row, Labelled) else [0, 0]
    assert sure.labels == labels


@pytest.mark.parametrize("layout", PROOFS)
def test_a_proof_is_there_for_plain_rows(layout: str) -> None:
    good = PLAIN[layout]
    how = decision("a", [good] * 9, tuple(good), Asked())
    found = proof_for(how)
    assert found is not None
    assert only_reads(found[0], (*good, "id", "source"))
    assert found[1]([good], Sure()) == []
    assert found[1]([good | {"id": 1}], Sure()) == [0]
    assert found[1]([good | {"id": 1}], Sure(names={(*good, "id")})) == []
    for asked in (Asked(columns={"prompt": "prompt"}), Asked(labels={"x": True})):
        assert proof_for(decision("a", [good] * 9, tuple(good), asked)) is None
    in_text = decision("a", [good] * 9, tuple(good), Asked(), text_cells=True)
    assert (proof_for(in_text) is None) == ("label" in good)


@many
@given(
    data=st.lists(
        records.map(json.dumps)
        | cells.map(json.dumps)
        | st.fixed_dictionaries(dict.fromkeys(("prompt", "chosen", "rejected"), texts)).map(
            json.dumps
        )
        | st.sampled_from(["", " ", "{", "NaN", '{"prompt": NaN}']),
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_counting_in_parts_counts_as_loading_does(
    write: Write, data: list[str], cut: int
) -> None:  # fmt: skip
    good = json.dumps(PLAIN["prompt, chosen, rejected"])
    lines = [good] * 3 + data
    path = write("a.jsonl", "\n".join(lines))
    whole = load(DataSource(path))
    draw = Draw()
    parts = []
    for index, part in enumerate((lines[:cut], lines[cut:])):
        if part:
            counting = Counting(whole.decision, index, draw)
            counting.text("\n".join(part).encode())
            parts.append(counting.tally)
            assert counting.tally.last == len(part)
    assert sum(part.total for part in parts) == whole.total
    assert sum(part.kept for part in parts) == whole.kept
    dropped: dict[str, int] = {}
    for counted in parts:
        for reason, n in counted.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + n
    assert dropped == whole.dropped
    seen = [number for part in parts for number in part.rows]
    assert len(seen) - len(set(seen)) == whole.duplicate_rows
    assert len(draw.drawn) == sum(part.total for part in parts) - dropped.get("unparseable line", 0)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.lists(records, min_size=1, max_size=20))
def test_a_scan_of_anything(
    write: Write, monkeypatch: pytest.MonkeyPatch, data: list[Any]
) -> None:  # fmt: skip
    monkeypatch.setattr(look, "WHOLE_BYTES", 0)
    source = DataSource(write("a.jsonl", data))
    whole, found, seen = load(source), scan(source), glance(source)
    for loaded in (whole, found, seen):
        accounted(loaded)
    assert (found.total, found.kept, found.dropped) == (whole.total, whole.kept, whole.dropped)
    assert found.decision == whole.decision

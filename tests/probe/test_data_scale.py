"""A large data set: estimates from a sample, exact counts in bounded memory, one and the same
decision for all, and no process left behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Pair, text_of
from backprop_tui.probe.data import (
    DataSource,
    Loaded,
    ScanStopped,
    describe,
    glance,
    load,
    scan,
)
from backprop_tui.probe.data.large import jobs, look, tally
from backprop_tui.probe.data.large.jobs import Setup
from backprop_tui.probe.data.large.plain import PROOFS
from backprop_tui.probe.data.large.ranges import lines_in
from backprop_tui.probe.data.layouts.shapes import LAYOUTS
from backprop_tui.probe.data.read import files, readers
from backprop_tui.probe.data.read.found import look_up

Write = Callable[..., str]
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every data set counts as large, and is counted in small parts."""
    monkeypatch.setattr(look, "WHOLE_BYTES", 0)
    monkeypatch.setattr(look, "WHOLE_ROWS", 0)
    monkeypatch.setattr(jobs, "PART", 10_000)


def pairs(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of very different lengths, of which some repeat and some cannot be trained."""
    chance = random.Random(seed)
    rows = []
    for i in range(n):
        long = chance.choice([1, 5, 300])
        row: dict[str, Any] = {
            "prompt": f"p{i % (n - 5)} " + "w " * chance.randrange(long),
            "chosen": "a " * chance.randrange(1, long + 1) + str(i % 7),
            "rejected": "b " * chance.randrange(1, long + 1),
        }
        kind = chance.random()
        if kind < 0.02:
            row["rejected"] = row["chosen"]
        elif kind < 0.04:
            row["chosen"] = "  "
        elif kind < 0.05:
            del row["rejected"]
        elif kind < 0.06:
            row["prompt"] = "\n\nHuman: a\n\nAssistant:"
        rows.append(row)
    return rows + rows[:3]


def as_jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


BROKEN = ["{broken", "", "  ", "[1, 2]", '{"prompt": NaN}', "\ufeff" + '{"prompt": "p"}', "null"]


def mixed(n: int = 3000) -> bytes:
    """Pairs with broken, blank and odd lines in between, the last line without its end."""
    lines = [json.dumps(row) for row in pairs(n)]
    chance = random.Random(1)
    for line in BROKEN * 5:
        lines.insert(chance.randrange(len(lines)), line)
    return "\n".join(lines).encode() + b'\n{"prompt": "\xff"}\r\n' + b'{"prompt": "cut o'


def counts(loaded: Loaded) -> dict[str, Any]:
    """All that a scan must find as reading everything does."""
    names = ("total", "kept", "dropped", "labels", "duplicate_rows", "duplicate_prompts")
    found = {name: getattr(loaded, name) for name in names}
    found |= {"columns": loaded.columns, "layout": loaded.layout, "exact": loaded.exact}
    return found | {"first": loaded.dropped_rows}


def check_sample(sampled: Loaded, whole: Loaded) -> None:
    """What was drawn are rows of the file, each at most once, in order."""
    by_number = {row.number: row for row in whole.rows}
    assert [row.number for row in sampled.rows] == sorted({row.number for row in sampled.rows})
    assert all(by_number[row.number] == row for row in sampled.rows)


@pytest.mark.usefixtures("all_large")
def test_a_scan_counts_what_loading_counts(write: Write) -> None:
    source = DataSource(write("a.jsonl", mixed(2500)))
    whole, found = load(source), scan(source)
    assert counts(found) == counts(whole)
    assert (found.whole, found.exact, found.table.sha256) == (False, True, None)
    check_sample(found, whole)
    assert len(found.rows) == whole.kept  # fewer than are drawn at most: all
    facts, of_all = describe(found), describe(whole)
    assert facts == replace(of_all, sha256=None, size=facts.size)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is absent")
@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(
    "name", sorted(str(path.relative_to(SHARED)) for path in SHARED.rglob("*.*sonl"))
)
def test_a_scan_of_files_nobody_here_wrote(name: str) -> None:
    source = DataSource(str(SHARED / name))
    assert counts(scan(source)) == counts(load(source))


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json", "a.csv", "a.parquet", "utf16.jsonl"])
def test_a_scan_of_what_cannot_be_parted(write: Write, tmp_path: Path, name: str) -> None:
    rows = [row for row in pairs(500) if len(row) == 3]
    if name == "a.jsonl.gz":
        path = write(name, gzip.compress(mixed(500)))
    elif name == "a.json":
        path = write(name, json.dumps([*rows, 7, None, {"x": 1e300}, []], indent=1))
    elif name == "utf16.jsonl":
        path = write(name, as_jsonl(rows).encode("utf-16"))
    elif name == "a.csv":
        lines = [",".join(f'"{cell}"' for cell in row.values()) for row in rows]
        path = write(name, "\n".join(["prompt,chosen,rejected", *lines, '"p,a,b', *lines]))
    else:
        import pyarrow
        import pyarrow.parquet

        path = str(tmp_path / name)
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, path, row_group_size=100)
    source = DataSource(path)
    whole = load(source)
    told: list[float] = []
    found = scan(source, told.append)
    assert counts(found) == counts(whole)
    check_sample(found, whole)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)
    check_estimate(glance(source), whole)


def check_estimate(seen: Loaded, whole: Loaded, within: float = 0.1) -> None:
    assert not seen.exact
    assert not seen.whole
    assert seen.total == seen.kept + sum(seen.dropped.values())
    assert seen.total == pytest.approx(whole.total, rel=within)
    assert seen.kept == pytest.approx(whole.kept, rel=within)
    assert (seen.layout, seen.columns) == (whole.layout, whole.columns)


@pytest.mark.usefixtures("all_large")
def test_several_files_of_several_formats(write: Write) -> None:
    rows = [row for row in pairs(300) if len(row) == 3]
    cells = "\n".join(",".join(f'"{cell}"' for cell in row.values()) for row in rows)
    paths = (
        write("a.jsonl", mixed(300)),
        write("b.csv", "prompt,chosen,rejected\n" + cells + "\n"),
        write("c.jsonl", as_jsonl(pairs(400, seed=2)) + "{broken\n"),
    )
    source = DataSource(paths[0], more=paths[1:])
    whole, found = load(source), scan(source)
    assert counts(found) == counts(whole)
    check_sample(found, whole)
    assert any(lost.place.startswith("a.jsonl ") for lost in found.dropped_rows)
    seen = glance(source)
    check_estimate(seen, whole)
    assert len({row.number for row in seen.rows}) == len(seen.rows)
    assert len(describe(found).files) == 3


@pytest.mark.usefixtures("all_large")
def test_labels_are_counted(write: Write) -> None:
    rows = [
        {"prompt": f"p{i % 900}", "completion": "c", "label": i % 3 == 0, "id": i}
        for i in range(1000)
    ]
    rows += [{"prompt": "x", "completion": "c", "label": 1}, {**rows[0], "label": 2}]
    source = DataSource(write("a.jsonl", rows))
    whole, found, seen = load(source), scan(source), glance(source)
    assert counts(found) == counts(whole)
    assert whole.labels == {True: 335, False: 666}
    assert seen.labels is not None
    assert sum(seen.labels.values()) == seen.kept
    assert seen.labels[True] == pytest.approx(335, rel=0.1)


@pytest.mark.usefixtures("all_large")
def test_the_sample_is_the_same_however_many_processes_there_are(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "KEEP", 50)
    source = DataSource(write("a.jsonl", as_jsonl(pairs(2000))))
    from backprop_tui.probe.data.large import workers

    first = scan(source)
    monkeypatch.setattr(workers, "MOST", 1)
    second = scan(source)
    assert first.rows == second.rows
    assert counts(first) == counts(second)


@pytest.mark.usefixtures("all_large")
def test_many_hashes_are_thinned(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from backprop_tui.probe.data.large import hashes

    monkeypatch.setattr(hashes, "MOST", 500)
    rows = [
        {"prompt": f"p{i % 3000}", "chosen": "a", "rejected": f"b{i % 4000}"} for i in range(6000)
    ]
    found = scan(DataSource(write("a.jsonl", rows)))
    assert found.duplicate_prompts == pytest.approx(3000, rel=0.3)


@pytest.mark.usefixtures("all_large")
def test_a_look_is_the_same_each_time_and_counts_well(write: Write) -> None:
    rows = pairs(20_000)
    source = DataSource(write("a.jsonl", as_jsonl(rows)))
    whole, seen = load(source), glance(source)
    check_estimate(seen, whole, within=0.02)
    assert seen.rows == glance(source).rows
    for reason, n in whole.dropped.items():
        assert seen.dropped[reason] == pytest.approx(n, rel=0.5)
    first = seen.dropped_rows[0]
    assert first.place == f"about {first.row:,}"


def lengths_apart(path: str, rows: int) -> Iterator[float]:
    """Long and short rows apart, then mixed: the mean length of the rows seen over the true."""
    chance = random.Random(3)
    for order in ("apart", "mixed"):
        sizes = [200] * (rows // 2) + [4000] * (rows // 2)
        if order == "mixed":
            chance.shuffle(sizes)
        with Path(path).open("w") as file:
            for i, size in enumerate(sizes):
                row = {"prompt": f"p{i}", "chosen": "a" * size, "rejected": "b"}
                file.write(json.dumps(row) + "\n")
        seen = glance(DataSource(path))
        lengths = [len(text_of(row.chosen)) for row in seen.rows if isinstance(row, Pair)]
        mean = sum(lengths) / len(lengths)
        yield mean / (sum(sizes) / len(sizes))
        assert seen.total == pytest.approx(rows, rel=0.04)


@pytest.mark.usefixtures("all_large")
def test_long_rows_are_not_seen_more_often_than_short_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WIDTH", 32 << 10)
    for share in lengths_apart(str(tmp_path / "a.jsonl"), 6000):
        assert share == pytest.approx(1, abs=0.04)


@pytest.mark.usefixtures("all_large")
def test_rows_longer_than_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WIDTH", 1 << 10)
    monkeypatch.setattr(look, "ENOUGH", 30)
    path = tmp_path / "a.jsonl"
    path.write_text(as_jsonl([
        {"prompt": f"p{i}", "chosen": "a" * 50_000, "rejected": "b"} for i in range(300)
    ]))  # fmt: skip
    seen = glance(DataSource(str(path)))
    assert seen.total == pytest.approx(300, rel=0.3)
    assert seen.rows


def test_ranges_share_no_line_and_lose_none(tmp_path: Path) -> None:
    chance = random.Random(5)
    for ending in (b"", b"\n", b"\n\n"):
        lines = [b"x" * chance.choice([0, 1, 3, 50]) for _ in range(200)]
        data = b"\n".join(lines) + b"y" + ending
        path = tmp_path / "a.jsonl"
        path.write_bytes(data)
        found = look_up(DataSource(str(path)))
        file = replace(found.files[0], size=len(data))  # type: ignore[union-attr]
        for width in (1, 2, 7, 64, 1000, len(data)):
            texts, offsets = [], []
            for start in range(0, len(data), width):
                for offset, text in lines_in(file, start, min(len(data), start + width)):
                    texts.append(text)
                    offsets.append(offset)
                    assert data[offset:].startswith(text)
            assert b"\n".join(texts) == data.removesuffix(b"\n")
            assert offsets == sorted(set(offsets))


@pytest.mark.usefixtures("all_large")
def test_the_decision_is_the_same_for_all(write: Write) -> None:
    """Half the rows are pairs and half are chats: whichever it is, all three agree."""
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    source = DataSource(write("a.jsonl", [pair] * 3000 + [chat] * 3000))
    assert load(source).layout == glance(source).layout == scan(source).layout


@pytest.mark.usefixtures("all_large")
def test_a_file_of_no_objects_is_read_whole(write: Write) -> None:
    source = DataSource(write("a.jsonl", "1\n2\n3\n"))
    for loaded in (glance(source), scan(source)):
        assert (loaded.total, loaded.kept, loaded.whole, loaded.exact) == (3, 0, True, True)
    pretty = DataSource(write("b.jsonl", json.dumps({"data": pairs(50)}, indent=1)))
    assert scan(pretty).total == glance(pretty).total == 53


# Processes.


def children() -> list[psutil.Process]:
    """The workers that are alive; other tests leave dead children behind."""

    def command(process: psutil.Process) -> str:
        with suppress(psutil.Error):
            return " ".join(process.cmdline())
        return ""

    found = psutil.Process().children(recursive=True)
    return [process for process in found if "probe.data.large.worker" in command(process)]


@pytest.mark.usefixtures("all_large")
def test_a_stopped_scan_leaves_no_process(write: Write) -> None:
    source = DataSource(write("a.jsonl", mixed()))
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen = max(seen, len(children()))
        return seen > 0

    with pytest.raises(ScanStopped):
        scan(source, stop=stop)
    assert seen
    assert not children()


@pytest.mark.usefixtures("all_large")
def test_a_process_that_dies_is_an_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DataSource(write("a.jsonl", mixed()))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError) as caught:
        scan(source)
    assert caught.value.code == "DATA_SCAN_FAILED"
    assert not children()


@pytest.mark.usefixtures("all_large")
def test_a_file_that_shrinks_while_it_is_counted(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.jsonl", mixed())

    def progress(share: float) -> None:
        if share:
            os.truncate(path, 20_000)

    with pytest.raises(InputError) as caught:
        scan(DataSource(path), progress)
    assert caught.value.code == "DATA_CHANGED"


@pytest.mark.usefixtures("all_large")
def test_broken_files_are_refused_by_a_scan_as_by_loading(write: Write) -> None:
    cut = write("a.json", json.dumps(pairs(2000))[:-3000])
    for call in (load, scan):
        with pytest.raises(InputError) as caught:
            call(DataSource(cut))
        assert caught.value.code == "DATA_UNREADABLE"
    assert "entry" in caught.value.message


@pytest.mark.usefixtures("all_large")
def test_a_scan_in_a_thread_of_a_process_with_threads(write: Write) -> None:
    source = DataSource(write("a.jsonl", mixed()))
    found: list[Loaded] = []
    thread = threading.Thread(target=lambda: found.append(scan(source)))
    thread.start()
    thread.join(60)
    assert counts(found[0]) == counts(load(source))


def test_a_worker_whose_asker_is_gone_ends(write: Write) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "backprop_tui.probe.data.large.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()  # type: ignore[union-attr]


def test_a_worker_imports_nothing_heavy() -> None:
    code = (
        "import sys, backprop_tui.probe.data.large.worker\n"
        "print(sorted({'textual', 'typer', 'torch', 'numpy', 'pyarrow', 'datasets', 'pydantic',"
        " 'tokenizers', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_decision_is_the_same_in_a_worker(write: Write) -> None:
    import pickle

    how = load(DataSource(write("a.jsonl", pairs(20)), labels={"x": True})).decision
    again = pickle.loads(pickle.dumps(Setup.of(how))).decision()
    assert again.layout is how.layout
    assert (again.asked, again.text_cells) == (how.asked, how.text_cells)
    assert set(PROOFS) <= {layout.name for layout in LAYOUTS}


def test_a_small_file_starts_no_process(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DataSource(write("a.jsonl", pairs(20)))

    def refused(process: BaseProcess) -> None:
        raise AssertionError(f"{process} was started")

    monkeypatch.setattr(BaseProcess, "start", refused)
    found = scan(source)
    assert found == load(source)
    assert found.whole


# A hub data set, as the library gives it: rows that are read when they are asked for.


@pytest.mark.usefixtures("all_large")
def test_a_large_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from backprop_tui.probe.data.read import hub

    rows = [{"prompt": None, "rejected": None} | row for row in pairs(6000)]
    held = datasets.Dataset.from_list(rows)
    monkeypatch.setattr(hub, "read_hub", lambda *_: held)
    source = DataSource("owner/name")
    whole, found, seen = load(source), scan(source), glance(source)
    assert counts(found) == counts(whole)
    check_sample(found, whole)
    assert seen.total == whole.total
    assert seen.kept == pytest.approx(whole.kept, rel=0.02)
    with pytest.raises(ScanStopped):
        scan(source, stop=lambda: True)


SHORT = [{"prompt": f"p{i % 97}", "chosen": f"a{i % 89}", "rejected": "b"} for i in range(60_000)]


def short_csv() -> bytes:
    lines = [",".join(row.values()) for row in SHORT]
    return "\n".join(["prompt,chosen,rejected", *lines]).encode()


@pytest.mark.parametrize("name", ["a.csv", "a.json", "wrapped.json", "a.jsonl.gz"])
def test_many_short_rows_in_a_block_are_estimated_well(
    name: str, all_large: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "HEAD_ROWS", 100)
    monkeypatch.setattr(files, "BLOCK", 64 << 10)
    written = {
        "a.csv": short_csv(),
        "a.json": json.dumps(SHORT).encode(),
        "wrapped.json": json.dumps({"data": SHORT}).encode(),
        "a.jsonl.gz": gzip.compress("\n".join(map(json.dumps, SHORT)).encode()),
    }
    (tmp_path / name).write_bytes(written[name])
    seen = glance(DataSource(str(tmp_path / name)))
    assert not seen.exact
    assert seen.total == pytest.approx(len(SHORT), rel=0.1)


def test_a_large_object_that_cannot_be_held_is_refused(
    all_large: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": SHORT}))
    monkeypatch.setattr(readers, "free_memory", lambda: 1000)
    for read in (glance, scan):
        with pytest.raises(InputError) as caught:
            read(DataSource(str(tmp_path / "a.json")))
        assert caught.value.code == "DATA_TOO_LARGE"

"""Every format gives the same rows; hub ids and the bundled files are found."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import UNPARSEABLE, Labelled, Message, Pair
from backprop_tui.probe.data import DataSource, bundled, load, probe_data

Write = Callable[..., str]

PAIRS = [
    {"prompt": "Wie heißt du?", "chosen": "Ada,\nja", "rejected": 'sag "nein"'},
    {"prompt": "2+2?", "chosen": "4", "rejected": "5\u2028"},
]


def pairs(path: str) -> list[tuple[int, str, str, str]]:
    found = []
    for row in load(DataSource(path)).rows:
        assert isinstance(row, Pair)
        found.append(
            (row.number, row.prompt[0].content, row.chosen[0].content, row.rejected[0].content)
        )
    return found


EXPECTED = [(i, row["prompt"], row["chosen"], row["rejected"]) for i, row in enumerate(PAIRS, 1)]


def as_json(rows: list[dict[str, str]], **options: Any) -> str:
    import json

    return json.dumps(rows, ensure_ascii=False, **options)


def as_csv(rows: list[dict[str, str]]) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.jsonl", PAIRS, "jsonl"),
        ("a.json", as_json(PAIRS), "json"),
        ("a.json", as_json(PAIRS, indent=2), "json"),
        ("bom.json", "\ufeff" + as_json(PAIRS), "json"),
        ("bom.csv", "\ufeff" + as_csv(PAIRS), "csv"),
        ("a.csv", as_csv(PAIRS), "csv"),
        ("lines-in-json.json", "\n".join(as_json([row])[1:-1] for row in PAIRS), "jsonl"),
        ("array-in-jsonl.jsonl", as_json(PAIRS, indent=2), "json"),
        ("array-on-a-line.jsonl", as_json(PAIRS), "json"),
        ("no-suffix", as_json(PAIRS), "json"),
        ("lines.txt", "\n".join(as_json([row])[1:-1] for row in PAIRS), "jsonl"),
    ],
)
def test_a_format_gives_its_rows(write: Write, name: str, content: Any, format: str) -> None:
    path = write(name, content)
    assert pairs(path) == EXPECTED
    facts = probe_data(DataSource(path))
    assert (facts.format, facts.path) == (format, str(Path(path).resolve()))
    assert facts.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_parquet_gives_its_rows_and_types(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    table = pyarrow.Table.from_pylist(PAIRS)
    pyarrow.parquet.write_table(table, path)
    assert pairs(str(path)) == EXPECTED
    path.rename(tmp_path / "no-suffix")
    assert pairs(str(tmp_path / "no-suffix")) == EXPECTED

    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    labelled = [{"messages": turns, "label": True}, {"messages": turns, "label": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(labelled), path)
    facts = probe_data(DataSource(str(path)))
    assert (facts.format, facts.shape, facts.kept) == ("parquet", "unpaired", 1)
    assert facts.dropped == {"label unusable": 1}


def test_a_single_object_is_one_row(write: Write) -> None:
    assert pairs(write("one.json", as_json(PAIRS[:1], indent=1)[1:-1])) == EXPECTED[:1]


def test_broken_lines_are_counted_with_their_number(write: Write) -> None:
    good = as_json(PAIRS[:1])[1:-1]
    lines = [good] * 499 + ['{"prompt": "cut of'] + ["", "  "] + [good] * 100
    facts = probe_data(DataSource(write("a.jsonl", "\n".join(lines))))
    assert (facts.rows, facts.kept, facts.dropped) == (600, 599, {UNPARSEABLE: 1})
    (lost,) = facts.dropped_rows
    assert (lost.row, lost.excerpt) == (500, '{"prompt": "cut of')


def test_the_row_number_is_the_line(write: Write) -> None:
    good = as_json(PAIRS[:1])[1:-1]
    rows = load(DataSource(write("a.jsonl", f"\n\n{good}\n\n{good}"))).rows
    assert [row.number for row in rows] == [3, 5]


def test_one_line_in_another_encoding_costs_one_row(write: Write) -> None:
    good = as_json(PAIRS[:1])[1:-1].encode()
    bad = '{"prompt": "h\u00e9", "chosen": "a", "rejected": "b"}'.encode("latin-1")
    facts = probe_data(DataSource(write("a.jsonl", good + b"\n" + bad + b"\n" + good)))
    assert (facts.kept, facts.dropped) == (2, {UNPARSEABLE: 1})
    assert facts.dropped_rows[0].row == 2


def test_csv_labels_are_words_and_scores_are_not(write: Write) -> None:
    cells = ["true", "false", "True", "False", "0", "1", "1.0", "yes", ""]
    text = "prompt,completion,label\n" + "".join(f"p{i},c,{c}\n" for i, c in enumerate(cells))
    loaded = load(DataSource(write("a.csv", text)))
    labels = [row.label for row in loaded.rows if isinstance(row, Labelled)]
    assert labels == [True, False, True, False, False, True]
    assert loaded.dropped == {"label unusable": 3}
    assert [row.excerpt for row in loaded.dropped_rows] == [
        "label: '1.0'",
        "label: 'yes'",
        "label: ''",
    ]


def test_csv_rows_with_too_many_or_too_few_cells(write: Write) -> None:
    text = "prompt,chosen,rejected\na,b,c\na,b,c,d\na,b\n\na2,b,c\n"
    facts = probe_data(DataSource(write("a.csv", text)))
    assert (facts.rows, facts.kept) == (4, 2)
    assert facts.dropped == {UNPARSEABLE: 1, "one side missing": 1}


def test_a_csv_cell_may_be_larger_than_the_csv_module_allows(write: Write) -> None:
    long = "word " * 100_000
    text = f"prompt,chosen,rejected\nq,{long},no\n"
    facts = probe_data(DataSource(write("a.csv", text)))
    assert facts.words["chosen"].max == 100_000


def test_the_bundled_files() -> None:
    pairs_file, feedback = bundled("pocket", "simpo"), bundled("pocket", "kto")
    assert pairs_file is not None
    assert feedback is not None
    assert (pairs_file.name, feedback.name) == ("pairs.jsonl", "feedback.jsonl")
    assert pairs_file.parent == feedback.parent
    assert pairs_file.parent.name == "demo"
    assert bundled("./pocket", "kto") is None


@pytest.mark.parametrize(("method", "shape"), [("simpo", "paired"), ("kto", "unpaired")])
def test_the_bundled_files_lose_no_row(method: str, shape: str) -> None:
    facts = probe_data(DataSource("pocket", method=method))
    assert (facts.name, facts.shape, facts.kept) == ("pocket", shape, facts.rows)
    assert facts.rows >= 400


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Callable[..., Any]) -> None:
    """A stand-in for the library, so that no test needs a network."""
    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
    module.config = ModuleType("config")  # type: ignore[attr-defined]
    module.config.HF_HUB_OFFLINE = False
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)


def test_a_hub_id_is_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(
        name: str, config: str | None, *, split: str, revision: str | None
    ) -> list[dict[str, str]]:
        asked.append((name, config, split, revision, os.environ["HF_HUB_DISABLE_TELEMETRY"]))
        return PAIRS

    hub(monkeypatch, load_dataset)
    facts = probe_data(DataSource("some/pairs", split="test", revision="abc"))
    assert asked == [("some/pairs", None, "test", "abc", "1")]
    assert (facts.format, facts.shape, facts.kept, facts.path) == ("hub", "paired", 2, None)
    probe_data(DataSource("some/pairs"))
    assert asked[-1][1:4] == (None, "train", None)
    probe_data(DataSource("some/pairs", config="small"))
    assert asked[-1][1] == "small"


def test_a_hub_data_set_has_a_fingerprint_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def sha256(rows: list[dict[str, Any]]) -> str | None:
        hub(monkeypatch, lambda *_, **__: rows)
        return probe_data(DataSource("some/pairs")).sha256

    first = sha256(PAIRS)
    assert first is not None
    assert len(first) == 64
    # The order of the columns is the reader's; the order of the rows is the data's.
    assert sha256([dict(reversed(row.items())) for row in PAIRS]) == first
    assert sha256(PAIRS[::-1]) != first
    assert sha256(PAIRS[:1]) != first
    assert sha256([*PAIRS[:-1], {**PAIRS[-1], "chosen": "another"}]) != first
    # What is no JSON value counts as its text.
    assert sha256([{**PAIRS[0], "when": date(2024, 1, 2)}]) == sha256(
        [{**PAIRS[0], "when": "2024-01-02"}]
    )


class DatasetNotFoundError(FileNotFoundError):
    """The library's class, by name."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DatasetNotFoundError("doesn't exist on the Hub"), "DATA_NOT_FOUND", "no such data set"),
        (ConnectionError("Couldn't reach it"), "DATA_NOT_FOUND", "cannot be reached"),
        (
            ValueError("Unknown split \"train\". Should be one of ['a']"),
            "DATA_SPLIT",
            "there are: a",
        ),
        (RuntimeError(""), "DATA_UNREADABLE", "RuntimeError"),
    ],
)
def test_a_hub_failure_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, said: str
) -> None:
    def load_dataset(*names: Any, **options: Any) -> None:
        raise error

    hub(monkeypatch, load_dataset)
    with pytest.raises(InputError) as caught:
        load(DataSource("some/pairs"))
    assert caught.value.code == code
    assert caught.value.message.startswith("some/pairs: ")
    assert said in caught.value.message
    assert caught.value.hint


def test_a_hub_that_does_not_answer_leaves_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    states: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> list[dict[str, str]]:
        states.append((constants.HF_HUB_OFFLINE, sys.modules["datasets"].config.HF_HUB_OFFLINE))
        return PAIRS

    def no_answer(self: object, name: str, *, revision: str | None, timeout: float) -> None:
        assert timeout <= 10
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub(monkeypatch, load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", no_answer)
    assert probe_data(DataSource("some/pairs")).kept == 2
    assert states == [(True, True)]
    assert (constants.HF_HUB_OFFLINE, sys.modules["datasets"].config.HF_HUB_OFFLINE) == (False,) * 2


def test_offline_with_the_real_library(tmp_path: Path) -> None:
    code = (
        "from backprop_tui.core.errors import InputError\n"
        "from backprop_tui.probe.data import DataSource, load\n"
        "try:\n    load(DataSource('nobody-here/nothing-there'))\n"
        "except InputError as error:\n    print(error.code, error.message)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("DATA_NOT_FOUND nobody-here/nothing-there: no such file, and ")


def test_a_local_file_costs_no_heavy_import(write: Write) -> None:
    path = write("a.jsonl", PAIRS)
    code = (
        "import sys\n"
        "from backprop_tui.probe.data import DataSource, probe_data\n"
        f"assert probe_data(DataSource({path!r})).kept == 2\n"
        "print(sorted({'datasets', 'pyarrow', 'torch', 'transformers', 'numpy', 'pandas',"
        " 'tokenizers', 'huggingface_hub'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_unicode_line_separators_do_not_end_a_line(write: Write) -> None:
    row = '{"prompt": "a\u2028b\u0085c", "chosen": "x", "rejected": "y"}'
    (only,) = load(DataSource(write("a.jsonl", row))).rows
    assert isinstance(only, Pair)
    assert only.prompt == (Message("user", "a\u2028b\u0085c"),)

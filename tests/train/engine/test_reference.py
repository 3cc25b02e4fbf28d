"""The reference of the frozen base: kept whole, reused only where it is the same."""

from __future__ import annotations

import json
import math
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as as_bytes
from torch import Tensor

from backprop_tui.core.errors import RunError
from backprop_tui.train.engine import reference
from backprop_tui.train.engine.reference import (
    cached,
    kept,
    key,
    load,
    measured,
    save,
    sha256,
)

KEY, OTHER = "a" * 64, "b" * 64
VALUES = torch.tensor([[-1.5, -2.0], [-3.25, -400.0], [-0.125, -7.0]])
NUMBERS = [4, 7, 9]
ROWS = [([1, 2], [3], [4, 5]), ([6], [7], [8])]
FACTS: dict[str, Any] = {
    "weights": "f" * 64,
    "precision": "nf4",
    "dtype": "bfloat16",
    "path": "shared",
}


class Base:
    """A base model that counts what it is asked."""

    def __init__(self, values: Tensor = VALUES) -> None:
        self.values = values
        self.asked: list[tuple[int, int]] = []

    def measure(self, start: int, stop: int) -> Tensor:
        self.asked.append((start, stop))
        return self.values[start:stop]


def found(
    folder: Path,
    base: Base,
    numbers: list[int] = NUMBERS,
    recorded: tuple[Path, str] | None = None,
    **options: Any,
) -> reference.Reference:
    """What a run does: look for a file, else measure and keep one."""
    return cached(KEY, len(numbers), folder, recorded) or kept(
        KEY, measured(numbers, base.measure, batch=2, **options), folder
    )


def test_measured_once(tmp_path: Path) -> None:
    base = Base()
    steps: list[tuple[int, int]] = []

    first = found(tmp_path, base, progress=lambda done, rows: steps.append((done, rows)))
    again = found(tmp_path, base)

    assert base.asked == [(0, 2), (2, 3)]
    assert steps == [(0, 3), (2, 3), (3, 3)]
    assert (first.reused, again.reused) == (False, True)
    assert first.path == again.path == tmp_path / f"reference-{KEY[:16]}.safetensors"
    for one in (first, again):
        assert torch.equal(one.values, VALUES)
        assert one.values.dtype == torch.float32
    assert os.listdir(tmp_path) == [first.path.name]
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600


def test_the_same_values_are_the_same_file(tmp_path: Path) -> None:
    hashes = set()
    for name in "abcdefgh":
        save(tmp_path / name, KEY, VALUES)
        hashes.add(sha256(tmp_path / name))
    assert len(hashes) == 1


def test_no_rows(tmp_path: Path) -> None:
    base = Base()
    for reused in (False, True):
        made = found(tmp_path, base, numbers=[])
        assert made.values.shape == (0, 2)
        assert made.reused is reused
    assert base.asked == []


def test_a_file_of_another_run_is_copied(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    before = found(old, Base())
    base = Base()

    made = found(new, base, recorded=(before.path, sha256(before.path)))
    before.path.unlink()
    again = found(new, base, recorded=(before.path, "gone"))

    assert base.asked == []
    assert made.reused
    assert again.reused
    assert made.path.parent == new
    assert torch.equal(again.values, VALUES)


@pytest.mark.parametrize("wrong", ["hash", "key", "missing", "content"])
def test_a_recorded_file_that_is_not_it_is_measured_again(tmp_path: Path, wrong: str) -> None:
    new, source = tmp_path / "new", tmp_path / "old.safetensors"
    new.mkdir()
    save(source, OTHER if wrong == "key" else KEY, VALUES)
    hashed = "0" * 64 if wrong == "hash" else sha256(source)
    if wrong == "missing":
        source.unlink()
    if wrong == "content":
        save(source, KEY, VALUES + 1)
    base = Base()

    made = found(new, base, recorded=(source, hashed))

    assert base.asked
    assert not made.reused
    assert torch.equal(made.values, VALUES)


def foreign(path: Path) -> None:
    path.write_bytes(as_bytes({"values": VALUES}))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def metadata(**changed: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        digest = reference._digest(VALUES)
        about = {"key": KEY, "rows": 3, "sha256": digest, **changed}
        path.write_bytes(as_bytes({"values": VALUES}, {"reference": json.dumps(about)}))

    return write


def values(changed: Tensor) -> Callable[[Path], None]:
    return lambda path: save(path, KEY, changed)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def header(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(len(content).to_bytes(8, "little") + content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "one bit": flipped,
    "foreign": foreign,
    "text": lambda path: path.write_text("hello, this is not it"),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"values": [1, 2]})),
    "deep": header(b"[" * 20_000),
    "a list": header(b"[]"),
    "pipe": pipe,
    "folder": folder,
    "another key": metadata(key=OTHER),
    "another count": metadata(rows=2),
    "no key": metadata(key=None),
    "more rows": values(torch.zeros(4, 2)),
    "one sum a row": values(torch.zeros(3, 1)),
    "nan": values(torch.tensor([[0.0, math.nan]] * 3)),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_cannot_be_trusted_is_not_used(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "reference.safetensors"
    save(path, KEY, VALUES)
    assert torch.equal(load(path, KEY, 3), VALUES)  # type: ignore[arg-type]

    BROKEN[broken](path)

    assert load(path, KEY, 3) is None


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    save(path, KEY, VALUES)
    os.truncate(path, 2**20)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert load(path, KEY, 3) is None


def test_the_metadata_helper_writes_what_is_accepted(tmp_path: Path) -> None:
    metadata()(tmp_path / "file")
    assert load(tmp_path / "file", KEY, 3) is not None


def test_a_torn_file_is_measured_again_and_mended(tmp_path: Path) -> None:
    made = found(tmp_path, Base())
    made.path.write_bytes(made.path.read_bytes()[:-1])
    base = Base()

    assert not found(tmp_path, base).reused
    assert base.asked
    assert found(tmp_path, base).reused


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_measure_leaves_no_file(tmp_path: Path, error: type[BaseException]) -> None:
    def stop(done: int, rows: int) -> None:
        if done == 2:
            raise error

    base = Base()
    with pytest.raises(error):
        found(tmp_path, base, progress=stop)
    assert base.asked == [(0, 2)]
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    save(path, KEY, VALUES)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(path, KEY, VALUES + 1)

    assert torch.equal(load(path, KEY, 3), VALUES)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_named(tmp_path: Path, wrong: float) -> None:
    values = VALUES.clone()
    values[1, 1] = wrong
    with pytest.raises(RunError, match=r"row 7: .*log-probability") as caught:
        found(tmp_path, Base(values))
    assert caught.value.code == "RUN_NOT_FINITE"
    assert os.listdir(tmp_path) == []


def test_the_key_is_repeatable() -> None:
    assert key(ROWS, **FACTS) == key([[list(part) for part in row] for row in ROWS], **FACTS)
    assert len(key(ROWS, **FACTS)) == 64
    assert key(iter(ROWS), **FACTS) == key(ROWS, **FACTS)


@pytest.mark.parametrize("fact", FACTS)
def test_each_fact_changes_the_key(fact: str) -> None:
    changed = {**FACTS, fact: "plain" if fact == "path" else "other"}
    assert key(ROWS, **changed) != key(ROWS, **FACTS)


@pytest.mark.parametrize(
    "rows",
    [
        [([1, 2], [3], [4, 9]), ([6], [7], [8])],  # an id
        [([1], [2, 3], [4, 5]), ([6], [7], [8])],  # where the prompt ends
        [([1, 2], [4, 5], [3]), ([6], [7], [8])],  # sides
        [([6], [7], [8]), ([1, 2], [3], [4, 5])],  # order
        [([1, 2], [3], [4, 5])],
        [([1, 2], [3], [4, 5], [6], [7], [8])],
        [],
    ],
)
def test_each_change_of_a_row_changes_the_key(rows: list[tuple[list[int], ...]]) -> None:
    assert key(rows, **FACTS) != key(ROWS, **FACTS)

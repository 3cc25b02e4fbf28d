"""Log-probabilities of the frozen base: measured once, kept in the run folder, reused by a replay.

A row's reference is two sums: [chosen, rejected] of a pair, [completion, mismatched] of kto. They
depend on the weights and on the token ids alone, so a file is reused only where both are the same,
which a key of everything that decides them says.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from backprop_tui.core.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

SUMS = 2  # a row
FORMAT = "reference 1"  # in every key: a change of what the numbers mean changes it
METADATA = "reference"  # one entry: safetensors writes several in no fixed order
HEADER_BYTES = 2**16  # a file of ours has far less beside its numbers


class Reference(NamedTuple):
    """values [rows, 2] float32 on the CPU, the file in the run folder that holds them, and
    whether they were found rather than measured."""

    values: Tensor
    path: Path
    reused: bool


def key(
    rows: Iterable[Sequence[Sequence[int]]],
    *,
    weights: str,
    precision: str,
    dtype: str,
    path: Literal["shared", "plain"],
) -> str:
    """SHA-256 of all that decides the numbers, in hex.

    rows: in order, the token ids of each row, part by part: prompt, chosen, rejected; or prompt,
    completion, mismatched. weights: a hash or a commit. precision: how they are held (nf4, bf16).
    dtype: what they are computed in. path: how the engine reads a pair.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, weights, precision, dtype, path]).encode())
    for row in rows:
        lengths = array("q", [len(row), *map(len, row)])  # so that no part can run into the next
        digest.update(lengths.tobytes())
        for part in row:
            digest.update(array("q", part).tobytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file. OSError: it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(path: Path, key: str, values: Tensor) -> None:
    """Write values [rows, 2] as safetensors, readable by the owner, whole or not at all.

    OSError: it could not be written; what was there before is still there.
    """
    import torch
    from safetensors.torch import save as as_bytes

    values = values.detach().to("cpu", torch.float32).contiguous()
    about = {"key": key, "rows": len(values), "sha256": _digest(values)}
    _write(path, as_bytes({"values": values}, {METADATA: json.dumps(about)}))


def load(path: Path, key: str, rows: int) -> Tensor | None:
    """The values [rows, 2] of a file with this key, or None: missing, torn, foreign, of another
    key, or not finite. Never raises and never unpickles."""
    found = _read(path, rows)
    return None if found is None else _values(found, key, rows)


def cached(
    key: str, rows: int, folder: Path, recorded: tuple[Path, str] | None = None
) -> Reference | None:
    """The reference of a file that has it, or None.

    folder: the run folder; the file there is reference-KEY.safetensors. recorded: a file that an
    earlier run names, and the SHA-256 it had; it is used only while both agree, and copied here.
    OSError: the folder cannot be written to.
    """
    path = _path(key, folder)
    values = load(path, key, rows)
    if values is not None:
        return Reference(values, path, reused=True)
    if recorded is not None:
        source, expected = recorded
        content = _read(source, rows)
        if content is not None and hashlib.sha256(content).hexdigest() == expected:
            values = _values(content, key, rows)
            if values is not None:
                _write(path, content)
                return Reference(values, path, reused=True)
    return None


def measured(
    numbers: Sequence[int],
    measure: Callable[[int, int], Tensor],
    *,
    batch: int,
    progress: Callable[[int, int], None] = lambda done, rows: None,
) -> Tensor:
    """Values [rows, 2], batch by batch. RunError: a row's are not finite.

    numbers: what each row is called in messages. measure(start, stop) -> [stop - start, 2] for
    rows in the order of the key, at most batch at a time. progress(done, rows) is called before
    each batch and at the end; what it raises ends the work.
    """
    import torch

    rows = len(numbers)
    values = torch.empty(rows, SUMS)
    for start in range(0, rows, batch):
        progress(start, rows)
        stop = min(start + batch, rows)
        values[start:stop] = measure(start, stop).detach()
        _refuse_not_finite(values[start:stop], numbers[start:stop])
    progress(rows, rows)
    return values


def kept(key: str, values: Tensor, folder: Path) -> Reference:
    """The values, and the file of the run folder that now has them."""
    path = _path(key, folder)
    save(path, key, values)
    return Reference(values, path, reused=False)


def _path(key: str, folder: Path) -> Path:
    return folder / f"reference-{key[:16]}.safetensors"


def _refuse_not_finite(values: Tensor, numbers: Sequence[int]) -> None:
    for number, sums in zip(numbers, values.tolist(), strict=True):
        if not all(map(_finite, sums)):
            raise RunError(
                f"row {number}: the base model gives it a log-probability of {sums}",
                hint="training on it would ruin the adapter; "
                "try another model.precision, or look at the row",
                code="RUN_NOT_FINITE",
            )


def _finite(number: float) -> bool:
    return abs(number) < float("inf")  # false for nan


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def _read(path: Path, rows: int) -> bytes | None:
    """The bytes of a file that could be ours."""
    try:
        if not path.is_file() or path.stat().st_size > rows * SUMS * 4 + HEADER_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _values(content: bytes, key: str, rows: int) -> Tensor | None:
    """The values of a file's bytes where they are what they say."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        size = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA])
        if (about["key"], about["rows"]) != (key, rows):
            return None
        values = from_bytes(content)["values"]
        whole = (
            values.shape == (rows, SUMS)
            and values.dtype == torch.float32
            and _digest(values) == about["sha256"]
            and bool(values.isfinite().all())
        )
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return values if whole else None


def _write(path: Path, content: bytes) -> None:
    """A file appears under its name only when all of it is on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    # The name itself, where folders can be synced.
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

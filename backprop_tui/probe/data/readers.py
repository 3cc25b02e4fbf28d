"""Files and hub data sets as a table of records, with the broken lines set aside."""

from __future__ import annotations

import csv
import io
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError

from .json_files import read_json, read_jsonl
from .locate import SUFFIXES, bundled, find
from .table import Broken, Parts, Table, utf8


def read(name: str, split: str | None, revision: str | None, method: str | None) -> Table:
    """The data set `name`: "pocket", a file, or a hub id. Raises InputError."""
    path = bundled(name, method) or find(name)
    if path is None:
        from .hub import fingerprint, read_hub

        rows = list(read_hub(name, split, revision))
        table = Table(
            name=name,
            path=None,
            format="hub",
            records=list(enumerate(rows, 1)),
            broken=[],
            sha256=fingerprint(rows),
        )
    else:
        table = _read_file(name, path)
    if not table.records and not table.broken:
        raise InputError(
            f"{name}: there are no rows in it",
            code="DATA_EMPTY",
            hint="the file may not have been written completely",
        )
    return table


def _read_file(name: str, path: Path) -> Table:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{name}: not a regular file", code="DATA_UNREADABLE")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror})",
            code="DATA_UNREADABLE",
            hint="check the file's permissions" if isinstance(error, PermissionError) else "",
        ) from None
    format = _format(name, path, data)
    found, records, broken = _READERS[format](name, data)
    return Table(
        name=name,
        path=str(path.resolve()),
        format=found,
        records=records,
        broken=broken,
        sha256=sha256(data).hexdigest(),
    )


def _format(name: str, path: Path, data: bytes) -> str:
    """By suffix; by content where the suffix says nothing."""
    if not data.strip():
        raise InputError(
            f"{name}: the file is empty", code="DATA_EMPTY", hint="give a file with rows in it"
        )
    known = SUFFIXES.get(path.suffix.lower())
    if known:
        return known
    if data[:4] == b"PAR1":
        return "parquet"
    text = utf8(name, data)
    if text.lstrip()[:1] in ("{", "["):
        return "jsonl" if text.lstrip()[0] == "{" else "json"
    raise InputError(
        f"{name}: not a format that can be read"
        + (f" (suffix {path.suffix})" if path.suffix else ""),
        code="DATA_FORMAT",
        hint="JSONL, JSON, CSV and Parquet can: give the file the suffix "
        ".jsonl, .json, .csv or .parquet",
    )


def _csv(name: str, data: bytes) -> Parts:
    """A header, then rows. A row with more cells than the header is broken; missing cells
    are absent columns."""
    csv.field_size_limit(2**31 - 1)
    records: list[tuple[int, Any]] = []
    broken: list[Broken] = []
    reader = csv.reader(io.StringIO(utf8(name, data), newline=""))
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"{name}: broken CSV: {error}, line {reader.line_num:,}", code="DATA_UNREADABLE"
        ) from None
    header = [column.strip() for column in rows[0]]
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise InputError(
            f"{name}: two columns are named {twice!r}",
            code="DATA_UNREADABLE",
            hint="the first line must name every column once",
        )
    for number, row in enumerate(rows[1:], 1):
        if len(row) > len(header):
            broken.append(Broken(number, ",".join(row)))
        else:
            records.append((number, dict(zip(header, row, strict=False))))
    return "csv", records, broken


def _parquet(name: str, data: bytes) -> Parts:
    import pyarrow  # 0.3 s, so only where a Parquet file is read
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"{name}: broken Parquet file: {reason}",
            code="DATA_UNREADABLE",
            hint="it may be cut short: copy or download it again",
        ) from None
    return "parquet", list(enumerate(rows, 1)), []


_READERS: dict[str, Callable[[str, bytes], Parts]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": _csv,
    "parquet": _parquet,
}

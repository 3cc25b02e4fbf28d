"""Files and hub data sets as a table of records, with the broken lines set aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from backprop_tui.core.errors import InputError

from .csv_files import NOT_UTF8, csv_rows
from .files import DataFile, Meter, free_memory, raw_blocks
from .formats import not_text
from .found import Found, HubRows, empty
from .json_files import entries, json_lines, json_rows, no_line_is_json, whole_json
from .parquet_files import parquet_rows
from .table import Broken, Items, Table, shifted

MEMORY_ASKED_FROM = 256 << 20  # bytes on disk: less than that is there on any machine


READERS: dict[str, Callable[[DataFile, Meter, int | None], Items]] = {
    "jsonl": json_lines,
    "json": json_rows,
    "csv": csv_rows,
    "tsv": csv_rows,
    "parquet": parquet_rows,
}


def read_all(data: Found | HubRows) -> Table:
    """Every row. Raises InputError for what cannot be read, or held in memory."""
    return _read_files(data) if isinstance(data, Found) else _read_hub_rows(data)


def affordable(name: str, size: int) -> int:
    """Bytes of text whose rows can be held in memory. Raises InputError where `size` is more."""
    most = free_memory() // 3  # rows take two to three times their text
    if size > most:
        raise InputError(
            f"{name}: {size:,} bytes, and {most:,} can be held in memory",
            code="DATA_TOO_LARGE",
            hint="train on a part of it: name some of its files, or cut it",
        )
    return most


def _read_files(found: Found) -> Table:
    most = None
    if found.size > MEMORY_ASKED_FROM or any(file.gzip for file in found.files):
        most = affordable(found.name, found.size)
    records: list[tuple[int, Any]] = []
    broken: list[Broken] = []
    formats, digests = [], []
    starts: list[tuple[int, str]] = []
    number = 0  # of the last row so far
    for file in found.files:
        starts.append((number, file.name))
        one = _read_file(file, number, most)
        records += one.records
        broken += one.broken
        number = one.last
        formats.append(one.format)
        digests.append(one.sha256)
    if not records:
        raise all_broken(found, broken) if broken else empty(found.name)
    return Table(
        name=found.name,
        path=found.path,
        format=" + ".join(dict.fromkeys(formats)),
        records=records,
        broken=broken,
        sha256=digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode()).hexdigest(),
        starts=tuple(starts) if len(starts) > 1 else (),
        files=found.paths(),
        left_out=found.left_out,
        size=found.size,
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file held. last: the highest number it used."""

    format: str
    records: list[tuple[int, Any]]
    broken: list[Broken]
    last: int
    sha256: str


def _read_file(file: DataFile, number: int, most: int | None) -> _Read:
    """The file's rows, numbered on from `number`."""
    digest = sha256()
    meter = Meter(seen=[] if file.format == "parquet" else [digest.update])
    records: list[tuple[int, Any]] = []
    broken: list[Broken] = []
    for item in shifted(READERS[file.format](file, meter, most), number):
        if isinstance(item, Broken):
            broken.append(item)
        else:
            records.append(item)
    if file.format == "parquet":  # pyarrow reads it itself, and not in order
        for block in raw_blocks(file.path, file.name, file.size, Meter()):
            digest.update(block)
    format = file.format
    if format == "jsonl" and not any(isinstance(value, dict) for _, value in records):
        whole = _whole(file, most)
        if whole is not None:
            format, broken = "json", []
            records = list(enumerate(whole, number + 1))
    last = max([number, *(each[0] for each in records[-1:]), *(b.number for b in broken[-1:])])
    return _Read(format, records, broken, last, digest.hexdigest())


def _whole(file: DataFile, most: int | None) -> list[Any] | None:
    """The rows of a file named JSONL that is one JSON value over several lines."""
    try:
        value = whole_json(file, Meter(), most)
    except InputError:
        return None
    return entries(value) if isinstance(value, (list, dict)) else None


def all_broken(found: Found, broken: list[Broken]) -> InputError:
    """What to say of data that holds no row that can be read."""
    if found.files[0].format == "jsonl":
        return no_line_is_json(found.name, broken)
    if all(f": {NOT_UTF8}: " in row.text for row in broken):
        return not_text(found.name)
    return InputError(
        f"{found.name}: none of its {len(broken):,} rows can be read ({broken[0].text})",
        code="DATA_UNREADABLE",
        hint="every quote that opens a cell must be closed, and a quote inside one be doubled",
    )


def _read_hub_rows(data: HubRows) -> Table:
    from .hub import fingerprint

    rows = list(data.rows)
    if not rows:
        raise empty(data.name)
    return Table(
        name=data.name,
        path=None,
        format="hub",
        records=list(enumerate(rows, 1)),
        broken=[],
        sha256=fingerprint(rows),
    )

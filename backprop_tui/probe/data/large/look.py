"""A look at part of a data set too large to read at once: what it holds, as an estimate.

JSONL is looked at in windows of bytes, placed at random all over the files. A row picked by a
random byte would more likely be a long one. So every row that *starts* in a window is taken,
read to its end even past the window: any row, long or short, has the same chance to start in
one. Rows per byte of the windows, times all bytes, is then an unbiased count. One window in
each of many equal stretches spreads them evenly.

Where reading cannot begin anywhere (CSV, packed files, arrays) the beginning is looked at, and
of Parquet the beginnings of some row groups.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from ..clean import sample
from ..read.files import DataFile, Meter, blocks
from ..read.found import Found, HubRows
from ..read.json_files import read_line
from ..read.json_stream import array_rows
from ..read.parquet_files import opened, parquet_rows, rows_in
from ..read.readers import READERS, affordable
from ..read.table import Broken, Item, Items, number_of, shifted
from .ranges import lines_in

SEED = 0
WHOLE_BYTES = 32 << 20  # a data set of no more text than this is read whole: half a second
WHOLE_ROWS = 20_000  # the same, of a hub data set
WINDOWS, WIDTH = 64, 128 << 10
MOST_LOOKED_AT = 32 << 20  # bytes of all windows
ENOUGH = 1000  # rows; with fewer, the windows are widened
HEAD_ROWS, HEAD_BYTES = 4000, 8 << 20
GROUPS = 8  # row groups of a Parquet file
# Text in a byte on disk, roughly: to judge by the size what reading a file would take.
GZIP_GROWTH, PARQUET_GROWTH = 5, 4


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that was looked at, and where it stands, for a person ("about 51,000")."""

    place: str
    item: Item

    @property
    def value(self) -> Any:
        return None if isinstance(self.item, Broken) else self.item[1]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Part of the data set: how many rows it has, exactly or not, and a sample of them."""

    total: int
    seen: tuple[Seen, ...]


def is_large(data: Found | HubRows) -> bool:
    """Whether reading all of it would take more than a moment."""
    if isinstance(data, HubRows):
        return len(data.rows) > WHOLE_ROWS
    return sum(map(_text_bytes, data.files)) > WHOLE_BYTES


def _text_bytes(file: DataFile) -> int:
    growth = GZIP_GROWTH if file.gzip else 1
    return file.size * max(growth, PARQUET_GROWTH if file.format == "parquet" else 1)


def look_into(data: Found | HubRows) -> tuple[Stratum, ...]:
    """A sample of the rows."""
    if isinstance(data, HubRows):
        total = len(data.rows)
        chosen = sorted(random.Random(SEED).sample(range(total), min(total, HEAD_ROWS)))
        return (Stratum(total, tuple(Seen(f"{i + 1}", (i + 1, data.rows[i])) for i in chosen)),)
    lines = [file for file in data.files if file.format == "jsonl" and file.seekable]
    others = [file for file in data.files if file not in lines]
    several = len(data.files) > 1
    strata = [_windows(lines, several)] if lines else []
    rows = max(50, HEAD_ROWS // max(1, len(others)))
    for file in others:
        look = _groups if file.format == "parquet" else _head
        strata.append(look(file, rows, several))
    return tuple(_numbered_on(strata))


def _numbered_on(strata: list[Stratum]) -> Iterator[Stratum]:
    """The strata with numbers that are unique over all."""
    last = 0
    for stratum in strata:
        items = list(shifted((seen.item for seen in stratum.seen), last))
        yield Stratum(stratum.total, tuple(map(Seen, (s.place for s in stratum.seen), items)))
        last = max([last, *map(number_of, items)])


def _windows(files: list[DataFile], several: bool) -> Stratum:
    """A sample of the lines of all JSONL files, as if they were one."""
    size = sum(file.size for file in files)
    width = WIDTH
    while True:
        picked = list(_picked(files, size, width))
        looked_at = sum(end - start for _, start, end in picked)
        found = [
            (file, offset, line)
            for file, start, end in picked
            for offset, line in _starting(file, start, end)
        ]
        if len(found) >= ENOUGH or WINDOWS * width >= min(size, MOST_LOOKED_AT):
            break
        width *= 4
    rows = [(file, offset, line) for file, offset, line in found if line.strip()]
    per_byte = len(found) / max(1, looked_at)
    before = dict(zip(files, accumulate((file.size for file in files), initial=0), strict=False))
    seen = []
    number = 0
    for file, offset, line in rows:
        number = max(number + 1, round((before[file] + offset) * per_byte) + 1)  # so unique
        about = round(offset * per_byte) + 1
        place = f"{file.name} about {about:,}" if several else f"about {number:,}"
        seen.append(Seen(place, read_line(number, line)))
    return Stratum(max(len(rows), round(len(rows) / max(1, looked_at) * size)), tuple(seen))


def _picked(files: list[DataFile], size: int, width: int) -> Iterator[tuple[DataFile, int, int]]:
    """(file, start, end) of one window in each stretch; where a file ends, its window does."""
    chance = random.Random(SEED)
    stretch = size / WINDOWS
    for i in range(WINDOWS):
        first, last = round(i * stretch), round((i + 1) * stretch)
        start = first + chance.randrange(max(1, last - first - width + 1))
        end = min(last, start + width)
        before = 0
        for file in files:
            low, high = max(start, before), min(end, before + file.size)
            if low < high:
                yield file, low - before, high - before
            before += file.size


def _starting(file: DataFile, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    for offset, text in lines_in(file, start, end):
        for line in text.split(b"\n"):
            yield offset, line
            offset += len(line) + 1


def _head(file: DataFile, rows: int, several: bool) -> Stratum:
    """The first rows; the rest is taken to be as dense.

    How dense they are is known once a second block had to be read: before that, the bytes
    read belong to rows that have not come yet.
    """
    meter = Meter()
    found: list[Item] = []
    inside = before = read = 0  # rows and bytes of all blocks but the last one; bytes of all
    for item in stream(file, meter):
        if meter.read > read:
            inside, before, read = len(found), read, meter.read
        found.append(item)
        if inside and read < file.size and (len(found) >= rows or read > HEAD_BYTES):
            total = max(len(found), round(inside / before * file.size))
            break
    else:
        total = len(found)
    kept = sample(found, SEED, rows)
    return Stratum(total, tuple(Seen(_place(file, one, several), one) for one in kept))


def _groups(file: DataFile, rows: int, several: bool) -> Stratum:
    """The first rows of some row groups. The footer has the number of all rows."""
    with opened(file) as parquet:
        total, groups = rows_in(parquet), parquet.metadata.num_row_groups
    chosen = sorted(random.Random(SEED).sample(range(groups), min(groups, GROUPS)))
    each = -(-rows // max(1, len(chosen)))
    found = [
        item
        for group in chosen
        for item in islice(parquet_rows(file, Meter(), groups=[group]), each)
    ]
    return Stratum(total, tuple(Seen(_place(file, item, several), item) for item in found))


def stream(file: DataFile, meter: Meter) -> Items:
    """The rows of a file one by one, in bounded memory; of {"data": [...]}, which must be held
    whole, only where it can be."""
    most = None
    if file.format == "json":
        if _is_array(file):
            return array_rows(file, meter)
        most = affordable(file.name, file.size)
    reader: Callable[..., Items] = READERS[file.format]
    return reader(file, meter, most)


def _is_array(file: DataFile) -> bool:
    for block in blocks(file):
        if start := block.lstrip():
            return start.startswith(b"[")
    return False


def _place(file: DataFile, item: Item, several: bool) -> str:
    return f"{file.name} {number_of(item)}" if several else f"{number_of(item)}"

"""What a data set holds, before any meaning is given to its columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be read. number counts from 1, as in Table."""

    number: int
    text: str


# One row as it is read: its number and whatever JSON value stood there, not always an object.
Item = tuple[int, Any] | Broken
Items = Iterator[Item]


def number_of(item: Item) -> int:
    return item.number if isinstance(item, Broken) else item[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a data set holds, before any meaning is given to its columns.

    name: as the user gave it. path: the file or folder, resolved; None for a hub data set.
    records: (number, value). The number counts from 1 and is the line, for JSONL; with several
    files it goes on from one file to the next, so it is unique. starts: where each file's
    numbers begin, and its name; empty where there is one file.
    files, size: all files, resolved, and their bytes on disk; no files where `path` is the one.
    left_out: files of other splits that stand beside them and are not read.
    """

    name: str
    path: str | None
    format: str
    records: list[tuple[int, Any]]
    broken: list[Broken]
    sha256: str | None = None
    starts: tuple[tuple[int, str], ...] = ()
    files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    size: int | None = None

    def place(self, number: int) -> str:
        """Where a row stands, for a person: "12", or "b.jsonl 12" where there are several."""
        return place(self.starts, number)


def place(starts: tuple[tuple[int, str], ...], number: int) -> str:
    if not starts:
        return f"{number}"
    before, name = starts[max(0, bisect_right(starts, number - 1, key=lambda start: start[0]) - 1)]
    return f"{name} {number - before}"


def shifted(items: Iterable[Item], before: int) -> Items:
    """The rows of a further file, numbered on from the last one's."""
    for item in items:
        if isinstance(item, Broken):
            yield Broken(item.number + before, item.text)
        else:
            yield item[0] + before, item[1]

"""CSV and TSV, with the rows that broken quotes would swallow noticed and set aside.

A quote that opens by mistake takes in the rows after it up to the next quote, or to the end of
the file. Read strictly, that is an error at the far end; here the row where the quote opened is
broken, and reading begins again at the first line after it that is a whole row by itself.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from backprop_tui.core.errors import InputError

from .files import DataFile, Meter, blocks, text_lines
from .formats import check_names, not_text
from .table import Broken, Items

LONGEST = 64 << 20  # characters of one row: more means a quote that is never closed
SHOWN = 200  # characters of a broken row
SHORTEST = 4 << 10  # the same of several lines, once stray quotes made much be read again
AGAIN, SPARE = 4, 4 << 20  # read again at most so many times the text, and so many characters
FEW = 3  # lines that are looked through again one by one
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what text_lines makes of bytes that are none
_ESCAPED = ("utf-8", "surrogateescape")


def csv_rows(file: DataFile, meter: Meter, most: int | None = None) -> Items:
    """A header, then rows numbered from 1. A row with more cells than the header is broken;
    missing cells are absent columns."""
    yield from table_rows(text_lines(blocks(file, meter, most)), file.separator, file.name)


def table_rows(source: Iterator[str], separator: str, name: str) -> Items:
    lines = _Lines(source)
    header = _header(name, lines, separator)
    width = len(header)
    named = [i for i, column in enumerate(header) if column]
    plain = len(named) == width
    for number, row in enumerate(_rows(lines, separator, width), 1):
        if isinstance(row, str):
            yield Broken(number, row)
        elif plain:
            yield number, dict(zip(header, row, strict=False))
        else:
            yield number, {header[i]: row[i] for i in named if i < len(row)}


class _Lines:
    """Lines for a reader, kept until the row they belong to is known to be whole.

    A quote that is never closed takes in all lines up to the end, and they are read again. Many
    of them would make that the square of the file, so a row may then be shorter and shorter.
    """

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: list[str] = []  # to be read once more, the next one last
        self.held: list[str] = []  # of the row being read
        self.size = 0
        self.number = 0  # of the last line read
        self._longest = LONGEST
        self._fresh = self._reread = 0  # characters

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.pop()
        else:
            line = next(self._source)
            self._fresh += len(line)
        self.number += 1
        self.held.append(line)
        self.size += len(line)
        if self.size > (self._longest if len(self.held) > 1 else LONGEST):
            raise csv.Error("a quote opens that is never closed")
        return line

    def forget(self) -> None:
        self.held.clear()
        self.size = 0

    def back_to(self, kept: int) -> None:
        """All but the first `kept` lines of the row will be read again."""
        self._reread += self.size
        if self._reread > AGAIN * self._fresh + SPARE:
            self._longest = max(SHORTEST, self._longest // 2)
        self._again += reversed(self.held[kept:])
        self.number -= len(self.held) - kept
        self.forget()


def _reader(lines: _Lines, separator: str) -> Iterator[list[str]]:
    csv.field_size_limit(2**31 - 1)
    return csv.reader(lines, delimiter=separator, strict=True)


def _header(name: str, lines: _Lines, separator: str) -> list[str]:
    reader = _reader(lines, separator)
    try:
        header = [column.strip() for column in next((row for row in reader if row), [])]
    except csv.Error as error:
        raise InputError(
            f"{name}: broken CSV: {error}, in the header (line {lines.number})",
            code="DATA_UNREADABLE",
            hint="the first line must name every column once",
        ) from None
    if any(_unreadable(column) for column in header):
        raise not_text(name)
    check_names(name, [column for column in header if column])
    lines.forget()
    return header


def _rows(lines: _Lines, separator: str, width: int) -> Iterator[list[str] | str]:
    """Each row's cells; of a broken row, where it stands and why, as text."""
    reader = _reader(lines, separator)
    lost: _Lost | None = None  # a broken row that may go on: its end has not been found
    after: list[str] = []  # a row that may be the first one after it, if another follows
    while True:
        fault = ""
        try:
            row = next(reader, None)
            if row is None:
                break
        except csv.Error as error:
            row, fault = [], str(error)
        fault = fault or _fault(row, lines.held, width)
        first = lines.number - len(lines.held) + 1
        if lost is not None and (fault or (row and not _is_whole(row, lines.held, width))):
            lost.last, after = first, []
            lines.back_to(1)
            reader = _reader(lines, separator)
        elif lost is not None:
            if row and after:
                yield from (str(lost), after, row)
                lost, after = None, []
            elif row:
                after = row
            lines.forget()
        elif not fault:
            if row:
                yield row
            lines.forget()
        else:
            broken = _Lost(first, lines.number, fault, "".join(lines.held)[:SHOWN].rstrip())
            if fault in _OF_THE_ROW:
                yield str(broken)
                lines.forget()
            elif _are_rows(lines.held[1:], separator, width):
                broken.last = first
                yield str(broken)
                lines.back_to(1)
            else:
                lost = broken
                lines.back_to(1 if len(lines.held) <= FEW else len(lines.held))
            reader = _reader(lines, separator)
    if lost is not None:
        yield str(lost)
        if after:
            yield after


@dataclass(slots=True)
class _Lost:
    """A broken row: its lines, why, and how it begins."""

    first: int
    last: int
    fault: str
    text: str

    def __str__(self) -> str:
        where = f"line {self.first}"
        if self.last > self.first:
            where = f"lines {self.first:,} to {self.last:,}"
        return f"{where}: {self.fault}: {self.text}".encode(*_ESCAPED).decode(errors="replace")


NOT_UTF8 = "not text in UTF-8"
MORE_CELLS = "more cells than the header"
_OF_THE_ROW = (NOT_UTF8, MORE_CELLS)  # the row ends where it seems to: the next one is sound


def _fault(row: list[str], held: list[str], width: int) -> str:
    """What is wrong with a row that was read without an error; "" when nothing is."""
    if len(held) > 1 and row and len(row) != width:
        return f"a quoted cell of {len(held):,} lines in a row of {len(row):,} cells, not {width:,}"
    if len(row) > width:
        return MORE_CELLS
    return NOT_UTF8 if any(map(_unreadable, row)) else ""


def _is_whole(row: list[str], held: list[str], width: int) -> bool:
    """Surely a row by itself, not the rest of a broken one."""
    return len(row) == width and not sum(line.count('"') for line in held) % 2


def _are_rows(held: list[str], separator: str, width: int) -> bool:
    """Whether the lines that a quote took in are rows themselves, so that it was a stray one.

    Nine in ten must lie in rows as wide as the header: lines of a text do not.
    """
    source = _Lines(iter(held))
    sound = 0
    reader = _reader(source, separator)
    try:
        for row in reader:
            sound += len(source.held) if len(row) == width else 0
            source.forget()
    except csv.Error as error:
        if "unexpected end" not in str(error):
            return False
        held = held[: -len(source.held)]  # the last row may go on after these lines
    return width > 1 and sound > 0 and sound >= 0.9 * len(held)


def _unreadable(cell: str) -> bool:
    return not cell.isascii() and _NOT_UTF8.search(cell) is not None

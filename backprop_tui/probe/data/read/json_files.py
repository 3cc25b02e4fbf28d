"""JSONL and JSON: rows as they stand, with the lines that are no JSON set aside.

orjson reads most of it, four times as fast as json. What orjson refuses goes to json, so NaN,
1e400 and lone surrogates read as they always did. One thing differs: an integer of more than
64 bits comes as a float. No row is built from a number, so no row reads differently.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import orjson

from backprop_tui.core.errors import InputError

from ..layouts.shapes import COLUMNS
from ..layouts.turns import is_turns
from .files import DataFile, Meter, blocks
from .formats import not_text
from .table import Broken, Items

BAD_JSON = (ValueError, RecursionError)  # a syntax error, a number too long, nesting too deep

# {"data": [row, row]}: the names under which files keep their rows, beside a version or the
# like. Any other list of objects may be the turns or the answers of one single row.
WRAPPERS = ("data", "rows", "examples", "train", "instances", "items", "records", "samples")


def parse(line: bytes) -> Any:
    """One JSON value. Raises one of BAD_JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line.decode("utf-8-sig"))  # each line, as joined files have marks inside


def json_lines(file: DataFile, meter: Meter, most: int | None = None) -> Items:
    """One JSON value a line. Blank lines are counted but are no rows."""
    for number, line in enumerate(lines(blocks(file, meter, most)), 1):
        if line.strip():
            yield read_line(number, line)


def read_line(number: int, line: bytes) -> tuple[int, Any] | Broken:
    try:
        return number, parse(line)
    except BAD_JSON:
        return Broken(number, line.decode(errors="replace"))


# A number no file holds, as it is drawn anew in each process.
_BETWEEN = secrets.randbits(62) | 1 << 61
_JOINT = b",%d,\n" % _BETWEEN


def parse_together(text: bytes) -> list[Any] | None:
    """The value of each line, or None where they are not all JSON: 2 times as fast as one by one.

    The lines become one array with _BETWEEN between them. A line end is no part of any token,
    so when all of _BETWEEN come back, each as every second entry, between two of them stands
    exactly one value: no broken lines have joined into a whole one, and none was two.
    """
    joined = text.replace(b"\n", _JOINT)
    joints = (len(joined) - len(text)) // (len(_JOINT) - 1)  # quicker than to count line ends
    try:
        values = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    if len(values) != 2 * joints + 1 or values[1::2].count(_BETWEEN) != joints:
        return None
    return values[::2]  # type: ignore[no-any-return]


def lines(found: Iterator[bytes]) -> Iterator[bytes]:
    """Lines without their ends, of text that comes in blocks."""
    parts: list[bytes] = []  # of a line longer than a block
    for block in found:
        first, *others = block.split(b"\n")
        if others:
            yield b"".join((*parts, first))
            *whole, first = others
            yield from whole
            parts = []
        parts.append(first)
    yield b"".join(parts)


def line_blocks(found: Iterator[bytes]) -> Iterator[bytes]:
    """The same lines, many at once, without the end of the last one."""
    parts: list[bytes] = []
    for block in found:
        whole, end, rest = block.rpartition(b"\n")
        if end:
            yield b"".join((*parts, whole))
            parts = []
        parts.append(rest)
    if last := b"".join(parts):
        yield last


def no_line_is_json(name: str, broken: list[Broken]) -> InputError:
    """What to say of a file in which every line is broken."""
    first = broken[0]
    return InputError(
        f"{name}: none of its {len(broken):,} lines is JSON "
        f"(line {first.number}: {_reason(first.text)})",
        code="DATA_UNREADABLE",
        hint="in JSONL every line is one JSON object",
    )


def _reason(text: str) -> str:
    try:
        json.loads(text)
    except BAD_JSON as error:
        return words(error)
    return "not text in UTF-8"


def json_rows(file: DataFile, meter: Meter, most: int | None = None) -> Items:
    """The rows of a JSON file: an array's entries, those under "data", or one object."""
    yield from enumerate(entries(whole_json(file, meter, most)), 1)


def whole_json(file: DataFile, meter: Meter, most: int | None = None) -> Any:
    """The one JSON value in the file. Raises InputError with the place where it breaks."""
    data = b"".join(blocks(file, meter, most))
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(file.name, error.start, data[error.start]) from None
    try:
        return json.loads(text)
    except BAD_JSON as error:
        raise broken_json(file.name, words(error)) from None


def entries(value: Any) -> list[Any]:
    """An array's entries; of an object that only wraps rows, those; any other object is a row."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and not value.keys() & set(COLUMNS):
        lists = [name for name, cell in value.items() if _objects(cell)]
        if len(lists) == 1 and lists[0] in WRAPPERS:
            return list(value[lists[0]])
    return [value]


def _objects(cell: Any) -> bool:
    """A list of objects that are not the turns of one conversation."""
    return (
        isinstance(cell, list)
        and bool(cell)
        and isinstance(cell[0], dict)
        and not is_turns(cell)
        and sum(isinstance(entry, dict) for entry in cell) * 2 > len(cell)
    )


def not_utf8(name: str, place: int, byte: int) -> InputError:
    error = not_text(name)
    return InputError(
        f"{name}: not text in UTF-8 (byte {place:,} is 0x{byte:02x})",
        code=error.code,
        hint=error.hint,
    )


def broken_json(name: str, reason: str) -> InputError:
    return InputError(
        f"{name}: broken JSON: {reason}",
        code="DATA_UNREADABLE",
        hint="it may be cut short: copy or download it again; a file with one object per line "
        "reads past broken lines when it is named .jsonl",
    )


def words(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)

"""JSONL and JSON, and either under the name of the other."""

from __future__ import annotations

import json
from typing import Any

from backprop_tui.core.errors import InputError

from .table import Broken, Parts, utf8

BAD_JSON = (ValueError, RecursionError)  # a syntax error, a number too long, nesting too deep


def read_jsonl(name: str, data: bytes) -> Parts:
    """One JSON value a line. A file in which no line is an object may be JSON after all."""
    records, broken, first_error = _lines(name, data)
    if not any(isinstance(value, dict) for _, value in records):
        whole = _whole_json(data)
        if whole is not None:
            return "json", whole, []
    if not records and broken:
        raise InputError(
            f"{name}: none of its {len(broken):,} lines is JSON "
            f"(line {broken[0].number}: {first_error})",
            code="DATA_UNREADABLE",
            hint="in JSONL every line is one JSON object",
        )
    return "jsonl", records, broken


def _lines(name: str, data: bytes) -> tuple[list[tuple[int, Any]], list[Broken], str]:
    """(records, broken lines, the first error). Blank lines are counted but are no rows."""
    try:
        lines: list[Any] = utf8(name, data).split("\n")
    except InputError:
        # One bad byte must not cost the whole file: then each line is decoded on its own.
        lines = data.split(b"\n")
        if not any(_decoded(line) and _decoded(line).startswith("{") for line in lines):
            raise
    records: list[tuple[int, Any]] = []
    broken: list[Broken] = []
    first_error = ""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(
                (number, json.loads(line.decode("utf-8-sig") if type(line) is bytes else line))
            )
        except BAD_JSON as error:
            first_error = first_error or _words(error)
            shown = line.decode(errors="replace") if type(line) is bytes else line
            broken.append(Broken(number, shown))
    return records, broken, first_error


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return ""


def _whole_json(data: bytes) -> list[tuple[int, Any]] | None:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except BAD_JSON:
        return None
    return _entries(value) if isinstance(value, (list, dict)) else None


def _entries(value: Any) -> list[tuple[int, Any]]:
    """An array's entries; a single object is one row."""
    return list(enumerate(value if isinstance(value, list) else [value], 1))


def read_json(name: str, data: bytes) -> Parts:
    text = utf8(name, data)
    try:
        return "json", _entries(json.loads(text)), []
    except BAD_JSON as error:
        first_line = text.lstrip().split("\n", 1)[0]
        if first_line.startswith("{") and _is_json(first_line):
            return read_jsonl(name, data)  # JSONL under the name of JSON
        raise InputError(
            f"{name}: broken JSON: {_words(error)}",
            code="DATA_UNREADABLE",
            hint="a file with one object per line reads past broken lines: name it .jsonl",
        ) from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except BAD_JSON:
        return False
    return True


def _words(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)

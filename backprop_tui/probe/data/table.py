"""What a file holds, before any meaning is given to its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be read. number counts from 1, as in Table."""

    number: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a data set holds, before any meaning is given to its columns.

    records: (number, value); the number counts from 1 and is the line, for JSONL. A value
    is whatever JSON value stood there, not always an object.
    """

    name: str
    path: str | None
    format: str
    records: list[tuple[int, Any]]
    broken: list[Broken]
    sha256: str | None = None


Parts = tuple[str, list[tuple[int, Any]], list[Broken]]  # format found, records, broken rows


def utf8(name: str, data: bytes) -> str:
    """The file as UTF-8, without a byte order mark."""
    hint = "JSONL, JSON and CSV must be text in UTF-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(
            f"{name}: text in UTF-16, not UTF-8",
            code="DATA_NOT_TEXT",
            hint="save it as UTF-8: iconv -f utf-16 -t utf-8",
        )
    if data[:2] == b"\x1f\x8b":
        hint = "it is compressed with gzip: unpack it first"
    if b"\0" in data[:8192]:
        raise InputError(f"{name}: a binary file, not text", code="DATA_NOT_TEXT", hint=hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: not text in UTF-8 (byte {error.start:,} is 0x{data[error.start]:02x})",
            code="DATA_NOT_TEXT",
            hint=hint,
        ) from None

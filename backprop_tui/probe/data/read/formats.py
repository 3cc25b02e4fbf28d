"""Which format a file is in: by its suffix, and by what it begins with."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import orjson

from backprop_tui.core.errors import InputError

from .files import GZIP, UTF16, DataFile, Meter, blocks, gunzip, raw_blocks, size_of

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
PACKED = (".gz", ".gzip")
HEAD = 64 << 10  # bytes looked at
LONG_LINE = 64 << 20  # bytes of a first line looked at to tell JSONL from JSON
SNIFFED = 20  # rows that must agree on a separator


def suffix_of(path: Path) -> str:
    """The suffix that names the format: ".jsonl" of "a.jsonl.gz"."""
    inner = path.stem if path.suffix.lower() in PACKED else path.name
    return Path(inner).suffix.lower()


def examine(path: Path, name: str) -> DataFile:
    """What a file is. Raises InputError for an empty one and for what cannot be read."""
    size = size_of(path, name)
    head = next(raw_blocks(path, name, min(size, HEAD), Meter()), b"")
    packed = head.startswith(GZIP)
    if packed:
        inside = gunzip(raw_blocks(path, name, size, Meter()), name, size, None)
        head = next(inside, b"")[:HEAD]
    utf16 = head[:2] in UTF16
    file = DataFile(path=path, name=name, size=size, format="", gzip=packed, utf16=utf16)
    text = b"".join(islice(blocks(file), 2))[:HEAD] if utf16 else head.removeprefix(b"\xef\xbb\xbf")
    if not text.strip() and (len(head) >= size or packed):
        raise InputError(
            f"{name}: the file is empty", code="DATA_EMPTY", hint="give a file with rows in it"
        )
    return _refined(replace(file, format=_format(path, name, text)), text)


def _format(path: Path, name: str, head: bytes) -> str:
    """By suffix; by content where the suffix says nothing."""
    known = SUFFIXES.get(suffix_of(path))
    if head[:4] == b"PAR1":
        return "parquet"
    if known and known != "parquet":
        if b"\0" in head and not _some_line_is_text(head):
            raise not_text(name)
        return known
    if known:
        return known
    if b"\0" in head:
        raise not_text(name)
    start = head.lstrip()[:1]
    if start in (b"{", b"["):
        return "jsonl" if start == b"{" else "json"
    try:
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        raise not_text(name) from None
    raise InputError(
        f"{name}: not a format that can be read"
        + (f" (suffix {path.suffix})" if path.suffix else ""),
        code="DATA_FORMAT",
        hint="JSONL, JSON, CSV, TSV and Parquet can, gzipped or not: give the file the suffix "
        ".jsonl, .json, .csv, .tsv or .parquet",
    )


def not_text(name: str) -> InputError:
    return InputError(
        f"{name}: a binary file or text in another encoding, not UTF-8",
        code="DATA_NOT_TEXT",
        hint="JSONL, JSON and CSV must be text in UTF-8 (or UTF-16 with a byte order mark): "
        "iconv -f latin1 -t utf-8 converts",
    )


def check_names(name: str, columns: Sequence[str]) -> None:
    """Refuse two columns of one name: nothing says which of them is meant."""
    twice = next((column for column, n in Counter(columns).items() if n > 1), None)
    if twice is not None:
        raise InputError(
            f"{name}: two columns are named {twice!r}",
            code="DATA_UNREADABLE",
            hint="every column must have a name of its own",
        )


def _some_line_is_text(head: bytes) -> bool:
    """Whether NUL bytes are damage to a text, not the sign of a binary file."""
    return any(map(_is_text, head.split(b"\n")[:-1]))


def _is_text(line: bytes) -> bool:
    try:
        return line.decode().expandtabs().strip().isprintable() and bool(line.strip())
    except UnicodeDecodeError:
        return False


def _refined(file: DataFile, head: bytes) -> DataFile:
    """JSON and JSONL under each other's names, and another separator under the name of CSV."""
    format, between = file.format, ","
    start = head.lstrip()[:1]
    if format == "json" and start == b"{" and _one_object_a_line(file):
        format = "jsonl"
    elif format == "jsonl" and start == b"[" and not _one_value_a_line(file):
        format = "json"
    elif format in ("csv", "tsv"):
        between = separator(head.decode(errors="replace"), format)
        format = "tsv" if between == "\t" else "csv"
    return replace(file, format=format, separator=between)


def _one_object_a_line(file: DataFile) -> bool:
    """Whether the first line is a JSON object by itself and more follows it."""
    line, more = _first_line(file)
    return more and line.startswith(b"{") and _is_json(line)


def _one_value_a_line(file: DataFile) -> bool:
    line, more = _first_line(file)
    return more and _is_json(line)


def _first_line(file: DataFile) -> tuple[bytes, bool]:
    """The first line that is not blank, and whether anything comes after it."""
    text = b""
    for block in blocks(file):
        text = (text + block).lstrip()
        line, _, rest = text.partition(b"\n")
        if rest.strip():
            return line.strip(), True
        if len(text) > LONG_LINE:
            break
    return text.strip(), False


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            return False
    return True


def separator(text: str, format: str) -> str:
    """What stands between the cells. Under the name of CSV, ";" or a tab only where the header
    has no comma and the first rows all have as many cells as the header: nothing else is sure.
    """
    if format == "tsv":
        return "\t"
    lines = text.splitlines(keepends=True)
    whole = lines if len(text) < HEAD - 4 else lines[:-1]
    header = whole[0] if whole else text
    if "," in header:
        return ","
    for sign in ("\t", ";"):
        if sign not in header:
            continue
        try:
            rows = list(islice(csv.reader(whole, delimiter=sign, strict=True), SNIFFED))
        except csv.Error:
            continue
        widths = {len(row) for row in rows if row}
        if len(widths) == 1 and all(cell.strip() for cell in rows[0]):
            return sign
    return ","

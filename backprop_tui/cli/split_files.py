"""Records as lines, and several new files written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_tui.core.errors import InputError

if TYPE_CHECKING:
    from backprop_tui.probe.data import Loaded

LONGEST = 2_000  # characters of a cell that cannot be written as it is


def record_lines(loaded: Loaded) -> Iterator[tuple[int, bytes]]:
    """(row number, line) of every record that was read: a JSONL line as it stands in the file."""
    there = _lines_of_files(loaded)
    for number, value in loaded.table.records:
        line = there.get(number, b"").rstrip(b"\r\n")
        yield number, (line if _says(line, value) else _json(_typed(loaded, value))) + b"\n"


def _lines_of_files(loaded: Loaded) -> dict[int, bytes]:
    """Every line of the JSONL files, unpacked and in UTF-8, by its row number."""
    from backprop_tui.probe.data.read.files import blocks
    from backprop_tui.probe.data.read.formats import examine
    from backprop_tui.probe.data.read.json_files import lines

    table = loaded.table
    found: dict[int, bytes] = {}
    starts = [before for before, _ in table.starts] or [0]
    paths = table.files or tuple(filter(None, [table.path]))
    for before, path in zip(starts, paths, strict=False):
        file = examine(Path(path), path)
        if file.format == "jsonl":
            found.update(enumerate(lines(blocks(file)), before + 1))
    return found


def _says(line: bytes, value: Any) -> bool:
    """Whether the line holds this record; the file may have changed since it was read."""
    from backprop_tui.probe.data.read.json_files import BAD_JSON, parse

    try:
        # Written out, as not-a-number is not even equal to itself.
        return bool(line) and repr(parse(line)) == repr(value)
    except RecursionError:  # nested too deep to be compared
        return True
    except BAD_JSON:
        return False


def _typed(loaded: Loaded, value: Any) -> Any:
    """Where every cell is text, as in CSV, its labels as JSON has them: true or false."""
    from backprop_tui.probe.data.layouts.columns import TRUE_OR_FALSE, prepared

    asked = loaded.decision.asked
    if not loaded.decision.text_cells or asked.labels or not isinstance(value, dict):
        return value
    columns = asked.columns or {}
    read = prepared(value, columns, None, text_cells=True)
    told = {columns.get(name, name): read[name] for name in TRUE_OR_FALSE if name in read}
    return {**value, **{name: label for name, label in told.items() if isinstance(label, bool)}}


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value, default=str).encode()
    except RecursionError:  # what is nested too deep is only named
        from backprop_tui.probe.data.clean import as_text

        cells = value.items() if isinstance(value, dict) else [("record", value)]
        return json.dumps({name: as_text(cell, LONGEST) for name, cell in cells}).encode()


def dropped_lines(loaded: Loaded) -> Iterator[bytes]:
    """Each row that cannot be trained, with where it stands and why."""
    from backprop_tui.core.rows import UNPARSEABLE
    from backprop_tui.probe.data.clean import built
    from backprop_tui.probe.data.layouts.turns import Unusable

    kept = {row.number for row in loaded.rows}
    for number, value in loaded.table.records:
        if number in kept:
            continue
        try:
            built(loaded.decision, number, value)
        except Unusable as why:
            entry = {"row": loaded.table.place(number), "reason": why.reason, "record": value}
            yield _json(entry) + b"\n"
    for broken in loaded.table.broken:
        place = loaded.table.place(broken.number)
        yield _json({"row": place, "reason": UNPARSEABLE, "text": broken.text}) + b"\n"


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise InputError where one of the files is there: nothing is ever overwritten."""
    for path in paths:
        if os.path.lexists(path):
            raise InputError(
                f"{path} exists and is not overwritten",
                hint="choose another name with --output, or remove it",
                code="OUTPUT_EXISTS",
            )


def write_new(files: Mapping[Path, Iterator[bytes] | Sequence[bytes]]) -> None:
    """All files or none; a file that appears meanwhile is left alone, and that is an error."""
    temporary: dict[Path, str] = {}
    made: list[Path] = []
    path = next(iter(files))
    try:
        for path, lines in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary[path], 0o666 & ~_umask())  # as any new file
        for path, written in temporary.items():
            os.link(written, path)  # unlike a rename, it never replaces a file
            made.append(path)
    except BaseException as error:
        for one in made:
            one.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if isinstance(error, FileExistsError):
            refuse_existing([path])
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="choose a place you may write to with --output",
            code="WRITE_REFUSED",
        ) from None
    finally:
        for written in temporary.values():
            Path(written).unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask; the only way to read it is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

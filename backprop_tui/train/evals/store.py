"""Rows of an evaluation on disk: JSONL with a first line that says what they are of.

A row is appended when it is measured, a batch in one write, so an evaluation that is killed goes on
after its last whole line. Rows of anything else than the header says are never mixed in: they get
a folder of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.plain import finite
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.whole_file import write_whole

SCHEMA = 1
SUMMARY = "summary.json"
Header = Mapping[str, Any]
Record = dict[str, Any]


class RowFile:
    """One JSONL file of rows, by their number. Reads what is there, appends what is new.

    valid: whether a line says what a row must; others are as good as absent. InputError:
    EVAL_FOREIGN_FILE, it is of something else; WRITE_REFUSED.
    """

    def __init__(self, path: Path, header: Header, valid: Callable[[Record], bool]) -> None:
        self.path, self.header = path, dict(header)
        self.rows: dict[int, Record] = {}
        found, whole = _read(path)
        if found and found[0] != self.header:
            raise InputError(
                f"{path} has the rows of another evaluation.",
                hint="move it away, or let eval choose a folder",
                code="EVAL_FOREIGN_FILE",
            )
        for one in found[1:]:
            if isinstance(one.get("row"), int) and valid(one):
                self.rows.setdefault(one["row"], one)
        self._file: Any = None
        self._whole, self._begun = whole, bool(found)

    def append(self, records: Iterable[Record]) -> None:
        """Write rows, whole lines at once, and hand them to the system."""
        records = list(records)
        lines = records if self._begun else [self.header, *records]
        text = "".join(_line(one) for one in lines)
        try:
            if self._file is None:
                self._file = _opened(self.path)
                self._file.truncate(self._whole)  # a torn last line
                self._file.seek(0, os.SEEK_END)
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise refused(self.path, error) from error
        self._begun = True
        for one in records:
            self.rows.setdefault(one["row"], one)

    def close(self) -> None:
        """Nothing more is written."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _opened(path: Path) -> Any:
    # No links: they could lead out of the run folder. Not "a": a torn line is cut off first.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r+b")


def _read(path: Path) -> tuple[list[Record], int]:
    """The objects of a file, and the bytes of its whole lines. A line that is no object counts as
    absent: that row is measured again."""
    found: list[Record] = []
    whole = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                one = _parsed(line)
                if one is not None:
                    found.append(one)
                elif not found:  # no header: not ours, whatever follows
                    found.append({})
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused(path, error) from error
    return found, whole


def _parsed(line: bytes) -> Record | None:
    try:
        one = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return one if isinstance(one, dict) else None


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(finite(value), ensure_ascii=False) + "\n"


def place(home: Path, name: str, identity: Header) -> Path:
    """The folder for an evaluation: home/NAME where that is new or of this very identity, else the
    first of NAME-2, NAME-3, … that is."""
    number = 1
    while True:
        folder = home / (name if number == 1 else f"{name}-{number}")
        if not os.path.lexists(folder) or (folder.is_dir() and _is_of(folder, identity)):
            return folder
        number += 1


def _is_of(folder: Path, identity: Header) -> bool:
    """Whether all that is in a folder belongs to this evaluation."""
    wanted = finite(identity)
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(OSError), path.open("rb") as file:
            line = file.readline()
            one = _parsed(line)
            if line.endswith(b"\n") and (one is None or one.get("of") != wanted):
                return False
    summary = folder / SUMMARY
    return not os.path.lexists(summary) or read_summary(summary).get("of") == wanted


def read_summary(path: Path) -> dict[str, Any]:
    """A summary.json of ours; {} for one that is missing, broken or foreign. Never raises."""
    try:
        if path.is_symlink() or not path.is_file():
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {}
    return found if isinstance(found.get("figures"), list) else {}


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """summary.json, whole or as it was. InputError WRITE_REFUSED."""
    path = folder / SUMMARY
    text = json.dumps(finite(summary), indent=1, ensure_ascii=False) + "\n"
    try:
        write_whole(path, text)
    except OSError as error:
        raise refused(path, error) from error
    return path


class Folder:
    """The folder of one evaluation, this process's own until `close`.

    InputError: EVAL_BUSY, another process writes there; WRITE_REFUSED.
    """

    def __init__(self, path: Path, identity: Header) -> None:
        self.path, self.identity = path, finite(identity)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise refused(path, error) from error
        try:
            self._lock = Lock.take(path)
        except InputError as error:
            if error.code != "RUN_OWNED":
                raise
            raise InputError(
                f"{path}: another process is writing this evaluation.",
                hint="wait until it is done, or end it",
                code="EVAL_BUSY",
            ) from error
        self._open: list[RowFile] = []

    def rows(self, name: str, valid: Callable[[Record], bool], **about: Any) -> RowFile:
        """NAME.jsonl. about: what else its header says."""
        header = {"schema": SCHEMA, "rows_of": name, **about, "of": self.identity}
        found = RowFile(self.path / f"{name}.jsonl", header, valid)
        self._open.append(found)
        return found

    def close(self) -> None:
        """Somebody else may go on."""
        for one in self._open:
            one.close()
        self._lock.release()

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def refused(path: Path, error: OSError) -> InputError:
    """The error for what cannot be written."""
    return InputError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="check its permissions and the space left on the disk",
        code="WRITE_REFUSED",
    )

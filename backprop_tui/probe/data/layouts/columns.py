"""A record under our column names, as [data.columns] and [data.labels] ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cells import Record

# Labels where every cell is text, as in CSV. "1.0" is a score, not a label.
TEXT_LABELS = {"true": True, "false": False, "1": True, "0": False}

# Columns that say true or false of an answer, by names that leave no doubt which is good.
VERDICTS = (
    "tag", "kto_tag", "is_correct", "correct", "is_good", "thumbs_up", "liked", "is_liked",
    "accepted", "is_accepted", "desirable", "is_desirable",
)  # fmt: skip

_WORDS = {"true": True, "false": False}
_READ_TEXT = (("label", TEXT_LABELS), *((name, _WORDS) for name in ("winner", *VERDICTS)))
TRUE_OR_FALSE = tuple(name for name, _ in _READ_TEXT)

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A label that [data.labels] does not name."""

    text: str


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """The record with our names (keys of `columns`) in place of the file's.

    A name that is no column may be a path into one: "instances.0.output".
    """
    named = {*columns, *columns.values()}
    result = {name: value for name, value in record.items() if name not in named}
    for ours, theirs in columns.items():
        value = record[theirs] if theirs in record else inside(record, theirs)
        if value is not _MISSING:
            result[ours] = value
    return result


def inside(record: Record, path: str) -> Any:
    """What a dotted path leads to, through objects and lists; _MISSING where it ends early."""
    value: Any = record
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _index(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _index(step: str) -> int:
    """A place in a list; past its end for anything that is no number."""
    return int(step) if step.isdecimal() and len(step) < 10 else 2**31


def leads_somewhere(record: Record, path: str) -> bool:
    """Whether a name is a column of the record or a path into one."""
    return path in record or inside(record, path) is not _MISSING


def prepared(
    record: Record,
    columns: Mapping[str, str] | None,
    labels: Mapping[str, bool] | None,
    text_cells: bool,
) -> Record:
    """The record under our names, its label read where that needs more than a look."""
    if columns:
        record = renamed(record, columns)
    if labels:
        told = {
            name: _label(record[name], labels)
            for name in ("label", "winner")
            if record.get(name) is not None
        }
        record = {**record, **told}
    elif text_cells:
        record = _read_text(record)
    return record


def _read_text(record: Record) -> Record:
    """Labels and verdicts read from text."""
    read: Record = {}
    for name, meanings in _READ_TEXT:
        value = record.get(name)
        if isinstance(value, str):
            read[name] = meanings.get(value.strip().lower(), value)
    return {**record, **read} if read else record


def _label(value: Any, labels: Mapping[str, bool]) -> bool | Unmapped:
    text = label_text(value)
    for written in (text, str(value), text.lower()):
        if written in labels:
            return labels[written]
    return Unmapped(text)


def label_text(value: Any) -> str:
    """A label as [data.labels] writes it: true, 5, 0.5, or the text itself."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, (str, int, float)) else type(value).__name__

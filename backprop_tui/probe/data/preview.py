"""What a mapping would do, before it is taken: three rows as they would be read, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import Shape
from backprop_tui.core.printable import printable
from backprop_tui.core.rows import Labelled, Row, text_of

from .clean import Loaded, as_text, built, sample
from .layouts.decision import Asked, Decision, decision
from .layouts.turns import Unusable
from .sample import fields

LOOKED_AT = 500  # records: enough to judge a mapping by, and read again in a few hundredths
EXCERPT = 400  # characters of one part of a row
NESTED = 40  # names offered from inside cells, at most
MOST_VALUES = 8  # different texts a column of labels has at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A mapping tried on a sample. rows: (row number, part -> text); {"dropped": why} if so.

    problem: why the mapping cannot be, "" when it can.
    """

    shape: Shape = "other"
    layout: str = ""
    of: int = 0
    kept: int = 0
    dropped: dict[str, int]
    rows: tuple[tuple[int, dict[str, str]], ...] = ()
    problem: str = ""


def preview(loaded: Loaded, asked: Asked) -> Preview:
    """Read a sample of the records anew as asked. Raises nothing: a bad mapping is a problem."""
    table = loaded.table
    records = sample(table.records, 0, LOOKED_AT)
    values = [value for _, value in records if isinstance(value, dict)]
    try:
        how = decision(
            table.name, values, loaded.columns, asked, text_cells=loaded.decision.text_cells
        )
    except InputError as error:
        return Preview(dropped={}, problem=error.message)
    read = [(number, _read(how, number, value)) for number, value in records]
    dropped = Counter(row for _, row in read if isinstance(row, str))
    shown = [read[i] for i in sorted({0, len(read) // 2, len(read) - 1})] if read else []
    return Preview(
        shape=how.shape,
        layout=how.layout.name if how.layout else "",
        of=len(read),
        kept=len(read) - dropped.total(),
        dropped=dict(dropped.most_common()),
        rows=tuple((number, _parts(row)) for number, row in shown),
        problem=how.advice,
    )


def raw(loaded: Loaded) -> tuple[tuple[int, dict[str, str]], ...]:
    """Three records as they stand in the file: (row number, column -> text)."""
    records = [(number, row) for number, row in loaded.table.records if isinstance(row, dict)]
    places = sorted({0, len(records) // 2, len(records) - 1}) if records else []
    return tuple(
        (number, {printable(name): as_text(value, EXCERPT) for name, value in row.items()})
        for number, row in (records[i] for i in places)
    )


def _read(how: Decision, number: int, value: Any) -> Row | str:
    try:
        return built(how, number, value)
    except Unusable as why:
        return why.reason


def _parts(row: Row | str) -> dict[str, str]:
    if isinstance(row, str):
        return {"dropped": row}
    parts = {name: as_text(text_of(turns), EXCERPT) for name, turns in fields(row).items()}
    if isinstance(row, Labelled):
        parts["label"] = "good" if row.label else "bad"
    return parts


def names(loaded: Loaded) -> tuple[str, ...]:
    """The columns a mapping can name: the file's, and dotted ones inside lists and objects."""
    records = [value for _, value in loaded.table.records[:50] if isinstance(value, dict)]
    inside: dict[str, None] = {}
    for record in records:
        for column, value in record.items():
            inside.update(dict.fromkeys(_below(column, value)))
    return (*loaded.columns, *list(inside)[:NESTED])


def _below(name: str, value: Any, depth: int = 0) -> Iterator[str]:
    """Dotted names of the texts and numbers inside a cell; of a list, its first entry's."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "role" not in value[0]:
        value = {"0": value[0]}
    if not isinstance(value, dict) or depth > 2:
        if depth:
            yield name
        return
    for key, inner in value.items():
        if "." not in key:
            yield from _below(f"{name}.{key}", inner, depth + 1)


def values(loaded: Loaded, column: str) -> tuple[str, ...]:
    """The texts in a column, commonest first; () when there are too many to be labels."""
    counts: Counter[str] = Counter()
    for _, record in loaded.table.records:
        value = record.get(column) if isinstance(record, dict) else None
        if isinstance(value, (str, int, float)):
            counts[str(value).lower() if isinstance(value, bool) else str(value)] += 1
    return tuple(value for value, _ in counts.most_common()) if len(counts) <= MOST_VALUES else ()

"""From a table of records to rows that can be trained, with every loss counted."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import DroppedRow, Shape
from backprop_tui.core.rows import NO_SHAPE, NOT_A_ROW, UNPARSEABLE, Row

from .build import TEXT_LABELS, Record
from .other import forced_in_vain, judged_column, looks_like
from .shapes import COLUMNS, LAYOUTS, Layout, build, decide
from .table import Table
from .turns import Unusable

SAMPLE = 2000  # rows that decide the layout, and that the statistics are taken from
SEED = 0
SHOWN = 3  # dropped rows shown of each reason; rows shown as examples
EXCERPT = 100  # characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A data set read whole: the rows that can be trained, and what became of the others."""

    table: Table
    shape: Shape
    layout: str
    columns: tuple[str, ...]
    rows: list[Row]  # kept, in file order
    dropped: dict[str, int]
    dropped_rows: tuple[DroppedRow, ...]
    advice: str


def sample(items: Sequence[T], seed: int, most: int = SAMPLE) -> list[T]:
    """At most `most` items drawn from the whole sequence, in its order."""
    if len(items) <= most:
        return list(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), most))
    return [items[i] for i in chosen]


def clean(table: Table, columns: dict[str, str] | None, shape: Shape | None) -> Loaded:
    """Decide the layout over a sample, then build every row of the file or say why not."""
    names = _columns(table)
    columns = columns or {}
    _check_columns(table.name, columns, names)
    records: list[tuple[int, Any]] = [
        (number, _prepared(value, columns, table.format == "csv"))
        for number, value in table.records
    ]
    sampled = sample([value for _, value in records if isinstance(value, dict)], SEED)
    layout = decide(sampled, shape)
    advice = ""
    if layout is None:
        advice = (
            looks_like(sampled) if sampled else "It holds no JSON object, so it has no columns."
        )
        if shape in ("sft", "paired", "unpaired"):
            advice = forced_in_vain(shape, names)
            layout = next(entry for entry in LAYOUTS if entry.shape == shape)
    elif layout.shape == "sft" and shape is None and (judge := judged_column(sampled)):
        advice = f"It has {layout.name}, and {judge}"
        layout = None
    rows, dropped = _build(layout, records)
    dropped += [(broken.number, UNPARSEABLE, broken.text) for broken in table.broken]
    counts = Counter(reason for _, reason, _ in dropped)
    return Loaded(
        table=table,
        shape=layout.shape if layout else "other",
        layout=layout.name if layout else "",
        columns=names,
        rows=rows,
        dropped=dict(counts.most_common()),
        dropped_rows=_first_of_each(dropped),
        advice=advice,
    )


def _columns(table: Table) -> tuple[str, ...]:
    """Every column of every row, in the order first seen."""
    found: dict[str, None] = {}
    for _, value in table.records:
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return tuple(found)


def _check_columns(name: str, columns: dict[str, str], names: tuple[str, ...]) -> None:
    for ours, theirs in columns.items():
        wrong, allowed = (ours, COLUMNS) if ours not in COLUMNS else (theirs, names)
        if wrong not in allowed:
            from difflib import get_close_matches

            close = get_close_matches(wrong, allowed, n=1)
            what = "we read no column" if wrong == ours else "the data has no column"
            raise InputError(
                f"{name}: columns.{ours} = {theirs!r}: {what} {wrong!r}",
                code="DATA_COLUMN",
                hint=(f"did you mean {close[0]}? " if close else "")
                + f"there are: {', '.join(allowed)}",
            )


def _prepared(value: Any, columns: dict[str, str], text_cells: bool) -> Any:
    """The record under our column names; where every cell is text, its label read."""
    if not isinstance(value, dict):
        return value
    record: Record = value
    if columns:
        named = {*columns, *columns.values()}
        rest = {name: cell for name, cell in value.items() if name not in named}
        record = rest | {ours: value[name] for ours, name in columns.items() if name in value}
    if text_cells and isinstance(label := record.get("label"), str):
        record = {**record, "label": TEXT_LABELS.get(label.strip().lower(), label)}
    return record


Dropped = tuple[int, str, Any]  # row number, reason, what to show of it


def _build(
    layout: Layout | None, records: list[tuple[int, Any]]
) -> tuple[list[Row], list[Dropped]]:
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for number, record in records:
        if not isinstance(record, dict):
            dropped.append((number, NOT_A_ROW, record))
        elif layout is None:
            dropped.append((number, NO_SHAPE, record))
        else:
            try:
                rows.append(build(layout, number, record))
            except Unusable as why:
                dropped.append((number, why.reason, why.excerpt or record))
    return rows, dropped


def _first_of_each(dropped: list[Dropped]) -> tuple[DroppedRow, ...]:
    """The first few of each reason, in file order."""
    seen: Counter[str] = Counter()
    shown = []
    for number, reason, value in sorted(dropped, key=lambda entry: entry[0]):
        seen[reason] += 1
        if seen[reason] <= SHOWN:
            shown.append(DroppedRow(row=number, reason=reason, excerpt=as_text(value, EXCERPT)))
    return tuple(shown)


def as_text(value: Any, limit: int) -> str:
    """Any JSON value as text of at most `limit` characters that can be printed."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, TypeError, RecursionError):  # nested too deep, odd keys
            value = f"({type(value).__name__})"
    if len(value) > limit:
        value = value[: limit - 1] + "…"
    return str(value.encode("utf-8", "replace").decode())

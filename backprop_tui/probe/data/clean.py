"""From a table of records to rows that can be trained, with every loss counted."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backprop_tui.core.facts import DroppedRow, Shape
from backprop_tui.core.rows import UNPARSEABLE, Row

from .decision import Asked, Decision, decision
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
    decision: Decision
    columns: tuple[str, ...]
    rows: list[Row]  # kept, in file order
    dropped: dict[str, int]
    dropped_rows: tuple[DroppedRow, ...]

    @property
    def shape(self) -> Shape:
        """Which methods can read it."""
        return self.decision.shape

    @property
    def layout(self) -> str:
        """The columns that decided, in words; "" when none were recognised."""
        return self.decision.layout.name if self.decision.layout else ""


def sample(items: Sequence[T], seed: int, most: int = SAMPLE) -> list[T]:
    """At most `most` items drawn from the whole sequence, in its order."""
    if len(items) <= most:
        return list(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), most))
    return [items[i] for i in chosen]


def clean(table: Table, asked: Asked) -> Loaded:
    """Decide the layout over a sample, then build every row of the file or say why not."""
    names = _columns(table)
    sampled = sample([value for _, value in table.records if isinstance(value, dict)], SEED)
    how = decision(table.name, sampled, names, asked, text_cells=table.format == "csv")
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for number, value in table.records:
        try:
            rows.append(how.row(number, value))
        except Unusable as why:
            dropped.append((number, why.reason, why.excerpt or value))
    dropped += [(broken.number, UNPARSEABLE, broken.text) for broken in table.broken]
    counts = Counter(reason for _, reason, _ in dropped)
    return Loaded(
        table=table,
        decision=how,
        columns=names,
        rows=rows,
        dropped=dict(counts.most_common()),
        dropped_rows=_first_of_each(dropped),
    )


def _columns(table: Table) -> tuple[str, ...]:
    """Every column of every row, in the order first seen."""
    found: dict[str, None] = {}
    for _, value in table.records:
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return tuple(found)


Dropped = tuple[int, str, Any]  # row number, reason, what to show of it


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

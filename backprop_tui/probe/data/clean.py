"""From a table of records to rows that can be trained, with every loss counted."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backprop_tui.core.facts import DroppedRow, Shape
from backprop_tui.core.printable import printable
from backprop_tui.core.rows import NOT_TEXT, UNPARSEABLE, Labelled, Row

from .large import hashes
from .layouts.decision import Asked, Decision, decision
from .layouts.turns import Unusable
from .read.table import Table

SAMPLE = 2000  # rows that decide the layout, and that the statistics are taken from
SEED = 0
SHOWN = 3  # dropped rows shown of each reason; rows shown as examples
EXCERPT = 100  # characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A data set: the rows that can be trained, and what became of the others.

    whole: `rows` are all that can be trained, in file order; else they are a sample of those,
    drawn from all over the data, and `table` holds only the records that were looked at.
    exact: the counts are counts; else they are estimated from such a sample. In both cases
    total == kept + sum(dropped.values()).
    labels: kept rows by label, of unpaired data. duplicate_rows, duplicate_prompts: rows that
    an earlier one equals, and whose prompt an earlier one has; where not exact, only among
    the rows looked at.
    """

    table: Table
    decision: Decision
    columns: tuple[str, ...]
    rows: list[Row]
    dropped: dict[str, int]
    dropped_rows: tuple[DroppedRow, ...]
    total: int
    kept: int
    labels: dict[bool, int] | None
    duplicate_rows: int
    duplicate_prompts: int
    exact: bool = True
    whole: bool = True

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


def clean(table: Table, asked: Asked, how: Decision | None = None) -> Loaded:
    """Build every row of the table, or say why not. how: the decision, where it is settled."""
    names = columns_of(value for _, value in table.records)
    how = how or settled(table, names, asked)
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for number, value in table.records:
        try:
            rows.append(built(how, number, value))
        except Unusable as why:
            dropped.append((number, why.reason, why.excerpt or value))
    dropped += [(broken.number, UNPARSEABLE, broken.text) for broken in table.broken]
    counts = Counter(reason for _, reason, _ in dropped)
    again, prompts_again = duplicates(rows)
    return Loaded(
        table=table,
        decision=how,
        columns=names,
        rows=rows,
        dropped=dict(counts.most_common()),
        dropped_rows=first_of_each(table, dropped),
        total=len(table.records) + len(table.broken),
        kept=len(rows),
        labels=labels_of(rows) if how.shape == "unpaired" else None,
        duplicate_rows=again,
        duplicate_prompts=prompts_again,
    )


def settled(table: Table, names: tuple[str, ...], asked: Asked) -> Decision:
    """The layout, decided over a sample of the records."""
    sampled = sample([value for _, value in table.records if isinstance(value, dict)], SEED)
    text_cells = any(name in table.format for name in ("csv", "tsv"))
    return decision(table.name, sampled, names, asked, text_cells=text_cells)


def built(how: Decision, number: int, value: Any) -> Row:
    """Our row of one record. Raises Unusable with the reason to drop it."""
    try:
        return how.row(number, value)
    except RecursionError:  # orjson reads 1,024 levels, which is more than Python walks
        raise Unusable(NOT_TEXT, "nested too deep") from None


def columns_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Every column of every record, in the order first seen."""
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return tuple(found)


def labels_of(rows: Iterable[Row]) -> dict[bool, int]:
    """Rows by label."""
    labels = [row.label for row in rows if isinstance(row, Labelled)]
    return {True: labels.count(True), False: labels.count(False)}


def duplicates(rows: Iterable[Row]) -> tuple[int, int]:
    """(rows equal to an earlier one, rows whose prompt an earlier one has); empty prompts apart."""
    found = [hashes.of(row) for row in rows]
    prompts = [prompt for _, prompt in found if prompt != hashes.NO_PROMPT]
    return len(found) - len({row for row, _ in found}), len(prompts) - len(set(prompts))


Dropped = tuple[int, str, Any]  # row number, reason, what to show of it


def first_of_each(table: Table, dropped: Iterable[Dropped]) -> tuple[DroppedRow, ...]:
    """The first few of each reason, in file order."""
    seen: Counter[str] = Counter()
    shown = []
    for number, reason, value in sorted(dropped, key=lambda entry: entry[0]):
        seen[reason] += 1
        if seen[reason] <= SHOWN:
            shown.append(
                DroppedRow(
                    row=number,
                    reason=reason,
                    excerpt=as_text(value, EXCERPT),
                    place=table.place(number),
                )
            )
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
    return printable(value)

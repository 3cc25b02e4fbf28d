"""The first facts of a large data set: a sample, and counts scaled up from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.facts import DroppedRow
from backprop_tui.core.rows import UNPARSEABLE, Labelled, Row

from ..clean import (
    EXCERPT,
    SEED,
    SHOWN,
    Loaded,
    as_text,
    built,
    columns_of,
    duplicates,
    sample,
)
from ..layouts.decision import Asked, Decision, decision
from ..layouts.turns import Unusable
from ..read.found import Found, HubRows
from ..read.table import Broken, Table, number_of
from .look import Seen, Stratum
from .tally import KEEP


def decide(data: Found | HubRows, strata: Sequence[Stratum], asked: Asked) -> Decision | None:
    """The layout, over the rows that were looked at; None when none of them is an object."""
    values = [seen.value for stratum in strata for seen in stratum.seen]
    sampled = sample([seen.value for seen in spread(strata) if isinstance(seen.value, dict)], SEED)
    if not sampled:
        return None
    return decision(data.name, sampled, columns_of(values), asked, text_cells=data.text_cells)


def spread(strata: Sequence[Stratum]) -> list[Seen]:
    """A uniform sample over all strata: of each as many rows as its share of them all."""
    total = sum(stratum.total for stratum in strata)
    shares = [stratum.total / max(1, total) for stratum in strata]
    # As many as the stratum that is short of rows allows; a tiny one need not hold up the rest.
    most = min(
        (
            len(stratum.seen) / share
            for stratum, share in zip(strata, shares, strict=True)
            if share > 0.01
        ),
        default=0,
    )
    return [
        seen
        for stratum, share in zip(strata, shares, strict=True)
        for seen in sample(stratum.seen, SEED, max(1, round(min(most, 2 * KEEP) * share)))
    ]


@dataclass(slots=True)
class _Counts:
    """What became of the rows of one stratum that were looked at."""

    dropped: Counter[str]
    labels: Counter[bool]
    kept: int = 0


def estimated(data: Found | HubRows, strata: Sequence[Stratum], how: Decision) -> Loaded:
    """The counts scaled up."""
    looked_at = spread(strata)
    lost: list[DroppedRow] = []
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    labels: Counter[bool] = Counter()
    total = 0
    wanted = set(map(id, looked_at))
    for stratum in strata:
        counts = _Counts(Counter(), Counter())
        for seen in stratum.seen:
            row = _built(how, seen, counts, lost)
            if row is not None and id(seen) in wanted:
                rows.append(row)
        scale = stratum.total / max(1, len(stratum.seen))
        total += stratum.total
        for reason, n in counts.dropped.items():
            dropped[reason] += max(n, round(n * scale))
        for label, n in counts.labels.items():
            labels[label] += max(n, round(n * scale))
    kept = max(0, total - dropped.total())
    again, prompts_again = duplicates(rows)
    return Loaded(
        table=_table(data, looked_at),
        decision=how,
        columns=columns_of(seen.value for stratum in strata for seen in stratum.seen),
        rows=rows,
        dropped=dict(dropped.most_common()),
        dropped_rows=_first_of_each(lost),
        total=kept + dropped.total(),
        kept=kept,
        labels=_shared_out(labels, kept) if how.shape == "unpaired" else None,
        duplicate_rows=again,
        duplicate_prompts=prompts_again,
        exact=False,
        whole=False,
    )


def _built(how: Decision, seen: Seen, counts: _Counts, lost: list[DroppedRow]) -> Row | None:
    item = seen.item
    try:
        if isinstance(item, Broken):
            raise Unusable(UNPARSEABLE, item.text)
        row = built(how, *item)
    except Unusable as why:
        counts.dropped[why.reason] += 1
        if counts.dropped[why.reason] <= SHOWN:
            number = number_of(item)
            shown = as_text(why.excerpt or seen.value, EXCERPT)
            lost.append(DroppedRow(row=number, reason=why.reason, excerpt=shown, place=seen.place))
        return None
    counts.kept += 1
    if isinstance(row, Labelled):
        counts.labels[row.label] += 1
    return row


def _shared_out(labels: Counter[bool], kept: int) -> dict[bool, int]:
    """Counts by label that add up to the rows kept."""
    good = round(kept * labels[True] / max(1, labels.total()))
    return {True: good, False: kept - good}


def _first_of_each(lost: Iterable[DroppedRow]) -> tuple[DroppedRow, ...]:
    seen: Counter[str] = Counter()
    shown = []
    for row in lost:
        seen[row.reason] += 1
        if seen[row.reason] <= SHOWN:
            shown.append(row)
    return tuple(shown)


def _table(data: Found | HubRows, looked_at: Sequence[Seen]) -> Table:
    records = [seen.item for seen in looked_at if not isinstance(seen.item, Broken)]
    broken = [seen.item for seen in looked_at if isinstance(seen.item, Broken)]
    return table_of(data, records, broken)


def table_of(
    data: Found | HubRows,
    records: list[tuple[int, Any]],
    broken: list[Broken],
    starts: tuple[tuple[int, str], ...] = (),
) -> Table:
    """Some records of the data. It has no fingerprint, as not all was read, or not in order."""
    if isinstance(data, HubRows):
        return Table(name=data.name, path=None, format="hub", records=records, broken=broken)
    return Table(
        name=data.name,
        path=data.path,
        format=data.format,
        records=records,
        broken=broken,
        starts=starts,
        files=data.paths(),
        left_out=data.left_out,
        size=data.size,
    )

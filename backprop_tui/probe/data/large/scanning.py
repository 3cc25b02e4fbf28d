"""Every row of a large data set counted, in bounded memory, by processes of their own.

Memory: a process holds the hashes of the part it is counting, the sample, and the longest row;
this one the hashes of four million rows. Of more rows, every second hash is left out, then
three of four, and so on: the duplicates are then an estimate.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import DroppedRow
from backprop_tui.core.rows import Row

from ..clean import SHOWN, Loaded, built
from ..layouts.decision import Asked, Decision
from ..layouts.turns import Unusable
from ..read.found import Found, HubRows
from ..read.table import place
from .estimates import decide, table_of
from .hashes import Hashes
from .jobs import jobs_of
from .look import look_into
from .tally import Counting, Draw, Tally, as_value
from .workers import Workers

HUB_PART = 10_000  # rows


class ScanStopped(Exception):
    """`stop` said so, and the processes are gone."""


def counted(
    data: Found | HubRows,
    asked: Asked,
    progress: Callable[[float], None],
    stop: Callable[[], bool],
) -> Loaded | None:
    """Count every row; None where a look shows no row that is an object.

    Raises InputError for what cannot be read, ScanStopped when asked to stop.
    """
    counts = _Counts()
    if isinstance(data, HubRows):
        how = decide(data, look_into(data), asked)
        if how is None:
            return None
        draw = _count_rows(data, how, counts, progress, stop)
        return _loaded(data, how, counts, draw, ())
    jobs = jobs_of(data.files)
    with Workers(jobs) as workers:
        how = decide(data, look_into(data), asked)  # while they start
        if how is None:
            return None
        workers.begin(how)
        draw = _count(workers, sum(job.size for job in jobs), counts, progress, stop)
    several = len(data.files) > 1
    before = counts.before()
    starts = [(before[job.index], job.file.name) for job in jobs if job.start == 0 and several]
    return _loaded(data, how, counts, draw, tuple(starts))


@dataclass(slots=True)
class _Counts:
    """The tallies by part, and the hashes of all."""

    tallies: dict[int, Tally] = field(default_factory=dict)
    rows: Hashes = field(default_factory=Hashes)
    prompts: Hashes = field(default_factory=Hashes)

    def take(self, index: int, tally: Tally) -> None:
        self.rows.add(tally.rows)
        self.prompts.add(tally.prompts)
        tally.rows, tally.prompts = array("q"), array("Q")
        self.tallies[index] = tally

    def in_order(self) -> list[Tally]:
        return [self.tallies[index] for index in sorted(self.tallies)]

    def before(self) -> list[int]:
        """What to add to the row numbers of each part."""
        return [0, *accumulate(tally.last for tally in self.in_order())]


def _count_rows(
    data: HubRows,
    how: Decision,
    counts: _Counts,
    progress: Callable[[float], None],
    stop: Callable[[], bool],
) -> Draw:
    """Count the rows of a hub data set here: they lie in a library's cache."""
    draw = Draw()
    for index, start in enumerate(range(0, len(data.rows), HUB_PART)):
        counting = Counting(how, index, draw)
        for i in range(start, min(len(data.rows), start + HUB_PART)):
            if stop():
                raise ScanStopped
            counting.items([(i - start + 1, data.rows[i])])
        counts.take(index, counting.tally)
        progress((start + counting.tally.total) / len(data.rows))
    draw.trim()
    return draw


def _count(
    workers: Workers,
    size: int,
    counts: _Counts,
    progress: Callable[[float], None],
    stop: Callable[[], bool],
) -> Draw:
    """Take the workers' answers until all is counted. Returns the sample. size: in bytes."""
    draw, read = Draw(), 0
    while not workers.done:
        if stop():
            raise ScanStopped
        for kind, value in workers.answers():
            if kind == "read":
                read += value
                progress(min(1.0, read / max(1, size)))
            elif kind == "counted":
                counts.take(*value)
            elif kind == "drawn":
                draw.drawn += value
                workers.left -= 1
            elif kind == "refused":
                raise value
            else:
                raise InputError(
                    f"counting the rows ended early ({value})",
                    code="DATA_SCAN_FAILED",
                    hint="the figures stay estimates; the memory may have run out",
                )
    draw.trim()
    return draw


def _loaded(
    data: Found | HubRows,
    how: Decision,
    counts: _Counts,
    draw: Draw,
    starts: tuple[tuple[int, str], ...],
) -> Loaded:
    """The tallies as one. starts: as of a Table."""
    tallies, before = counts.in_order(), counts.before()
    dropped: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    first: list[DroppedRow] = []
    columns: dict[str, None] = {}
    for tally, base in zip(tallies, before, strict=False):
        dropped.update(tally.dropped)
        columns.update(tally.columns)
        for number, reason, excerpt in tally.first:
            shown[reason] += 1
            if shown[reason] <= SHOWN:
                number += base
                where = place(starts, number)
                first.append(DroppedRow(row=number, reason=reason, excerpt=excerpt, place=where))
    records = sorted(
        ((before[index] + number, as_value(row)) for _, (index, number), row in draw.drawn),
        key=lambda record: record[0],
    )
    return Loaded(
        table=table_of(data, records, [], starts),
        decision=how,
        columns=tuple(columns),
        rows=_rows(how, records),
        dropped=dict(dropped.most_common()),
        dropped_rows=tuple(first),
        total=sum(tally.total for tally in tallies),
        kept=sum(tally.kept for tally in tallies),
        labels={label: sum(tally.labels[label] for tally in tallies) for label in (True, False)}
        if how.shape == "unpaired"
        else None,
        duplicate_rows=counts.rows.repeats(),
        duplicate_prompts=counts.prompts.repeats(),
        whole=False,
    )


def _rows(how: Decision, records: Sequence[tuple[int, Any]]) -> list[Row]:
    rows = []
    for number, value in records:
        try:
            rows.append(built(how, number, value))
        except Unusable:  # counted already
            continue
    return rows

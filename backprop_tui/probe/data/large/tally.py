"""Counts over rows as they pass, and a sample of them; the counts of parts add up to the whole's.

Python's hash of a tuple of integers does not depend on the process, so hashes made in several
of them can be compared.
"""

from __future__ import annotations

import pickle
import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backprop_tui.core.rows import UNPARSEABLE, Labelled

from ..clean import EXCERPT, SEED, SHOWN, as_text, built
from ..layouts.decision import Decision
from ..layouts.turns import Unusable
from ..read.json_files import parse_together, read_line
from ..read.table import Broken, Item, number_of
from . import hashes
from .plain import Sure, only_reads, proof_for

KEEP = 3000  # rows drawn for the statistics, of which most can be trained
KEEP_BYTES = 64 << 20


@dataclass(slots=True)
class Draw:
    """A uniform sample of rows, however many pass: those with the smallest random numbers.

    Samples of parts make the sample of the whole, whoever drew them and in whatever order.
    drawn: (random number, (number of the part, row number in it), the row as `as_value` reads it).
    """

    drawn: list[tuple[float, tuple[int, int], bytes]] = field(default_factory=list)
    limit: float = 1.0  # only a row with a smaller number can still be among them
    size: int = 0  # bytes held

    def offer(self, chance: float, number: tuple[int, int], row: bytes) -> None:
        self.drawn.append((chance, number, row))
        self.size += len(row)
        if len(self.drawn) >= 2 * KEEP or self.size > 2 * KEEP_BYTES:
            self.trim()

    def trim(self) -> None:
        """Back to what is kept: so many rows, and fewer where they are huge."""
        self.drawn.sort(key=lambda one: one[0])
        size = kept = 0
        for _, _, row in self.drawn[:KEEP]:
            size += len(row)
            if kept and size > KEEP_BYTES:
                break
            kept += 1
        if kept < len(self.drawn):
            self.limit = self.drawn[kept][0]
            del self.drawn[kept:]
        self.size = sum(len(row) for _, _, row in self.drawn)


def as_value(row: bytes) -> Any:
    """A drawn row: JSON, or else a pickle, which begins with a byte that no JSON does."""
    return pickle.loads(row) if row.startswith(b"\x80") else orjson.loads(row)


@dataclass(slots=True)
class Tally:
    """What is counted of some rows that follow each other.

    last: the highest number used, blank lines included. rows, prompts: hashes of the kept
    rows; a row without a prompt has none. first: the first few dropped of each reason.
    """

    last: int = 0
    total: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first: list[tuple[int, str, str]] = field(default_factory=list)
    labels: list[int] = field(default_factory=lambda: [0, 0])  # false, true
    columns: dict[str, None] = field(default_factory=dict)
    rows: array[int] = field(default_factory=lambda: array("q"))
    prompts: array[int] = field(default_factory=lambda: array("Q"))

    def drop(self, number: int, reason: str, shown: Any) -> None:
        self.dropped[reason] += 1
        if self.dropped[reason] <= SHOWN:
            self.first.append((number, reason, as_text(shown, EXCERPT)))


class Counting:
    """Counts the rows of one part into a tally, as a decision reads them.

    index: of the part, so that each has random numbers of its own, the same in every scan.
    """

    def __init__(self, how: Decision, index: int, draw: Draw) -> None:
        self.tally = Tally()
        self._how, self._index, self._draw = how, index, draw
        self._random = random.Random(f"{SEED} {index}").random
        self._reads, self._proof = proof_for(how) or ((), _none_sure)
        self._sure = Sure(labels=self.tally.labels)
        self._names: tuple[str, ...] | None = None  # of the last record that was noted

    def text(self, text: bytes) -> None:
        """JSONL lines that follow on from the last ones, without the end of the last line."""
        values = parse_together(text)
        if values is None:
            for number, line in enumerate(text.split(b"\n"), self.tally.last + 1):
                if line.strip():
                    self.items([read_line(number, line)])
                self.tally.last = number
        else:
            self._values(values)

    def _values(self, values: list[Any]) -> None:
        """Values of lines that are all JSON."""
        tally, sure, before = self.tally, self._sure, self.tally.last
        unsure = self._proof(values, sure)
        # The columns in the order in which rows show them: plain rows in between have the same.
        plain = next((i for i in range(len(values)) if i >= len(unsure) or unsure[i] != i), None)
        for i in unsure:
            if plain is not None and i > plain:
                self._note(values[plain])
                plain = None
            self._note(values[i])
            self._count(before + i + 1, values[i])
        if plain is not None and plain < len(values):
            self._note(values[plain])
        if sure.rows:
            tally.kept += len(sure.rows)
            tally.rows.extend(sure.rows)
            tally.prompts.extend(sure.prompts)
            sure.rows.clear()
            sure.prompts.clear()
        tally.last += len(values)
        tally.total += len(values)
        chance, limit = self._random, self._draw.limit
        for i in range(len(values)):
            if (drawn := chance()) < limit:
                self._draw_row(drawn, before + i + 1, values[i])
                limit = self._draw.limit

    def items(self, items: Sequence[Item]) -> None:
        """Rows of any format, in order."""
        values: list[Any] = []  # of rows whose numbers follow each other
        for item in items:
            number = number_of(item)
            if isinstance(item, Broken):
                self._values(values)
                values = []
                self.tally.total += 1
                self.tally.last = number
                self.tally.drop(number, UNPARSEABLE, item.text)
                continue
            if number != self.tally.last + len(values) + 1:
                self._values(values)
                values = []
                self.tally.last = number - 1
            values.append(item[1])
        self._values(values)

    def _draw_row(self, chance: float, number: int, value: Any) -> None:
        try:
            row = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
        except TypeError:  # no JSON value, half a surrogate pair, or nested deep
            try:
                row = pickle.dumps(value)
            except RecursionError:  # deeper than can be sent: no sample needs it
                return
        self._draw.offer(chance, (self._index, number), row)

    def _note(self, value: Any) -> None:
        """Columns that the record before did not have."""
        if isinstance(value, dict) and (names := tuple(value)) != self._names:
            self._names = names
            self.tally.columns.update(dict.fromkeys(names))
            if only_reads(self._reads, names):
                self._sure.names.add(names)

    def _count(self, number: int, value: Any) -> None:
        """The ordinary path."""
        try:
            row = built(self._how, number, value)
        except Unusable as why:
            self.tally.drop(number, why.reason, why.excerpt or value)
            return
        self._keep(*hashes.of(row), row.label if isinstance(row, Labelled) else None)

    def _keep(self, row: int, prompt: int, label: bool | None) -> None:
        tally = self.tally
        tally.kept += 1
        tally.rows.append(row)
        if prompt != hashes.NO_PROMPT:
            tally.prompts.append(prompt)
        if label is not None:
            tally.labels[label] += 1


def _none_sure(records: Sequence[Any], sure: Sure) -> list[int]:
    return list(range(len(records)))

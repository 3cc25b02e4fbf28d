"""Rows for tests: turns as people write them, and what a few records become."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.facts import Offer, Shape
from backprop_tui.core.rows import Labelled, Message, Pair, Row
from backprop_tui.probe.data.layouts.decision import Asked, Decision, decision
from backprop_tui.probe.data.layouts.turns import Unusable

Turns = tuple[tuple[str, str], ...]

# A question with a good and a bad answer; a conversation before the question; a system turn.
Q, A, B = (("u", "q"),), (("a", "good"),), (("a", "bad"),)
HH = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: q\n\nAssistant:"
HH_PROMPT = (("u", "hi"), ("a", "yo"), ("u", "q"))
PROMPT_AS_TURNS = (("s", "be kind"), *Q)


def plain(messages: tuple[Message, ...]) -> Turns:
    return tuple((message.role[0], message.content) for message in messages)


def parts(row: Row) -> tuple[Any, ...]:
    """A row as short tuples, roles by their first letter."""
    if isinstance(row, Pair):
        return plain(row.prompt), plain(row.chosen), plain(row.rejected)
    if isinstance(row, Labelled):
        return plain(row.prompt), plain(row.completion), row.label
    return (plain(row.messages),)


def oai(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def sharegpt(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": role, "value": content} for role, content in turns]


@dataclass(frozen=True)
class Read:
    """What records became: the decision, the rows, and why others were dropped."""

    how: Decision
    rows: list[Row]
    dropped: dict[str, int]

    @property
    def shape(self) -> Shape:
        return self.how.shape

    @property
    def layout(self) -> str:
        return self.how.layout.name if self.how.layout else ""

    @property
    def parts(self) -> list[tuple[Any, ...]]:
        return [parts(row) for row in self.rows]


def read(records: list[Any], *, text_cells: bool = False, **asked: Any) -> Read:
    """The records as a data set is read. asked: columns, labels, shape."""
    objects = [record for record in records if isinstance(record, dict)]
    columns = tuple(dict.fromkeys(name for record in objects for name in record))
    how = decision("data", objects, columns, Asked(**asked), text_cells=text_cells)
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    for number, record in enumerate(records, 1):
        try:
            rows.append(how.row(number, record))
        except Unusable as why:
            dropped[why.reason] += 1
    assert len(rows) + dropped.total() == len(records)
    return Read(how, rows, dict(dropped))


def taken(offer: Offer) -> dict[str, Any]:
    """What the user asked for once an offer is taken, for read()."""
    return {key.removeprefix("data."): value for key, value in offer.changes}

"""Rows so plain that a few tests prove what the ordinary path would make of them.

Counting a file of a million rows spends most of its time in that path, which must be ready
for anything. Most rows need none of it. A proof here goes through many records at once, adds
the hashes that `hashes.of` would give of each plain row, and returns which records it is not
sure of; those go the ordinary way. A test holds the two together on whatever hypothesis thinks
of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from ..layouts.decision import HOLD_MEDIA, Decision
from ..layouts.shapes import COLUMNS

_hash = xxhash.xxh3_64_intdigest

# What a record raises that is no object, lacks a column, or has no text, or none that can be
# written, in one.
_NOT_PLAIN = (KeyError, TypeError, AttributeError, IndexError, UnicodeEncodeError)


@dataclass(slots=True)
class Sure:
    """What is known of the rows that are proved. names: the columns of records that have more
    than the layout reads, where none of the others is read either."""

    names: set[tuple[str, ...]] = field(default_factory=set)
    rows: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=lambda: [0, 0])


# (records, what is known) -> the places of those it is not sure of.
Proof = Callable[[Sequence[Any], Sure], list[int]]


def pairs(records: Sequence[Any], sure: Sure) -> list[int]:
    """Three strings, the sides different; no transcript ("Human: ..."), no repeated prompt."""
    unsure = []
    rows, prompts, names = sure.rows.append, sure.prompts.append, sure.names
    for i, record in enumerate(records):
        try:
            prompt, chosen, rejected = record["prompt"], record["chosen"], record["rejected"]
            asked, better, worse = prompt.strip(), chosen.strip(), rejected.strip()
            if (
                better == worse
                or asked[0] == "H"
                or better[0] == "H"
                or worse[0] == "H"
                or better.startswith(asked)
                or worse.startswith(asked)
                or (len(record) > 3 and tuple(record) not in names)
            ):
                unsure.append(i)
                continue
            start = _hash(prompt.encode())
            row = hash((start, _hash(chosen.encode()), _hash(rejected.encode())))
        except _NOT_PLAIN:
            unsure.append(i)
        else:
            rows(row)
            prompts(start)
    return unsure


def labelled(records: Sequence[Any], sure: Sure) -> list[int]:
    """Two strings and true or false; no transcript."""
    unsure = []
    rows, prompts, labels = sure.rows.append, sure.prompts.append, sure.labels
    for i, record in enumerate(records):
        try:
            prompt, completion, label = record["prompt"], record["completion"], record["label"]
            asked, answer = prompt.strip(), completion.strip()
            if (
                type(label) is not bool
                or asked[0] == "H"
                or answer[0] == "H"
                or (len(record) > 3 and tuple(record) not in sure.names)
            ):
                unsure.append(i)
                continue
            start = _hash(prompt.encode())
            row = hash((start, _hash(completion.encode()), label))
        except _NOT_PLAIN:
            unsure.append(i)
        else:
            rows(row)
            prompts(start)
            labels[label] += 1
    return unsure


# Layout -> the columns it reads and the proof. Other layouts always go the ordinary way.
PROOFS: dict[str, tuple[tuple[str, ...], Proof]] = {
    "prompt, chosen, rejected": (("prompt", "chosen", "rejected"), pairs),
    "prompt, completion, label": (("prompt", "completion", "label"), labelled),
}


def proof_for(how: Decision) -> tuple[tuple[str, ...], Proof] | None:
    """The columns and the proof of a decision's layout; None where every row needs the other."""
    if how.layout is None or how.asked.columns or how.asked.labels:
        return None
    found = PROOFS.get(how.layout.name)
    # Of cells that are all text, only labels are read as something else.
    return None if found is not None and how.text_cells and "label" in found[0] else found


def only_reads(columns: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether a record with these names has all of `columns` and no other one that is read."""
    others = (set(COLUMNS) | HOLD_MEDIA) - set(columns)
    return set(columns) <= set(names) and others.isdisjoint(names)

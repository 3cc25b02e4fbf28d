"""Rows as token ids, and what became of the rows that could not be used whole."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

IGNORE = -100  # label of a position that is not trained
TURNS_CUT = "oldest turns cut to fit"
PROMPT_CUT = "prompt cut to fit"
ANSWER_CUT = "answer cut to fit"


class Untrainable(Exception):
    """A row that leaves nothing to train on; the text is the reason it is counted under."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a prompt and both answers."""

    number: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True, slots=True)
class EncodedLabelled:
    """Token ids of a prompt and its judged answer."""

    number: int
    prompt: list[int]
    completion: list[int]
    label: bool


@dataclass(frozen=True, slots=True)
class EncodedChat:
    """Token ids of a conversation; labels repeat the trained ids and are IGNORE elsewhere."""

    number: int
    input_ids: list[int]
    labels: list[int]


Masked = list[tuple[int, bool]]  # token id, and whether it is trained
Encoded = EncodedPair | EncodedLabelled | EncodedChat


@dataclass(slots=True)
class Encoding:
    """Rows that will be trained, and how many were dropped or cut, by reason.

    A row that was cut in two ways is counted under both. plain: rows whose words spell a
    special token, kept as words.
    """

    rows: list[Any] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    plain: int = 0


def sequences(encoded: Encoded) -> list[Masked]:
    """Each sequence of the row, as the trainer gets it."""
    if isinstance(encoded, EncodedChat):
        labelled = zip(encoded.input_ids, encoded.labels, strict=True)
        return [[(token, label != IGNORE) for token, label in labelled]]
    if isinstance(encoded, EncodedLabelled):
        return [masked(encoded.prompt, encoded.completion)]
    return [masked(encoded.prompt, answer) for answer in (encoded.chosen, encoded.rejected)]


def masked(prompt: list[int], answer: list[int]) -> Masked:
    """A prompt that is read and an answer that is trained."""
    return [(token, False) for token in prompt] + [(token, True) for token in answer]


def chosen_shorter(rows: Sequence[Encoded]) -> float | None:
    """How often the shorter answer, in tokens, is the chosen one, ties counting half; 0..1.

    Marked answers: how often a good one is shorter than a bad one, over all such pairs. None for
    conversations, and without both sides.
    """
    pairs = [row for row in rows if isinstance(row, EncodedPair)]
    if pairs:
        won = (_shorter(len(row.chosen), len(row.rejected)) for row in pairs)
        return sum(won) / len(pairs)
    marked = [row for row in rows if isinstance(row, EncodedLabelled)]
    good = [len(row.completion) for row in marked if row.label]
    bad = sorted(len(row.completion) for row in marked if not row.label)
    if not (good and bad):
        return None
    # Longer ones and, for ties, those at least as long: each counts half.
    won = (2 * len(bad) - bisect_left(bad, one) - bisect_right(bad, one) for one in good)
    return sum(won) / (2 * len(good) * len(bad))


def _shorter(chosen: int, rejected: int) -> float:
    return 0.5 if chosen == rejected else float(chosen < rejected)

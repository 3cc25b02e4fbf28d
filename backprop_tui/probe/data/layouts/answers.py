"""Several answers to one prompt, as the user mapped them, made into a pair: best against worst.

Only what [data.columns] names `answers`, or `first`, `second` and `winner`, is read so: that a
list stands best first, or which answer a value means, no file says by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from backprop_tui.core.rows import (
    LABEL_UNMAPPED,
    LABEL_UNUSABLE,
    NOT_TEXT,
    SCORES_UNUSABLE,
    SIDE_MISSING,
    TIED,
    Pair,
)

from .cells import Record, cell, number_of
from .columns import Unmapped
from .turns import Unusable, is_turns, role_of

TEXTS = ("text", "response", "answer", "content", "completion", "output")  # of one answer
SCORES = ("score", "rating", "overall_score", "reward")  # of one answer: more is better
RANKS = ("rank", "ranking")  # of one answer: 1 is the best

Build = Callable[[int, Record], Pair]


def is_answer(value: object) -> bool:
    """A text, turns, or an object that holds a text."""
    if isinstance(value, dict):
        return role_of(value) is not None or any(isinstance(value.get(n), str) for n in TEXTS)
    return isinstance(value, str) or is_turns(value)


def is_answers(value: object) -> bool:
    """A list of at least two answers, not the turns of one conversation."""
    if not isinstance(value, list) or len(value) < 2 or is_turns(value):
        return False
    return all(map(is_answer, value))


def score_name(value: object) -> str:
    """The key under which one answer holds its score or its rank; "" when it holds none."""
    if not isinstance(value, dict):
        return ""
    return next((name for name in (*SCORES, *RANKS) if name in value), "")


def ranked(as_pair: Build) -> Build:
    """A list that stands best first: its first answer against its last."""

    def build(number: int, record: Record) -> Pair:
        answers = _answers(record)
        return as_pair(number, _sides(record, answers[0], answers[-1]))

    return build


def scored(as_pair: Build, column: str) -> Build:
    """The answers by the numbers in `column`, "scores" or "ranks"; "" for each answer's own."""

    def build(number: int, record: Record) -> Pair:
        answers = _answers(record)
        scores, is_rank = _scores(record, column, len(answers))
        order = sorted(range(len(scores)), key=lambda i: scores[i], reverse=not is_rank)
        best, worst = order[0], order[-1]
        if scores[best] == scores[worst]:
            raise Unusable(TIED, f"scores: {scores[best]:g} for each")
        row = as_pair(number, _sides(record, answers[best], answers[worst]))
        return row if is_rank else replace(row, scores=(scores[best], scores[worst]))

    return build


def compared(as_pair: Build) -> Build:
    """Two answers and a column `winner`, true where the first is the better one."""

    def build(number: int, record: Record) -> Pair:
        first, second, winner = (cell(record, name) for name in ("first", "second", "winner"))
        if isinstance(winner, Unmapped):
            raise Unusable(LABEL_UNMAPPED, f"winner: {winner.text[:60]}")
        if not isinstance(winner, bool):
            raise Unusable(LABEL_UNUSABLE, f"winner: {str(winner)[:60]}")
        sides = (first, second) if winner else (second, first)
        return as_pair(number, _sides(record, *sides))

    return build


def _answers(record: Record) -> list[Any]:
    value = cell(record, "answers")
    if not isinstance(value, list):
        raise Unusable(NOT_TEXT)
    if len(value) < 2:
        raise Unusable(SIDE_MISSING)
    return value


def _scores(record: Record, column: str, length: int) -> tuple[Sequence[float], bool]:
    """(a number for each answer, whether they are ranks)."""
    if column:
        values, is_rank = record.get(column), column == "ranks"
    else:
        name = score_name(record["answers"][0])
        values = [entry.get(name) for entry in record["answers"] if isinstance(entry, dict)]
        is_rank = name in RANKS
    found = [number_of(value) for value in values] if isinstance(values, list) else []
    numbers = [number for number in found if number is not None]
    if len(numbers) != length:
        raise Unusable(SCORES_UNUSABLE)
    return numbers, is_rank


def _sides(record: Record, better: Any, worse: Any) -> Record:
    """The record as that of a pair."""
    gone = ("answers", "scores", "ranks", "first", "second", "winner")
    rest = {name: value for name, value in record.items() if name not in gone}
    return {**rest, "chosen": _answer(better), "rejected": _answer(worse)}


def _answer(value: Any) -> Any:
    """An answer's text out of an object; turns and texts as they are."""
    if isinstance(value, dict) and role_of(value) is None:
        return next((value[name] for name in TEXTS if value.get(name) is not None), None)
    return value

"""Two answers to one question, and what says which of them is the better one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from backprop_tui.core.facts import Offer

from .cells import Record
from .columns import label_text
from .offers import QUESTIONS, Look, as_pairs_prompt, filled, offer, share
from .turns import is_turns

BETTER = ("chosen", "better", "win", "good", "best", "preferred", "positive")
WORSE = ("rejected", "worse", "los", "bad", "worst", "non_preferred", "negative")
# Parts of the names of columns that tell which answer is better, or safer.
NO_SIDE = ("winner", "preference", "choice")  # sure to be no answer, whatever else is
MOST = 6  # different values such a column has at most
WINNERS = ("winner", "better", "prefer", "choice", "best", "safer", "label")


def two_answers(
    records: Sequence[Record], names: Sequence[str], texts: Sequence[str]
) -> Look | None:
    """Two columns of text (or turns) whose names differ in one part, like answer_a, answer_b."""
    sides = [*texts, *(name for name in names if share(records, name, is_turns) > 0.5)]
    sides = [name for name in sides if not any(word in name.lower() for word in NO_SIDE)]
    for first, second in combinations(sides, 2):
        alike = max(_shared(first, second), _shared(first[::-1], second[::-1]))
        if alike < 4 or {first, second} & set(QUESTIONS):
            continue
        prompt = as_pairs_prompt(names)
        if told := _told_by_name(first, second, prompt):
            return told
        if not _is_winner(first) and not _is_winner(second):
            return _told_by_column(records, names, (first, second), prompt)
    return None


def _told_by_name(first: str, second: str, prompt: dict[str, str]) -> Look | None:
    """better_answer, worse_answer."""
    told = any(word in first.lower() for word in BETTER) or any(
        word in second.lower() for word in WORSE
    )
    swapped = any(word in first.lower() for word in WORSE)
    if not told and not swapped:
        return None
    better, worse = (second, first) if swapped else (first, second)
    return Look(
        f"It looks like two answers, {first!r} and {second!r}.",
        (_if_better(better, worse, prompt),),
    )


def _told_by_column(
    records: Sequence[Record],
    names: Sequence[str],
    sides: tuple[str, str],
    prompt: dict[str, str],
) -> Look:
    """winner = model_a, better_response_id = 0; or nothing that says."""
    first, second = sides
    says = f"It looks like two answers, {first!r} and {second!r}"
    columns = [
        name
        for name in names
        if name not in sides and _is_winner(name) and len(_values(records, name)) <= MOST
    ]
    found = {name: _meaning(records, name, sides) for name in columns}
    offers = tuple(
        offer(
            f"If {name!r} names the better one (other values are left out)",
            {**prompt, "first": first, "second": second, "winner": name},
            labels,
        )
        for name, labels in found.items()
        if labels
    )
    if offers:
        return Look(
            f"{says}, and {next(n for n in found if found[n])!r} may say which one is better.",
            offers,
        )
    if columns:
        return Look(
            f"{says}, and {columns[0]!r} may say which one is better, but not which of its values "
            f"means which: [data.columns] first, second and winner name the three, and "
            f"[data.labels] says of each value whether the first is better."
        )
    return Look(
        f"{says}, but nothing says which one is better.",
        (_if_better(first, second, prompt), _if_better(second, first, prompt)),
    )


def _if_better(better: str, worse: str, prompt: dict[str, str]) -> Offer:
    columns = {**prompt, "chosen": better, "rejected": worse}
    return offer(f"If {better!r} is the better one in every row", columns)


def _is_winner(name: str) -> bool:
    return any(word in name.lower() for word in WINNERS)


def _meaning(
    records: Sequence[Record], name: str, sides: tuple[str, str]
) -> dict[str, bool] | None:
    """Value -> whether it names the first side: "model_a" does for answer_a. None if unclear."""
    start = _shared(*sides)
    end = min(_shared(sides[0][::-1], sides[1][::-1]), *(len(side) - start for side in sides))
    first, second = (side[start : len(side) - end].strip("_- ").lower() for side in sides)
    if not first or not second:
        return None
    values = _values(records, name)
    told = {value: re.split(r"[^a-z0-9]", value.lower())[-1] for value in values}
    labels = {value: part == first for value, part in told.items() if part in (first, second)}
    return labels if set(labels.values()) == {True, False} else None


def _values(records: Sequence[Record], name: str) -> set[str]:
    return {label_text(value) for value in filled(records, name)}


def _shared(first: str, second: str) -> int:
    """Characters both start with."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))

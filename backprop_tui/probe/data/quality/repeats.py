"""Rows that come again: word for word, nearly so, and on both sides of the held-out split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import Chat, Labelled, Pair, Row
from backprop_tui.core.split import split
from backprop_tui.core.text import count, percent, plural

from ..clean import sample
from .near import LOOKED_AT, SHINGLE, SOURCE, THRESHOLD, near_copies, near_copies_in
from .parts import answers, asked, excerpt, finding, prompt_text

COMPARED = 2_000  # prompts of each side whose near copies are sought


def content(row: Row) -> Hashable:
    """All a row says, whichever line it stands on."""
    if isinstance(row, Pair):
        return row.prompt, row.chosen, row.rejected
    if isinstance(row, Labelled):
        return row.prompt, row.completion, row.label
    assert isinstance(row, Chat)
    return row.messages


def duplicates(rows: Sequence[Row]) -> list[Finding]:
    """Rows that say exactly what an earlier row says."""
    first: dict[Hashable, Row] = {}
    again: list[tuple[Row, Row]] = []
    for row in rows:
        said = content(row)
        if said in first:
            again.append((row, first[said]))
        else:
            first[said] = row
    if not again:
        return []
    return [
        finding(
            code="data-duplicates",
            count=len(again),
            of=len(rows),
            text=f"{plural(len(again), 'row repeats', 'rows repeat')} an earlier one word for "
            f"word ({percent(len(again) / len(rows))}): what they say weighs double.",
            examples=(
                f"row {row.number}, as row {before.number}: {excerpt(prompt_text(row))}"
                for row, before in again
            ),
            do="Remove the repeats, unless the weight is meant.",
        )
    ]


def near_duplicates(rows: Sequence[Row], seed: int) -> list[Finding]:
    """Rows that share most of their word triples with another; exact repeats count as one.

    Their answers must be alike too: other answers to a long prompt are no copies.
    """
    unlike = list({(asked(row), answers(row)): row for row in reversed(rows)}.values())[::-1]
    texts = [f"{asked(row)}\n{answers(row)}" for row in unlike]
    copies = near_copies(texts, [answers(row) for row in unlike], seed)
    if not copies:
        return []
    long = any(len(texts[i]) > LOOKED_AT for i in copies)
    cut = f" Of longer rows the first {count(LOOKED_AT)} characters are compared." if long else ""
    return [
        finding(
            code="data-near-duplicates",
            count=len(copies),
            of=len(rows),
            text=(
                f"{plural(len(copies), 'row is', 'rows are')} nearly the same as another "
                f"({percent(len(copies) / len(rows))} of {plural(len(rows), 'row')} compared): "
                f"{percent(THRESHOLD)} or more of their word triples are shared.{cut}"
            ),
            examples=(
                f"row {unlike[i].number}, {percent(copy.similarity)} like row "
                f"{unlike[copy.other].number}: {excerpt(asked(unlike[i]))}"
                for i, copy in copies.items()
                if i < copy.other
            ),
            do="Keep one of each group, so that no few rows weigh the most.",
            source=SOURCE,
        )
    ]


def leaks(rows: Sequence[Row], heldout: float, seed: int) -> list[Finding]:
    """What of the held-out prompts the training rows already show, after the real split."""
    train, held = split(rows, heldout, seed)
    if not held or not train:
        return []
    taught = {prompt for row in train if (prompt := prompt_text(row))}
    tested = {prompt for row in held if (prompt := prompt_text(row))}
    if not tested:
        return []
    same = len(taught & tested)
    found = [
        finding(
            code="data-leak",
            count=same,
            of=len(tested),
            text=f"{count(same)} of {plural(len(tested), 'held-out prompt')} are also trained "
            "on: all rows of one prompt stay on one side of the split.",
        )
    ]
    return found + _near_leaks(train, held, seed)


def _near_leaks(train: Sequence[Row], held: Sequence[Row], seed: int) -> list[Finding]:
    """Held-out prompts of which training has a near copy. System turns do not count."""
    taught = _by_prompt(sample(train, seed, COMPARED))
    tested = _by_prompt(sample(held, seed, COMPARED))
    copies = near_copies_in(list(tested), list(taught), seed)
    if not copies:
        return []
    tests, lessons = list(tested.values()), list(taught.values())
    rows = sum(len(tests[i]) for i in copies)
    return [
        finding(
            code="data-near-leak",
            count=len(copies),
            of=len(tested),
            text=(
                f"{count(len(copies))} of {plural(len(tested), 'held-out prompt')} "
                f"({plural(rows, 'row')}) {'has' if len(copies) == 1 else 'have'} a near copy "
                f"among the training prompts: the held-out figures will look better than they are."
            ),
            examples=(
                f"row {tests[i][0].number}, {percent(copy.similarity)} like row "
                f"{lessons[copy.other][0].number}: {excerpt(asked(tests[i][0]))}"
                for i, copy in copies.items()
            ),
            do="Remove near copies.",
            source=f"{SOURCE}; {SHINGLE} words in a row, Jaccard {THRESHOLD:g}",
        )
    ]


def _by_prompt(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if prompt := asked(row):
            found[prompt].append(row)
    return found

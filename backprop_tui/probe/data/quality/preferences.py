"""Preferences at odds with one another, or with the scores that stand beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from backprop_tui.core.methods import KTO_PAPER
from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import Labelled, Pair, Row, text_of
from backprop_tui.core.text import count, percent, plural

from .parts import excerpt, finding, prompt_text

Sides = tuple[str, str]  # chosen, rejected


def contradictions(rows: Sequence[Row]) -> list[Finding]:
    """The same two answers ranked both ways, or one answer marked good and bad."""
    seen: dict[tuple[str, ...], dict[object, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if isinstance(row, Pair):
            sides = _sides(row)
            seen[(prompt_text(row), *sorted(sides))][sides].append(row)
        elif isinstance(row, Labelled):
            seen[(prompt_text(row), text_of(row.completion).strip())][row.label].append(row)
    torn = [list(verdicts.values()) for verdicts in seen.values() if len(verdicts) > 1]
    n = sum(len(group) for groups in torn for group in groups)
    if not n:
        return []
    pairs = any(isinstance(row, Pair) for row in rows)
    return [
        finding(
            code="data-contradictions",
            count=n,
            of=len(rows),
            text=(
                f"{plural(n, 'row')} ({percent(n / len(rows))}) contradict each other: "
                + ("the same two answers ranked both ways." if pairs else "")
                + ("" if pairs else "the same answer marked both good and bad.")
            ),
            examples=(
                f"row {one[0].number} against row {other[0].number}: {excerpt(prompt_text(one[0]))}"
                for one, other, *_ in torn
            ),
            do="Decide which is right and remove the others: as they are they cancel out.",
            source=KTO_PAPER,
        )
    ]


def cycles(rows: Sequence[Row]) -> list[Finding]:
    """Rankings of one prompt that go in a ring (a over b, b over c, c over a).

    One ring a prompt is counted. Two answers ranked both ways are a contradiction, not a ring.
    """
    by_prompt: dict[str, dict[Sides, int]] = defaultdict(dict)
    for row in rows:
        if isinstance(row, Pair):
            by_prompt[prompt_text(row)].setdefault(_sides(row), row.number)
    rings = [
        (prompt, ring)
        for prompt, ranked in by_prompt.items()
        if len(ranked) > 2 and (ring := _ring(ranked))
    ]
    n = sum(len(ring) for _, ring in rings)
    if not n:
        return []
    return [
        finding(
            code="data-cycles",
            count=n,
            of=len(rows),
            text=(
                f"{plural(n, 'row')} of {plural(len(rings), 'prompt')} rank answers in a ring: "
                "each is better than the next, and the last better than the first."
            ),
            examples=(
                f"rows {', '.join(map(str, ring))}: {excerpt(prompt)}" for prompt, ring in rings
            ),
            do="Remove one row of each ring: no order of the answers agrees with all.",
            source=KTO_PAPER,
        )
    ]


def _sides(row: Pair) -> Sides:
    return text_of(row.chosen).strip(), text_of(row.rejected).strip()


def _ring(ranked: dict[Sides, int]) -> tuple[int, ...]:
    """The row numbers of one ring of three or more answers; () when there is none."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for chosen, rejected in ranked:
        if (rejected, chosen) not in ranked:
            order.add(chosen, rejected)  # rejected comes first
    try:
        order.prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]  # each before the next; the first again at the end
        return tuple(sorted(ranked[(b, a)] for a, b in pairwise(ring)))
    return ()


def noise(rows: Sequence[Row]) -> tuple[float | None, list[Finding]]:
    """The share of pairs whose scores say the opposite, and what to say of it.

    Pairs with equal scores say nothing either way, so they are counted apart.
    """
    scored = list(_scored(rows))
    unequal = [(row, better, worse) for row, better, worse in scored if better != worse]
    if not unequal:
        return None, []
    against = [(row, better, worse) for row, better, worse in unequal if better < worse]
    share = len(against) / len(unequal)
    ties = len(scored) - len(unequal)
    apart = f" {plural(ties, 'pair')} with equal scores left out." if ties else ""
    return share, [
        finding(
            code="data-label-noise",
            count=len(against),
            of=len(unequal),
            text=(
                f"The scores say the opposite of the choice in {count(len(against))} of "
                f"{plural(len(unequal), 'scored pair')} ({percent(share)}): likely label noise."
                if against
                else f"The scores agree with the choice in all {count(len(unequal))} pairs "
                "that they tell apart."
            )
            + apart,
            examples=(
                f"row {row.number}, {better:g} against {worse:g}: {excerpt(prompt_text(row))}"
                for row, better, worse in against
            ),
            do="" if not against else _what_to_do(share),
            source=KTO_PAPER if against else "",
        )
    ]


def _what_to_do(share: float) -> str:
    if share > 0.5:
        return "The sides may be swapped: look at these rows, then map chosen and rejected anew."
    return "Look at these rows; swap or remove those the scores are right about."


def _scored(rows: Sequence[Row]) -> Iterator[tuple[Pair, float, float]]:
    for row in rows:
        if isinstance(row, Pair) and row.scores is not None:
            yield row, *row.scores

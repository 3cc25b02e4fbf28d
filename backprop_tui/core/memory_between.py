"""The best that is known of a plan's memory: exact, between two exact answers, or rough.

On the lean engine the peak is a maximum of straight lines in the tokens of a batch, but for the
tile of logits, which grows to its size and no further. But for that, such a curve lies below the
straight line between two of its points: with room for the tile, two answers bound what is between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import Estimate, estimate
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.memory_rough import TILE
from backprop_tui.core.runfile import RunFile

Answers = Mapping[MemoryQuestion, MemoryAnswer]
# What two questions must share for a line between them. The config, the longest, comes last.
SHARED = (
    *("method", "engine", "precision", "lora", "checkpoint_every", "optimizer"),
    *("batch_tokens", "accumulates", "on_card", "parameters", "config"),
)
TIGHT = 1.1  # tokens on the line over those asked about: above this the line says too little


def best_estimate(
    run: RunFile, facts: Facts, rows: TrainRows | None = None, free_ram: int | None = None
) -> Estimate | None:
    """As `memory.estimate_of`, and between two answers never below what is needed.

    A bound that fits counts as exact; one that does not fit is rough, for less may be needed.
    """
    plan = effective(run, facts, rows)
    asked = question(run, facts, plan)
    answers = facts.memory.answers
    bound = between(asked, answers) if asked and asked not in answers else None
    if asked is None or bound is None:
        return estimate(run, facts, plan, free_ram)
    memory = replace(facts.memory, answers={asked: bound})
    found = estimate(run, replace(facts, memory=memory), plan, free_ram)
    return replace(found, rough=True) if found and found.fits is not True else found


def between(asked: MemoryQuestion, answers: Answers) -> MemoryAnswer | None:
    """An answer that is never too low, from two that enclose what is asked; None without them."""
    if asked.engine != "lean" or asked.method == "sft" or asked.batch_tokens is not None:
        return None  # TRL's losses and a batch in parts do not grow along straight lines
    alike = [(q, answer) for q, answer in answers.items() if answer.parts and _alike(q, asked)]
    bounds = [
        _on_the_line(low, high, share)
        for low_asked, low in alike
        for high_asked, high in alike
        if (share := _share(asked, low_asked, high_asked)) is not None
    ]
    return min(bounds, key=lambda answer: answer.tensors, default=None)


def _alike(one: MemoryQuestion, other: MemoryQuestion) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in SHARED)


def _on_the_line(low: MemoryAnswer, high: MemoryAnswer, share: float) -> MemoryAnswer:
    """So far from one answer to the other, rounded up."""
    first, last = low.parts or {}, high.parts or {}
    names = dict.fromkeys((*first, *last))
    parts = {
        name: int(first.get(name, 0) + share * (last.get(name, 0) - first.get(name, 0))) + 1
        for name in names
    }
    parts["loss"] = parts.get("loss", 0) + 2 * TILE
    return MemoryAnswer(parts=parts, at=high.at)


def _share(asked: MemoryQuestion, low: MemoryQuestion, high: MemoryQuestion) -> float | None:
    """How far from low to high, 0 to 1, so that no row there is shorter than the one asked about.

    None when it does not lie between them, or when the rows there are much longer.
    """
    counts = len(low.rows), len(asked.rows), len(high.rows)
    if counts[0] != counts[2]:
        return _share_of_rows(asked, low, high)
    if counts[0] != counts[1]:
        return None
    share = 0.0
    sides = tuple(zip(_lengths(low), _lengths(asked), _lengths(high), strict=True))
    for first, here, last in sides:
        if not first <= here <= last:
            return None
        if first < last:
            share = max(share, (here - first) / (last - first))
    line = sum(first + share * (last - first) for first, _, last in sides)
    return share if line <= TIGHT * sum(here for _, here, _ in sides) else None


def _share_of_rows(
    asked: MemoryQuestion, low: MemoryQuestion, high: MemoryQuestion
) -> float | None:
    """The same where only the number of rows differs, all added ones equally long."""
    fewest, here, most = len(low.rows), len(asked.rows), len(high.rows)
    if not fewest <= here <= most or not low.max_length == asked.max_length == high.max_length:
        return None
    same = high.rows[:fewest] == low.rows and high.rows[:here] == asked.rows
    if not same or len(set(high.rows[fewest:])) > 1:
        return None
    return (here - fewest) / (most - fewest)


def _lengths(asked: MemoryQuestion) -> Iterator[int]:
    """Every length of a question, in one order."""
    return chain((asked.max_length,), *asked.rows)

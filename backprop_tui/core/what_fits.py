"""What fits on this card: a table of method, precision and max_length, and what is still to be
asked. Pure; exact wherever the answers are in `facts.memory`. All that a screen needs is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from backprop_tui.core.effective import TrainRows, effective, smallest_batch
from backprop_tui.core.facts import Facts
from backprop_tui.core.fit_words import in_words, words
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory import not_modelled
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_between import best_estimate, between
from backprop_tui.core.memory_question import MemoryQuestion
from backprop_tui.core.memory_rough import BYTES_PER_WEIGHT
from backprop_tui.core.methods import METHODS, methods_for
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.smallest_change import (
    LARGEST_BATCH,
    LENGTHS,
    Changes,
    changed,
    largest_batch,
    least,
    most_rows,
    smallest_change,
    with_batch,
)

__all__ = [
    "LARGEST_BATCH",
    "LENGTHS",
    "Cell",
    "Fix",
    "Verdict",
    "best_estimate",
    "in_words",
    "largest_batch",
    "smallest_change",
    "table",
    "wanted",
    "words",
]

Verdict = Literal["fits", "changes", "no", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One plan of the table.

    changes: keys of the run file that make it this plan, those that make it fit among them.
    needed: bytes with those changes; where nothing helps, the least it needs. rough: not exact yet.
    """

    method: str
    precision: str
    max_length: int
    verdict: Verdict
    needed: int | None
    rough: bool
    changes: tuple[tuple[str, Any], ...] = ()


def table(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> tuple[Cell, ...]:
    """The methods the data can be trained with, times precisions, times LENGTHS.

    "changes": with checkpointing every layer and the smallest batch it fits.
    """
    cells = [
        _cell(run, facts, rows, free_ram, place, changes)
        for place, changes in _places(run, facts, rows)
    ]
    return tuple(_of_one_mind(cell, cells) for cell in cells)


def _of_one_mind(cell: Cell, cells: Sequence[Cell]) -> Cell:
    """A rough cell by what is exact of others: longer rows than some that do not fit do not."""
    shorter = (
        one
        for one in cells
        if (one.method, one.precision) == (cell.method, cell.precision)
        and one.max_length < cell.max_length
        and (one.verdict, one.rough) == ("no", False)
    )
    least = max((one.needed or 0 for one in shorter), default=None)
    if not cell.rough or least is None:
        return cell
    return replace(cell, verdict="no", needed=max(least, cell.needed or 0), rough=False)


def wanted(
    run: RunFile,
    facts: Facts,
    rows: TrainRows | None,
    free_ram: int | None = None,
    *,
    of_table: bool = True,
) -> tuple[MemoryQuestion, ...]:
    """Questions without an answer yet, most wanted first: of the plan, of the change that makes
    it fit, of the largest batch, of the table (its shortest and longest rows first). Answering
    makes some needless and may raise new ones: ask again after each.

    of_table: those of the table too, some dozens.
    """
    if not_modelled(run, facts, effective(run, facts, rows)):
        return ()
    change = smallest_change(run, facts, rows, free_ram)
    plans = chain(
        [run],
        [changed(run, change.changes)] if change else [],
        _batches_wanted(run, facts, rows, free_ram),
        _cells_wanted(run, facts, rows, free_ram) if of_table else (),
    )
    asked = (question(plan, facts, effective(plan, facts, rows)) for plan in plans)
    return tuple(dict.fromkeys(q for q in asked if q and q not in facts.memory.answers))


# The table


def _places(
    run: RunFile, facts: Facts, rows: TrainRows | None
) -> Iterator[tuple[tuple[str, str, int], Changes]]:
    """Method, precision and max_length of each cell, and the keys that differ from the plan."""
    for method in _methods(run, facts):
        to_method: Changes = (("method", method),) if method != run.method else ()
        of_method = changed(run, to_method)
        plan = effective(of_method, facts, rows)
        for precision in _precisions(run, facts, plan.device, plan.precision):
            other = precision != plan.precision
            to_precision: Changes = (("model.precision", precision),) if other else ()
            for length in _lengths(facts, plan.max_length):
                longer = length != plan.max_length
                to_length: Changes = (("data.max_length", length),) if longer else ()
                yield (method, precision, length), (*to_method, *to_precision, *to_length)


def _methods(run: RunFile, facts: Facts) -> tuple[str, ...]:
    """Other objectives are only there when they are the present one."""
    shape = facts.data.shape if facts.data else "other"
    fitting = methods_for(shape) if shape != "other" else tuple(METHODS)
    return tuple(name for name in fitting if name == run.method or not METHODS[name].other)


def _precisions(run: RunFile, facts: Facts, device: str, present: str) -> tuple[str, ...]:
    """Widest first, the present one among them. Only frozen weights may be quantised."""
    card = facts.gpu_card
    half = "fp16" if card and card.bf16 is False else "bf16"
    quantised = ("int8", "nf4") if run.lora is not None else ()
    usual = ("fp32",) if device == "cpu" else (half, *quantised)
    return tuple(name for name in BYTES_PER_WEIGHT if name in usual or name == present)[::-1]


def _lengths(facts: Facts, present: int) -> list[int]:
    """Up to what the model reads, the present one among them."""
    context = (facts.model.context if facts.model else None) or max(LENGTHS)
    return sorted({present, *(length for length in LENGTHS if length <= context)})


def _cell(
    run: RunFile,
    facts: Facts,
    rows: TrainRows | None,
    free_ram: int | None,
    place: tuple[str, str, int],
    changes: Changes,
) -> Cell:
    method, precision, length = place
    plan = changed(run, changes)
    found = best_estimate(plan, facts, rows, free_ram)
    verdict: Verdict = "unknown"
    needed, rough = (found.needed, found.rough) if found else (None, True)
    if found and found.fits:
        verdict = "fits"
    elif found and found.fits is False:
        more = least(plan, effective(plan, facts, rows))
        lowest = best_estimate(changed(plan, more), facts, rows, free_ram)
        verdict = "no"
        if lowest:
            needed, rough = lowest.needed, rough or lowest.rough
        if lowest and lowest.fits:
            verdict, changes = "changes", (*changes, *more)
    return Cell(
        method=method,
        precision=precision,
        max_length=length,
        verdict=verdict,
        needed=needed,
        rough=rough,
        changes=changes,
    )


# What is still to be asked


def _batches_wanted(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None
) -> Iterator[RunFile]:
    """The largest batch; once that is known to fit, twice as many rows, to lie between the two."""
    batch, most = largest_batch(run, facts, rows, free_ram), most_rows(rows)
    if batch is None:
        return
    there = with_batch(run, max(batch, smallest_batch(run)))
    found = best_estimate(there, facts, rows, free_ram)
    if found and found.rough:
        yield there
    elif batch and batch < most and not _bounded(with_batch(run, batch + 1), facts, rows):
        yield with_batch(run, min(2 * batch, most))


def _bounded(run: RunFile, facts: Facts, rows: TrainRows | None) -> bool:
    """Whether the plan has an answer, or lies between two."""
    asked = question(run, facts, effective(run, facts, rows))
    answers = facts.memory.answers
    return asked is None or asked in answers or between(asked, answers) is not None


def _cells_wanted(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None
) -> Iterator[RunFile]:
    """Cells that are rough, the shortest and longest of each kind first: they bound the others."""
    places = tuple(_places(run, facts, rows))
    lengths = [length for (_, _, length), _ in places]
    ends = (min(lengths, default=0), max(lengths, default=0))

    def late(place: tuple[tuple[str, str, int], Changes]) -> tuple[bool, bool]:
        (method, _, length), _ = place
        return length not in ends, method != run.method

    for place, changes in sorted(places, key=late):
        if not _cell(run, facts, rows, free_ram, place, changes).rough:
            continue
        plan = changed(run, changes)
        yield plan
        found = best_estimate(plan, facts, rows, free_ram)
        if found and found.fits is False:
            yield changed(plan, least(plan, effective(plan, facts, rows)))

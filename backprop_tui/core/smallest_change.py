"""Which change makes a plan fit, and how large a batch may be. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.effective import Effective, TrainRows, effective, smallest_batch
from backprop_tui.core.facts import Facts
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory_between import best_estimate
from backprop_tui.core.runfile import RunFile

LENGTHS = (512, 1024, 2048, 4096)  # tokens
SHORTEST = 256  # tokens: below this a change would cut most answers
EVERY = (4, 2, 1)  # checkpointing every so many layers, the quickest first
LARGEST_BATCH = 64  # rows: more are not asked about, for each takes the exact answer time

Changes = tuple[tuple[str, Any], ...]
Fits = Callable[[Sequence[Fix]], bool]


def smallest_change(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> Fix | None:
    """The first change that makes the plan fit: checkpointing every n layers (the largest n that
    fits), then the batch (same effective batch), then precision, then max_length. Each by itself
    first, then on top of the ones before. Where all together are not enough: the lean engine, an
    adapter. None when it fits already, when nothing does, or when that is unknown.

    free_ram: bytes, what a CPU run may use.
    """
    now = best_estimate(run, facts, rows, free_ram)
    if now is None or now.fits is not False:
        return None

    def fits(fixes: Sequence[Fix]) -> bool:
        found = best_estimate(changed(run, together(fixes)), facts, rows, free_ram)
        return found is not None and found.fits is True

    kinds = change_kinds(run, effective(run, facts, rows))
    usual, others = kinds[:4], kinds[4:]
    chosen = _first(usual, fits) or (_first((*others, *usual), fits) if any(others) else None)
    if not chosen:
        return None
    return Fix(", ".join(fix.label for fix in chosen), together(chosen))


def largest_batch(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> int | None:
    """Rows a batch may have, everything else as it is; 0 when not even one fits. At most
    LARGEST_BATCH, and no more than there are. None when that is unknown."""

    def fits(batch: int) -> bool | None:
        found = best_estimate(with_batch(run, batch), facts, rows, free_ram)
        return found.fits if found else None

    most = most_rows(rows)
    low = smallest_batch(run)
    first = fits(low)
    if not first:
        return None if first is None else 0
    high = low + 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)  # low fits; high does not, or is more than there may be
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def most_rows(rows: TrainRows | None) -> int:
    """Rows that the largest batch may have at most."""
    return min(LARGEST_BATCH, rows.train) if rows and rows.train else LARGEST_BATCH


def with_batch(run: RunFile, batch: int) -> RunFile:
    """The plan with another batch size, nothing else changed."""
    return changed(run, (("training.batch_size", batch),))


def changed(run: RunFile, changes: Changes) -> RunFile:
    """The plan with some keys changed."""
    return runfile_io.change(run, dict(changes)) if changes else run


def together(fixes: Sequence[Fix]) -> Changes:
    """The keys of several changes, the later one's value where two set the same."""
    return tuple({key: value for fix in fixes for key, value in fix.changes}.items())


def least(run: RunFile, plan: Effective) -> Changes:
    """Checkpointing every layer and the smallest batch, as far as they are changes."""
    checkpointing, batch = change_kinds(run, plan)[:2]
    return together([kind[-1] for kind in (checkpointing, batch) if kind])


def change_kinds(run: RunFile, plan: Effective) -> tuple[tuple[Fix, ...], ...]:
    """Checkpointing, batch, precision, max_length; then the lean engine, an adapter.

    Of each kind what may still be changed, the mildest first; empty where nothing may.
    """
    quantised = Fix("nf4 weights", (("model.precision", "nf4"),))
    may_quantise = plan.device == "cuda" and plan.precision != "nf4"
    adapter = Fix("an adapter (LoRA)", (("lora", {}),))
    full = run.lora is None
    trl = run.engine == "trl" and run.method != "sft"
    return (
        _checkpointing(run),
        _batches(run, plan),
        (quantised,) if may_quantise and not full else (),
        tuple(
            Fix(f"max_length {length}", (("data.max_length", length),))
            for length in (*reversed(LENGTHS), SHORTEST)
            if length < plan.max_length
        ),
        (Fix("the lean engine", (("engine", "lean"),)),) if trl else (),
        (adapter, *((_both(adapter, quantised),) if may_quantise else ())) if full else (),
    )


def _both(one: Fix, other: Fix) -> Fix:
    return Fix(f"{one.label}, {other.label}", (*one.changes, *other.changes))


def _checkpointing(run: RunFile) -> tuple[Fix, ...]:
    training = run.training
    present = training.checkpoint_every if training.checkpointing else None
    found = []
    for every in EVERY:
        if present is not None and every >= present:
            continue
        changes: Changes = () if training.checkpointing else (("training.checkpointing", True),)
        if every != training.checkpoint_every:
            changes = (*changes, ("training.checkpoint_every", every))
        layers = "every layer" if present else "on"
        found.append(
            Fix(f"checkpointing {layers if every == 1 else f'every {every} layers'}", changes)
        )
    return tuple(found)


def _batches(run: RunFile, plan: Effective) -> tuple[Fix, ...]:
    """Half the batch and half again, where the effective batch can stay as it is."""
    smallest, effective_batch = smallest_batch(run), plan.batch_size * plan.accumulation
    found, batch = [], plan.batch_size
    while batch > smallest:
        batch = max(batch // 2, smallest)
        if effective_batch % batch and batch > smallest:
            continue
        accumulation = math.ceil(effective_batch / batch)
        found.append(
            Fix(
                f"batch {batch} x {accumulation}",
                (("training.batch_size", batch), ("training.accumulation", accumulation)),
            )
        )
    return tuple(found)


def _first(kinds: Sequence[Sequence[Fix]], fits: Fits) -> list[Fix] | None:
    """One change where one is enough; else the most of each kind until the next one fits, and then
    as little of the earlier ones as still fits."""
    kinds = [kind for kind in kinds if kind]
    for fix in (fix for kind in kinds for fix in kind):
        if fits([fix]):
            return [fix]
    for end, kind in enumerate(kinds):
        before = [earlier[-1] for earlier in kinds[:end]]
        for fix in kind:
            if fits([*before, fix]):
                return _relaxed(kinds, [*before, fix], fits)
    return None


def _relaxed(kinds: Sequence[Sequence[Fix]], chosen: list[Fix], fits: Fits) -> list[Fix]:
    """The later a kind, the more it costs the user: the later ones are eased first."""
    eased: list[list[Fix]] = [[fix] for fix in chosen]
    for place in reversed(range(len(chosen) - 1)):
        for milder in ([], *([fix] for fix in kinds[place])):
            attempt = [*eased[:place], milder, *eased[place + 1 :]]
            if fits([fix for part in attempt for fix in part]):
                eased = attempt
                break
    return [fix for part in eased for fix in part]

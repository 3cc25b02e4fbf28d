"""Whether a plan fits, in words."""

from __future__ import annotations

from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.facts import Facts, Gpu, GpuProcess
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory import Estimate, not_modelled
from backprop_tui.core.memory_between import best_estimate
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.smallest_change import smallest_change
from backprop_tui.core.text import size

PLURAL = ("weights", "gradients", "activations")  # parts of the estimate


def words(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> str | None:
    """Whether the plan fits, in words, whatever is known; None while the model is not."""
    plan = effective(run, facts, rows)
    if reason := not_modelled(run, facts, plan):
        return unknown_in_words(reason)
    memory = best_estimate(run, facts, rows, free_ram)
    if memory is None:
        return "cannot be estimated: its config does not give its sizes" if facts.model else None
    change = smallest_change(run, facts, rows, free_ram)
    return in_words(memory, change, facts.gpu_card if plan.device == "cuda" else None)


def unknown_in_words(reason: str) -> str:
    """Why there is no estimate, and what is done about it. reason: as `not_modelled` gives it."""
    return f"cannot be estimated: {reason}; it is measured before training starts"


def in_words(memory: Estimate, change: Fix | None, card: Gpu | None = None) -> str:
    """ "fits with 2.1 GB to spare", or "does not fit: loss takes 6.2 GB; max_length 1024 would
    fit".

    card: the one it is to run on, to name who holds memory on it.
    """
    roughly = "roughly: " if memory.rough else ""
    if memory.fits is None or memory.spare is None:
        return f"{roughly}how much is free is not known: needs {size(memory.needed)}"
    if memory.fits:
        return f"{roughly}fits with {size(memory.spare)} to spare"
    part = memory.largest
    takes = f"{part} {'take' if part in PLURAL else 'takes'} {size(memory.parts[part])}"
    way = f"{change.label} would fit" if change else "nothing this tool can change makes it fit"
    without = _in_the_way(memory, card)
    names = " and ".join(f"{_name(process)} ({size(process.memory)})" for process in without)
    free = f"; it would fit without {names}" if names else ""
    return f"{roughly}does not fit: {takes}; {way}{free}"


def _in_the_way(memory: Estimate, card: Gpu | None) -> tuple[GpuProcess, ...]:
    """The smallest other process that would free enough, or as few of the largest as would."""
    missing = -(memory.spare or 0)
    held = sorted(
        (process for process in (card.processes if card else None) or () if process.memory),
        key=lambda process: process.memory or 0,
    )
    for process in held:
        if (process.memory or 0) >= missing:
            return (process,)
    freed, found = 0, []
    for process in reversed(held):
        freed += process.memory or 0
        found.append(process)
        if freed >= missing:
            return tuple(found)
    return ()


def _name(process: GpuProcess) -> str:
    return process.name or f"process {process.pid}"

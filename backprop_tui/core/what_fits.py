"""What fits on this card: which change makes a plan fit, how large a batch may be, and a table of
method, precision and max_length. Pure; exact wherever the answers are in `facts.memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from backprop_tui.core.effective import TrainRows
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import Estimate
from backprop_tui.core.memory_question import MemoryQuestion
from backprop_tui.core.rules.advice import Fix
from backprop_tui.core.runfile import RunFile

Verdict = Literal["fits", "changes", "no", "unknown"]
LENGTHS = (512, 1024, 2048, 4096)  # columns of the table, up to what the model reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One plan of the table. changes: keys of the run file that make it this plan, those that
    make it fit among them. needed: bytes, as it would be trained. rough: not exact yet."""

    method: str
    precision: str
    max_length: int
    verdict: Verdict
    needed: int | None
    rough: bool
    changes: tuple[tuple[str, Any], ...] = ()


def smallest_change(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> Fix | None:
    """The first change that makes the plan fit: checkpointing every n layers (the largest n that
    fits), then the batch (same effective batch), then precision, then max_length; each on top of
    the ones before. None when it fits already, when nothing does, or when that is unknown."""
    raise NotImplementedError


def largest_batch(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> int | None:
    """Rows a batch may have, everything else as it is; 0 when not even one fits."""
    raise NotImplementedError


def table(
    run: RunFile, facts: Facts, rows: TrainRows | None, free_ram: int | None = None
) -> tuple[Cell, ...]:
    """The methods the data can be trained with, times precisions, times LENGTHS."""
    raise NotImplementedError


def wanted(run: RunFile, facts: Facts, rows: TrainRows | None) -> tuple[MemoryQuestion, ...]:
    """Questions without an answer yet, most wanted first: of the plan, of the change that makes
    it fit, of the largest batch, of the table. Answering makes some needless and may raise new
    ones: ask again after each."""
    raise NotImplementedError


def in_words(memory: Estimate, change: Fix | None) -> str:
    """ "fits with 2.1 GB to spare", or "does not fit: loss takes 6.2 GB; max_length 1024 would
    fit"."""
    raise NotImplementedError

"""A plan that does not fit -> the next smaller one; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backprop_tui.core.effective import Effective, smallest_batch
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.core.text import count

SHORTEST = 128  # tokens: a row is not cut below it
MULTIPLE = 64  # tokens: lengths that kernels like


@dataclass(frozen=True, slots=True)
class Lowered:
    """The run file with these keys changed, and what that does, in words."""

    run: RunFile
    changes: tuple[tuple[str, Any], ...]
    words: str


def lowered(run: RunFile, plan: Effective) -> Lowered | None:
    """Before step 1. Every layer recomputed; then a smaller batch, added up as much more often, so
    that a step has the same rows. None when neither is left."""
    return _recomputed(run) or _smaller_batch(run, plan)


def amended(run: RunFile, plan: Effective) -> Lowered | None:
    """While it trains. A smaller batch, added up as much more often; then every layer recomputed;
    then, where guards.shorten_rows allows it, shorter rows. None when nothing of it is left.

    Shorter rows are a smaller data.max_length: the only change here that trains another plan.
    """
    return _smaller_batch(run, plan) or _recomputed(run) or _shorter_rows(run, plan)


def _recomputed(run: RunFile) -> Lowered | None:
    training = run.training
    if training.checkpointing and training.checkpoint_every == 1:
        return None
    words = "activations are recomputed in every layer, which takes longer"
    return _changed(run, {"training.checkpointing": True, "training.checkpoint_every": 1}, words)


def _smaller_batch(run: RunFile, plan: Effective) -> Lowered | None:
    batch = _smaller(plan.batch_size, smallest_batch(run))
    if batch is None:
        return None
    times = plan.accumulation * plan.batch_size // batch
    words = (
        f"batches of {batch} are added up {times} times, before it were {plan.batch_size} and "
        f"{plan.accumulation}; a step has the same rows"
    )
    return _changed(run, {"training.batch_size": batch, "training.accumulation": times}, words)


def _shorter_rows(run: RunFile, plan: Effective) -> Lowered | None:
    """Three quarters of the length."""
    if not run.guards.shorten_rows:
        return None
    length = max(SHORTEST, plan.max_length * 3 // 4 // MULTIPLE * MULTIPLE)
    if length >= plan.max_length:
        return None
    words = (
        f"rows are cut to {count(length)} tokens, before it were {count(plan.max_length)}: the "
        "prompt first, and an answer that is too long by itself"
    )
    # Every row stays, so that the order of those to come does.
    changes: dict[str, Any] = {"data.max_length": length, "data.cut_answers": True}
    return _changed(run, changes, words)


def _smaller(batch: int, least: int) -> int | None:
    """Half of a batch, or a third where it has no half, ...: a whole number of times in it."""
    return next(
        (batch // n for n in range(2, batch + 1) if batch % n == 0 and batch // n >= least), None
    )


def _changed(run: RunFile, changes: dict[str, Any], words: str) -> Lowered:
    return Lowered(change(run, changes), tuple(changes.items()), words)

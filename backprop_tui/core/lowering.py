"""A plan that does not fit -> the next smaller one that trains the same; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backprop_tui.core.effective import Effective, smallest_batch
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change


@dataclass(frozen=True, slots=True)
class Lowered:
    """The run file with these keys changed, and what that does, in words."""

    run: RunFile
    changes: tuple[tuple[str, Any], ...]
    words: str


def lowered(run: RunFile, plan: Effective) -> Lowered | None:
    """Every layer recomputed; then a smaller batch, added up as much more often, so that a step
    has the same rows. None when neither is left."""
    training = run.training
    if not training.checkpointing or training.checkpoint_every > 1:
        words = "activations are recomputed in every layer, which takes longer"
        changes: dict[str, Any] = {"training.checkpointing": True, "training.checkpoint_every": 1}
        return _changed(run, changes, words)
    batch = _smaller(plan.batch_size, smallest_batch(run))
    if batch is None:
        return None
    times = plan.accumulation * plan.batch_size // batch
    words = (
        f"batches of {batch} are added up {times} times, before it were {plan.batch_size} and "
        f"{plan.accumulation}; a step has the same rows"
    )
    return _changed(run, {"training.batch_size": batch, "training.accumulation": times}, words)


def _smaller(batch: int, least: int) -> int | None:
    """Half of a batch, or a third where it has no half, ...: a whole number of times in it."""
    return next(
        (batch // n for n in range(2, batch + 1) if batch % n == 0 and batch // n >= least), None
    )


def _changed(run: RunFile, changes: dict[str, Any], words: str) -> Lowered:
    return Lowered(change(run, changes), tuple(changes.items()), words)

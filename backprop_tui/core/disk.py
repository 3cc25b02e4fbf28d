"""How much disk a run needs: its checkpoints, and what it leaves behind."""

from __future__ import annotations

from backprop_tui.core.effective import Effective
from backprop_tui.core.memory import Estimate
from backprop_tui.core.runfile import RunFile

KEPT = 2  # newest checkpoints
# The best on the held-out rows beside them, and the next, written before the oldest goes.
AT_ONCE = KEPT + 2


def disk_needed(run: RunFile, plan: Effective, memory: Estimate) -> int:
    """Bytes at most: the checkpoints with the optimizer's state, and the final weights.

    They are written as they are held, so the parts of the estimate are what lands on disk.
    """
    weights = memory.parts["adapter" if run.lora is not None else "weights"]
    return at_most(plan.steps, weights + memory.parts["optimizer"], weights)


def at_most(steps: int, checkpoint: int, result: int) -> int:
    """Bytes of the checkpoints that are there at once and of the result, each given in bytes.

    A checkpoint can follow every step, however few are planned: by the clock, before a pause, and
    when somebody asks. steps: 0 where it is not known how many.
    """
    steps = steps or AT_ONCE
    return max(
        min(steps, AT_ONCE) * checkpoint,
        min(steps, AT_ONCE - 1) * checkpoint + result,
    )

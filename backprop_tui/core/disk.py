"""How much disk a run needs: its checkpoints, and what it leaves behind."""

from __future__ import annotations

import math

from backprop_tui.core.effective import Effective
from backprop_tui.core.memory import Estimate
from backprop_tui.core.runfile import RunFile

KEPT = 2  # checkpoints; one more for a moment, while it is written and the oldest is not yet gone


def disk_needed(run: RunFile, plan: Effective, memory: Estimate) -> int:
    """Bytes at most: the checkpoints with the optimizer's state, and the final weights.

    They are written as they are held, so the parts of the estimate are what lands on disk.
    """
    weights = memory.parts["adapter" if run.lora is not None else "weights"]
    checkpoint = weights + memory.parts["optimizer"]
    saves = math.ceil(plan.steps / plan.save_steps) if plan.steps else KEPT
    while_saving = min(saves, KEPT + 1) * checkpoint
    at_the_end = min(saves, KEPT) * checkpoint + weights
    return max(while_saving, at_the_end)

"""Which answer stands in for "an answer to another prompt" in the KL term of kto.

arXiv:2402.01306, section 4.1, estimates the KL divergence from answers that do not belong to
their prompts. They are drawn here from the whole set, once, by a seed: so that a batch of one is
possible, the frozen base is measured once, and a replay uses the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from backprop_tui.train.encoded import EncodedLabelled

NEAR = 64  # rows looked through for one with another prompt


def mismatched(rows: Sequence[EncodedLabelled], seed: int) -> list[int]:
    """For every row, the index of the row whose answer it borrows.

    Rows form a circle in an order drawn from the seed; each borrows from the next one round that
    belongs to another prompt, so that every answer is borrowed about once. Where none is near, as
    in a set with one prompt, the next row's is taken.
    """
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    found = [0] * len(rows)
    for place, row in enumerate(order):
        found[row] = order[(place + 1) % len(order)]
        for step in range(1, min(len(order), NEAR)):
            other = order[(place + step) % len(order)]
            if not _same_prompt(rows[other], rows[row]):
                found[row] = other
                break
    return found


def _same_prompt(a: EncodedLabelled, b: EncodedLabelled) -> bool:
    return a.number == b.number or a.prompt == b.prompt

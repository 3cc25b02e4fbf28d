"""The quality report: what is wrong with the rows themselves, each finding with its figures.

    quality = report(loaded.rows, seed=0)

What compares rows with each other looks at all rows given; what reads texts looks at a
sample of them, the same for the same seed. `rensa` is imported only when a report is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from backprop_tui.core.quality import Quality
from backprop_tui.core.rows import Row

from ..clean import SAMPLE, sample
from .answers import placeholders, refusals, short_answers
from .preferences import contradictions, cycles, noise
from .repeats import duplicates, leaks, near_duplicates
from .scripts import scripts

__all__ = ["report"]


def report(
    rows: Sequence[Row], seed: int = 0, *, heldout: float = 0.1, most: int = SAMPLE
) -> Quality:
    """All findings on the rows that can be trained. Raises nothing on any rows.

    heldout, seed: of the split whose two sides are compared. most: texts read at most.
    """
    sampled = sample(rows, seed, most)
    noisy, told = noise(rows)
    shares, of_scripts = scripts(sampled)
    return Quality(
        rows=len(sampled),
        findings=(
            *contradictions(rows),
            *cycles(rows),
            *told,
            *leaks(rows, heldout, seed),
            *duplicates(rows),
            *near_duplicates(sampled, seed),
            *refusals(sampled),
            *placeholders(sampled),
            *short_answers(sampled),
            *of_scripts,
        ),
        noise=noisy,
        scripts=shares,
    )

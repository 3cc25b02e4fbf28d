"""Rows that were measured -> the figures shown, the same names for every method.

Every figure is a mean over rows, so it does not depend on how the rows fell into batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from backprop_tui.train.evals.bootstrap import bootstrap, mean

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLES = 2_000  # at each measurement; the ends of an interval then move by some percent of it


class Measured(NamedTuple):
    """Rows of one or more batches, detached, on the CPU, float32. [a] good answers, [b] bad ones
    (paired: a == b, in the same order); logps are sums, lengths are tokens. losses: [a] where
    paired, else [a + b]. kl: a scalar, estimated on the rows that losses has."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    chosen_logps: Tensor
    rejected_logps: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    kl: Tensor | None = None


def merge(parts: Sequence[Measured]) -> Measured:
    """All rows of all parts, in order; kl weighted by the rows of each part that has one.

    Raises ValueError when there are no parts.
    """
    import torch

    if not parts:
        raise ValueError("nothing was measured: merge needs at least one part")
    weighted = [(len(part.losses), part.kl) for part in parts if part.kl is not None]
    total = sum(n for n, _ in weighted)
    kl = torch.stack([kl * (n / total) for n, kl in weighted]).sum() if total else None
    return Measured(
        losses=torch.cat([part.losses for part in parts]),
        chosen_rewards=torch.cat([part.chosen_rewards for part in parts]),
        rejected_rewards=torch.cat([part.rejected_rewards for part in parts]),
        chosen_logps=torch.cat([part.chosen_logps for part in parts]),
        rejected_logps=torch.cat([part.rejected_logps for part in parts]),
        chosen_lengths=torch.cat([part.chosen_lengths for part in parts]),
        rejected_lengths=torch.cat([part.rejected_lengths for part in parts]),
        kl=kl,
    )


def figures(measured: Measured, paired: bool) -> dict[str, float]:
    """The figures of these rows, by the names the trainer logs them under.

    "loss"; "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies";
    "logps/chosen", "logps/rejected": per token of an answer, averaged over answers;
    "logps_sum/chosen", "logps_sum/rejected": per answer; "kl".

    accuracies: the share of pairs whose chosen reward is the higher one; without pairs, the same
    over every pair of a good and a bad row (the area under the ROC curve). A tie counts half, so
    a policy that is still its own reference reads 0.5 with every method.
    margins: the mean difference; without pairs, the difference of the means.

    A side without rows has no keys, and neither has a figure that is not a finite number. The
    loss alone is told whatever it is: a run that broke is noticed by it.
    """
    found: dict[str, float] = {}
    for side, rewards, logps, lengths in (
        ("chosen", measured.chosen_rewards, measured.chosen_logps, measured.chosen_lengths),
        ("rejected", measured.rejected_rewards, measured.rejected_logps, measured.rejected_lengths),
    ):
        if len(rewards):
            answered = lengths > 0  # an empty answer has no mean per token
            found[f"rewards/{side}"] = _mean(rewards)
            found[f"logps_sum/{side}"] = _mean(logps)
            found[f"logps/{side}"] = _mean(logps[answered].double() / lengths[answered])
    if len(measured.chosen_rewards) and len(measured.rejected_rewards):
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
        compare = _share_of_pairs if paired else _ranked_above
        found["rewards/accuracies"] = compare(measured.chosen_rewards, measured.rejected_rewards)
    if measured.kl is not None:
        found["kl"] = float(measured.kl)
    found = {key: value for key, value in found.items() if math.isfinite(value)}
    if len(measured.losses):
        found["loss"] = _mean(measured.losses)
    return found


def intervals(measured: Measured) -> dict[str, float]:
    """95 % bootstrap intervals of margin and accuracy over pairs, under the names of `figures` with
    _low and _high. Nothing for a single pair, or where a reward is not a finite number.

    The draws have a generator of their own: those of the training are left alone.
    """
    margins = (measured.chosen_rewards - measured.rejected_rewards).double()
    if len(margins) < 2 or not margins.isfinite().all():
        return {}
    right = (margins > 0).double() + (margins == 0).double() / 2
    found: dict[str, float] = {}
    for name, values in (("rewards/margins", margins), ("rewards/accuracies", right)):
        low, high = bootstrap([values.tolist()], mean, resamples=RESAMPLES)
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def _mean(values: Tensor) -> float:
    """NaN without values."""
    return float(values.double().mean())


def _share_of_pairs(chosen: Tensor, rejected: Tensor) -> float:
    """How often chosen is above rejected, pair by pair. NaN when one of them is."""
    if chosen.isnan().any() or rejected.isnan().any():
        return math.nan
    return _mean((chosen > rejected).double() + (chosen == rejected).double() / 2)


def _ranked_above(good: Tensor, bad: Tensor) -> float:
    """How often a good reward is above a bad one, over all of them. NaN when one of them is.

    By sorting: n log n steps, and no table of all pairs.
    """
    import torch

    if good.isnan().any() or bad.isnan().any():
        return math.nan
    ordered = bad.sort().values
    below = torch.searchsorted(ordered, good)
    ties_too = torch.searchsorted(ordered, good, right=True)
    return _mean((below + ties_too).double()) / 2 / len(bad)

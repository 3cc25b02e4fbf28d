"""Rows that were measured -> the figures shown, the same names for every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Measured(NamedTuple):
    """Rows of one or more batches, detached, on the CPU, float32. [a] good answers, [b] bad ones
    (paired: a == b, in the same order); logps are sums, lengths are tokens. rows: how many rows
    kl was estimated on."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    chosen_logps: Tensor
    rejected_logps: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    kl: Tensor | None = None

"""Preference losses as pure functions of summed log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Sides(NamedTuple):
    """One number an answer: summed log-probabilities, or lengths in tokens.

    Paired methods: chosen and rejected are [pairs]. kto: chosen [good rows], rejected [bad rows],
    either may be empty; mismatched [rows] are answers to other prompts, for the KL term.
    """

    chosen: Tensor
    rejected: Tensor
    mismatched: Tensor | None = None


class Result(NamedTuple):
    """losses [pairs] (kto: [good rows, then bad rows]); rewards detached, one an answer;
    kl: the z0 of kto, a scalar, else None."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    kl: Tensor | None = None


Loss = Callable[[Sides, Sides, Sides | None, Mapping[str, float]], Result]


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss and what it needs. reference: log-probabilities of the frozen base.
    reward: what chosen and rejected are compared by, per token ("mean") or summed ("sum")."""

    loss: Loss
    data: Literal["pairs", "labels"]
    reference: bool
    reward: Literal["mean", "sum"]


OBJECTIVES: dict[str, Objective] = {}

"""Preference losses as pure functions of summed log-probabilities.

Below, p is a summed log-probability of the policy, |y| the tokens of an answer, m = p / |y|, r the
log-ratio p minus that of the frozen base, w the chosen and l the rejected answer. Half precision
is computed in float32, float32 and float64 as they are. Every loss takes [pairs] and gives
[pairs]; kto takes rows. An answer without tokens counts as one token long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch.nn.functional import logsigmoid, relu

if TYPE_CHECKING:
    from torch import Tensor

Knobs = Mapping[str, float]


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


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, finite with a finite gradient everywhere.

    expm1 near 0, log1p(-exp) far from it, each fed only what it can bear, because the gradient of
    the branch not taken is multiplied by zero and must not be infinite. Above minus one rounding
    step the value and the gradient are those of that step.
    """
    step = -torch.finfo(x.dtype).eps
    x = x + (x.clamp(max=step) - x).detach()
    near = x > -math.log(2)
    safe_near, safe_far = torch.where(near, x, -1.0), torch.where(near, -1.0, x)
    return torch.where(near, torch.log(-torch.expm1(safe_near)), torch.log1p(-torch.exp(safe_far)))


def orpo(policy: Sides, lengths: Sides, _reference: Sides | None, knobs: Knobs) -> Result:
    """-m_w - beta log sigma(log odds_w - log odds_l), odds = exp(m) / (1 - exp(m)).

    ORPO, arXiv:2403.07691, eq. 6 and 7; beta is its lambda. The imitation term is the mean over the
    chosen answer's tokens, without the prompt. Rewards: beta m.
    """
    chosen, rejected = _means(policy, lengths)
    log_odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
    losses = -chosen - knobs["beta"] * logsigmoid(log_odds)
    return _result(losses, knobs["beta"] * chosen, knobs["beta"] * rejected)


def simpo(policy: Sides, lengths: Sides, _reference: Sides | None, knobs: Knobs) -> Result:
    """-log sigma(beta (m_w - m_l) - gamma). SimPO, arXiv:2405.14734, eq. 6. Rewards: beta m."""
    chosen, rejected = (knobs["beta"] * mean for mean in _means(policy, lengths))
    return _result(-logsigmoid(chosen - rejected - knobs["gamma"]), chosen, rejected)


def kto(policy: Sides, _lengths: Sides, reference: Sides | None, knobs: Knobs) -> Result:
    """Good rows: w_D (1 - sigma(beta (r - z0))); bad rows: w_U (1 - sigma(beta (z0 - r))).

    KTO, arXiv:2402.01306, eq. 8. policy and reference: chosen [good rows], rejected [bad rows],
    mismatched [rows]; z0 is the mean log-ratio of the mismatched answers, not below 0, without a
    gradient. Rewards: beta r. Raises ValueError without a reference or mismatched answers.
    """
    chosen, rejected = _ratios(policy, reference)
    if policy.mismatched is None or reference is None or reference.mismatched is None:
        raise ValueError("kto needs log-probabilities of mismatched answers")
    drift = (_up(policy.mismatched) - _up(reference.mismatched)).detach()
    kl = (drift.sum() / max(drift.numel(), 1)).clamp(min=0)
    beta = knobs["beta"]
    good = knobs["desirable_weight"] * torch.sigmoid(beta * (kl - chosen))
    bad = knobs["undesirable_weight"] * torch.sigmoid(beta * (rejected - kl))
    return _result(torch.cat((good, bad)), beta * chosen, beta * rejected, kl)


def dpo(policy: Sides, _lengths: Sides, reference: Sides | None, knobs: Knobs) -> Result:
    """-log sigma(beta (r_w - r_l)). DPO, arXiv:2305.18290, eq. 7. Rewards: beta r."""
    chosen, rejected = (knobs["beta"] * ratio for ratio in _ratios(policy, reference))
    return _result(-logsigmoid(chosen - rejected), chosen, rejected)


def ipo(policy: Sides, lengths: Sides, reference: Sides | None, knobs: Knobs) -> Result:
    """(r_w / |y_w| - r_l / |y_l| - 1 / (2 tau))^2. IPO, arXiv:2310.12036, eq. 17.

    The equation has sums of log-ratios, which makes the target 1 / (2 tau) a matter of length. Per
    token is what its authors used (they confirmed it to TRL, which computes the same).
    Rewards: tau r, summed, as TRL logs them.
    """
    chosen, rejected = _ratios(policy, reference)
    tokens = _tokens(lengths, chosen)
    gap = chosen / tokens.chosen - rejected / tokens.rejected
    tau = knobs["tau"]
    return _result((gap - 1 / (2 * tau)) ** 2, tau * chosen, tau * rejected)


def cpo(policy: Sides, lengths: Sides, _reference: Sides | None, knobs: Knobs) -> Result:
    """-log sigma(beta (p_w - p_l)) - lambda m_w. CPO, arXiv:2401.08417.

    The paper writes the imitation term as the log-probability of the answer; its authors' code, and
    TRL, which has it from them, take the mean per token, and lambda = 1 was found with that.
    lambda is the knob imitation_weight. Rewards: beta p.
    """
    chosen, rejected = (knobs["beta"] * _up(side) for side in policy[:2])
    imitation = _means(policy, lengths)[0]
    losses = -logsigmoid(chosen - rejected) - knobs["imitation_weight"] * imitation
    return _result(losses, chosen, rejected)


def slic(policy: Sides, _lengths: Sides, _reference: Sides | None, knobs: Knobs) -> Result:
    """max(0, delta - p_w + p_l) - lambda p_w. SLiC-HF, arXiv:2305.10425, as compared in
    SimPO, arXiv:2405.14734. lambda is the knob imitation_weight. Rewards: p."""
    chosen, rejected = _up(policy.chosen), _up(policy.rejected)
    hinge = relu(knobs["delta"] - chosen + rejected)
    return _result(hinge - knobs["imitation_weight"] * chosen, chosen, rejected)


def rrhf(policy: Sides, lengths: Sides, _reference: Sides | None, knobs: Knobs) -> Result:
    """max(0, -m_w + m_l) - lambda p_w. RRHF, arXiv:2304.05302, for two answers.
    lambda is the knob imitation_weight, 1 in the paper. Rewards: m."""
    chosen, rejected = _means(policy, lengths)
    losses = relu(rejected - chosen) - knobs["imitation_weight"] * _up(policy.chosen)
    return _result(losses, chosen, rejected)


def rdpo(policy: Sides, lengths: Sides, reference: Sides | None, knobs: Knobs) -> Result:
    """-log sigma(beta (r_w - r_l) + alpha (|y_w| - |y_l|)). R-DPO, arXiv:2403.19159.

    The sign follows from what it maximises, reward - alpha |y| - beta KL: the best policy is then
    base exp((reward - alpha |y|) / beta), so reward = beta r + alpha |y| up to a constant. Length
    already explains part of why a longer answer was chosen, and the policy learns less from it;
    with a minus it would learn more from it, and grow longer. Rewards: beta r.
    """
    chosen, rejected = (knobs["beta"] * ratio for ratio in _ratios(policy, reference))
    tokens = _tokens(lengths, chosen)
    longer = knobs["alpha"] * (tokens.chosen - tokens.rejected)
    return _result(-logsigmoid(chosen - rejected + longer), chosen, rejected)


OBJECTIVES: dict[str, Objective] = {
    "orpo": Objective(orpo, "pairs", reference=False, reward="mean"),
    "simpo": Objective(simpo, "pairs", reference=False, reward="mean"),
    "kto": Objective(kto, "labels", reference=True, reward="sum"),
    "dpo": Objective(dpo, "pairs", reference=True, reward="sum"),
    "ipo": Objective(ipo, "pairs", reference=True, reward="sum"),
    "cpo": Objective(cpo, "pairs", reference=False, reward="sum"),
    "slic": Objective(slic, "pairs", reference=False, reward="sum"),
    "rrhf": Objective(rrhf, "pairs", reference=False, reward="mean"),
    "rdpo": Objective(rdpo, "pairs", reference=True, reward="sum"),
}


def _up(values: Tensor) -> Tensor:
    """Half precision as float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _tokens(lengths: Sides, like: Tensor) -> Sides:
    """Lengths in the type of the log-probabilities, at least one."""
    return Sides(*(side.to(like.dtype).clamp(min=1) for side in lengths[:2]))


def _means(policy: Sides, lengths: Sides) -> tuple[Tensor, Tensor]:
    """Mean log-probability per token, chosen and rejected."""
    chosen, rejected = _up(policy.chosen), _up(policy.rejected)
    tokens = _tokens(lengths, chosen)
    return chosen / tokens.chosen, rejected / tokens.rejected


def _ratios(policy: Sides, reference: Sides | None) -> tuple[Tensor, Tensor]:
    """Summed log-ratios against the frozen base, chosen and rejected."""
    if reference is None:
        raise ValueError("this objective needs log-probabilities of the frozen base")
    return (
        _up(policy.chosen) - _up(reference.chosen),
        _up(policy.rejected) - _up(reference.rejected),
    )


def _result(losses: Tensor, chosen: Tensor, rejected: Tensor, kl: Tensor | None = None) -> Result:
    return Result(losses, chosen.detach(), rejected.detach(), kl)

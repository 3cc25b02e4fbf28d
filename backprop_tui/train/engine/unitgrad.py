"""Log-probabilities under a frozen head, whose gradient is known as soon as they are.

The gradient of one log-probability depends on its own hidden state alone:

    logp_t = z_t - log sum_v exp(z_v)           z = W h + b
    d logp_t / d h = (1 - p_t) W_t - sum over v != t of p_v W_v

so the forward pass stores that vector, [N, H], and the backward pass multiplies each row by one
number: two products with W in all, as many as any way needs, and no logits are kept. They are made
a block of rows and words at a time, and joined as flash attention joins its blocks
(arXiv:2205.14135; blocks of the vocabulary also in arXiv:2411.09009).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 1024  # of a tile: enough to use W at full speed, few enough that summing up stays cheap


class UnitGradient(torch.autograd.Function):
    """Log-probabilities [N] under a frozen head, and entropies [N] or None.

    apply(hidden [N, H], targets [N], weight [V, H], bias [V] or None, scale, softcap or None,
    tile_bytes, stored, statistics); stored: whether a gradient will be asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: float,
        softcap: float | None,
        tile_bytes: int,
        stored: bool,
        statistics: bool,
    ) -> tuple[Tensor, Tensor | None]:
        kind = hidden.device.type
        dtype = weight.dtype
        if torch.is_autocast_enabled(kind) and dtype != torch.float64:
            dtype = torch.get_autocast_dtype(kind)
        count = len(hidden)
        logps = hidden.new_empty(count, dtype=torch.promote_types(dtype, torch.float32))
        entropies = torch.empty_like(logps) if statistics else None
        # No wider than it was computed, nor than the gradient that it becomes.
        narrow = dtype if dtype.itemsize < hidden.dtype.itemsize else hidden.dtype
        unit = torch.empty_like(hidden, dtype=narrow) if stored else None
        with torch.autocast(kind, enabled=False):
            weight = weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
            for rows in parts(count, ROWS):
                _rows(
                    hidden[rows].to(dtype),
                    targets[rows],
                    (weight, bias, scale, softcap),
                    tile_bytes,
                    logps[rows],
                    None if entropies is None else entropies[rows],
                    None if unit is None else unit[rows],
                )
        ctx.save_for_backward(unit)
        if entropies is not None:
            ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        (unit,) = ctx.saved_tensors
        # In float32, and rounded once: autograd makes it what hidden is.
        return unit * given[:, None], *[None] * 8


def _rows(
    hidden: Tensor,
    targets: Tensor,
    head: tuple[Tensor, Tensor | None, float, float | None],
    tile_bytes: int,
    logps: Tensor,
    entropies: Tensor | None,
    unit: Tensor | None,
) -> None:
    """Fill logps, and entropies and unit where given, of some rows: one pass over the vocabulary.

    Kept from block to block, each [rows]: the largest logit (top), the log of the sum of
    exp(logit - top) (total); each block's softmax is weighted by its part of that sum.
    """
    weight, bias, scale, softcap = head
    wide, count = logps.dtype, len(hidden)
    # A tile holds logits as computed, their softmax, and their wide form where those differ.
    copies = (wide != weight.dtype) + (softcap is not None) + 1
    word = count * (weight.itemsize + copies * wide.itemsize)
    blocks = parts(len(weight), max(1, tile_bytes // word))
    size = count * (blocks[0].stop - blocks[0].start)
    raw_, soft_ = hidden.new_empty(size), logps.new_empty(size)
    logits_ = raw_ if wide == weight.dtype else logps.new_empty(size)
    top = torch.full_like(logps, -torch.inf)
    total, expected = top, torch.zeros_like(logps)
    own = torch.full_like(logps, torch.nan)  # the target's logit, once its block was seen
    others = torch.zeros_like(hidden, dtype=wide) if unit is not None else None
    for part in blocks:
        words = part.stop - part.start
        raw, logits, soft = (
            flat[: count * words].view(count, words) for flat in (raw_, logits_, soft_)
        )
        if bias is None:
            raw.addmm_(hidden, weight[part].t(), beta=0, alpha=scale)
        else:
            torch.addmm(bias[part], hidden, weight[part].t(), beta=scale, alpha=scale, out=raw)
        if logits_ is not raw_:
            logits.copy_(raw)
        bent = None
        if softcap is not None:
            bent = logits.div_(softcap).tanh_()
            logits = bent * softcap
        peak = logits.amax(-1)
        torch.softmax(logits, -1, out=soft)
        column = (targets - part.start).clamp(0, words - 1)[:, None]
        inside = column[:, 0] == targets - part.start
        own = torch.where(inside, logits.gather(1, column)[:, 0], own)
        higher = torch.maximum(top, peak)
        before = total + (top - higher)
        here = (peak - higher) - soft.amax(-1).log()  # the largest of a softmax is 1 / its sum
        top, total = higher, torch.logaddexp(before, here)
        fade, part_of = (before - total).exp(), (here - total).exp()
        if entropies is not None:
            mean = torch.bmm(soft[:, None], logits[:, :, None])[:, 0, 0]
            expected = expected * fade + mean * part_of
        if others is not None:
            # The target is left out here and added in float32 below: in half precision a sure
            # one would round the others away.
            kept = soft.gather(1, column).masked_fill_(inside[:, None], 0)
            soft.scatter_(1, column, kept)
            if bent is not None:
                soft.addcmul_(soft, bent.square_(), value=-1)
            if raw_ is not logits_:
                soft = raw.copy_(soft)
            others.mul_(fade[:, None]).addcmul_(soft @ weight[part], part_of[:, None])
    logps.copy_((own - top) - total)
    if entropies is not None:
        entropies.copy_((top + total) - expected)
    if unit is not None and others is not None:
        away = logps.expm1()
        if softcap is not None:
            away = away * (1 - (own / softcap).square())
        column = targets.clamp(0, len(weight) - 1)
        unit.copy_(others.addcmul_(weight[column], away[:, None]).mul_(-scale))


def parts(count: int, most: int) -> list[slice]:
    """Slices of nearly the same size, none above most, the largest first."""
    number = -(-count // most)
    edges = [count - count * part // number for part in range(number, -1, -1)] if number else []
    return [slice(*edge) for edge in itertools.pairwise(edges)]

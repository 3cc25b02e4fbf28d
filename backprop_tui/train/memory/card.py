"""What kernels of a CUDA card hold and a CPU's do not, for rehearsals on fake CPU tensors.

Sizes are those of FlashAttention 2 as torch calls it (arXiv:2307.08691; torch 2.13,
aten/native/transformers/cuda/flash_attn): forward keeps its output and one float32 number a query
and head; backward has a float32 gradient of the queries, and gradients of keys and values for
every query head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from bitsandbytes.autograd import _functions as functions
from torch import Tensor

from backprop_tui.train.engine import attention


class FlashSizes(torch.autograd.Function):
    """Attention by its bytes alone; query [1, tokens, heads, width], keys of kv heads."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = torch.empty_like(query)
        sums = query.new_empty(query.shape[0], query.shape[2], query.shape[1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, found, sums)
        return found

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _, sums = ctx.saved_tensors
        wide = torch.empty_like(query, dtype=torch.float32)
        own = torch.empty_like(sums)
        every = [torch.empty_like(query[:, :1].expand(-1, key.shape[1], -1, -1)) for _ in "kv"]
        made = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del wide, own, every
        return made


def _attend(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Tensor:
    found: Tensor = FlashSizes.apply(query, key, value)  # type: ignore[no-untyped-call]
    return found


@contextmanager
def as_on_a_card() -> Iterator[None]:
    """Rehearse what a card would do: its attention and products of 8 bits, autocast as it is asked
    for there, optimizer steps over all weights together."""
    asked = torch.is_autocast_enabled

    def enabled(*device: str) -> bool:
        # PEFT's quantised layers ask without naming a device and mean CUDA.
        return bool(asked(*(device or ("cpu",))))

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(functions, "MatMul8bitFp", functions.MatMul8bitLt))
        patches.enter_context(mock.patch.object(attention, "_attend", _attend))
        patches.enter_context(mock.patch.object(torch, "is_autocast_enabled", enabled))
        patches.enter_context(
            mock.patch("torch.optim.adam._default_to_fused_or_foreach", return_value=(False, True))
        )
        yield

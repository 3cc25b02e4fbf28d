"""The most bytes of tensors alive at once, counted from the operations that make them.

Exact and the same on every machine: an allocator's rounding and a kernel's own scratch memory are
left out.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class PeakBytes(TorchDispatchMode):
    """Counts every storage that an operation inside returns, until it is freed. held: tensors
    that are there before."""

    def __init__(self, held: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in held:
            self._count(tensor)
        self.before = self.peak = self.now

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for found in tree_iter(out):
            if isinstance(found, torch.Tensor):
                self._count(found)
        self.peak = max(self.peak, self.now)
        return out


def held_by(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Weights, buffers, what a quantised weight needs beside itself, and the optimizer's state."""
    held: list[torch.Tensor] = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        while state is not None:
            parts = (state.absmax, state.code, getattr(state, "offset", None))
            held += [part for part in parts if part is not None]
            state = state.state2
    for values in optimizer.state.values():
        held += [value for value in values.values() if isinstance(value, torch.Tensor)]
    return held

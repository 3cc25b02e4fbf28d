"""Peak bytes of the tensors made while a piece of code runs, on any device, real or fake."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make, from birth to death.

    What existed before is not counted, unless hold() names it. Memory that an operation takes and
    gives back inside its own kernel is not seen, nor is what an allocator rounds up.

        with PeakBytes() as memory:
            loss(model(batch)).backward()
        print(memory.peak, memory.at)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0  # bytes
        self.at = ""  # the operation after which it was reached
        self._sizes: dict[int, int] = {}  # storage -> bytes counted for it

    def hold(self, *tensors: torch.Tensor) -> None:
        """Count tensors that exist already, such as weights."""
        for tensor in tensors:
            self._meet(tensor, counted=True)
        self.peak = max(self.peak, self.now)

    def _meet(self, tensor: torch.Tensor, *, counted: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = storage.nbytes() if counted else 0
        self._sizes[key] = size
        self.now += size
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for given in tree_iter((args, dict(kwargs))):
            if isinstance(given, torch.Tensor):
                self._meet(given, counted=False)
        made = func(*args, **kwargs)
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._meet(tensor, counted=True)
        if self.now > self.peak:
            self.peak, self.at = self.now, str(func)
        return made

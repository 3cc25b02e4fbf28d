"""Peak bytes of tensors while a piece of code runs, by part, on real tensors or fake ones."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes of some moment, by part, and the operation after which they were held."""

    parts: Mapping[str, int]
    at: str

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make, from birth to death.

    What existed before is not counted, unless hold() names it. Memory that an operation takes and
    gives back inside its own kernel is not seen, nor is what an allocator rounds up.

        with PeakBytes() as memory:
            loss(model(batch)).backward()
        print(memory.peak, memory.at)

    Set `part` to say what is being made, and `moment` to have the peaks of several stretches
    apart: those of one kind of stretch grow evenly with the number of layers, the highest of all
    need not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = self.moment = "all"
        self.now = 0
        self.peaks: dict[str, Peak] = {}  # moment -> its peak
        self._parts: Counter[str] = Counter()  # bytes held now
        self._highest: Counter[str] = Counter()  # moment -> bytes
        self._known: dict[int, tuple[int, str]] = {}  # storage -> bytes counted for it, part

    @property
    def peak(self) -> int:
        """Bytes, of all moments."""
        return max(self._highest.values(), default=0)

    @property
    def at(self) -> str:
        """The operation after which the peak was reached."""
        return self.peaks[max(self._highest, key=self._highest.__getitem__)].at

    def hold(self, *tensors: torch.Tensor, part: str = "all") -> None:
        """Count tensors that exist already, such as weights; each once."""
        for tensor in tensors:
            key = tensor.untyped_storage()._cdata
            if self._known.get(key, (0, ""))[0] == 0:  # new, or met without being counted
                self._known.pop(key, None)
                self._meet(tensor, part)
        self._note("")

    def move(self, tensor: torch.Tensor, part: str) -> None:
        """Say what a tensor has become."""
        key = tensor.untyped_storage()._cdata
        size, before = self._known.get(key, (0, part))
        self._known[key] = size, part
        self._parts[before] -= size
        self._parts[part] += size

    def _meet(self, tensor: torch.Tensor, part: str | None) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if part is not None else 0
        self._known[key] = size, part or "all"
        self._parts[part or "all"] += size
        self.now += size
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        size, part = self._known.pop(key, (0, "all"))
        self.now -= size
        self._parts[part] -= size

    def scratch(self, func: Any, args: tuple[Any, ...]) -> int:
        """Bytes that an operation takes for itself and gives back, where that is known."""
        return 0

    def _note(self, at: str, scratch: int = 0) -> None:
        if self.now + scratch > self._highest[self.moment]:
            self._highest[self.moment] = self.now + scratch
            self.peaks[self.moment] = Peak(+(self._parts + Counter({self.part: scratch})), at)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled under this; the guard against it costs a fifth of a rehearsal.
        return False

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
                self._meet(given, None)
        made = func(*args, **kwargs)
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._meet(tensor, self.part)
        self._note(str(func), self.scratch(func, args))
        return made

"""What a card holds beside tensors: learnt from runs on it, stated until then."""

from __future__ import annotations

from dataclasses import dataclass

MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """context: bytes CUDA and its libraries take in a process. slack: what the allocator reserves
    above the peak of tensors, as a share of it. workspace: bytes that kernels take for themselves.
    runs: how many this was learnt from; 0 are the stated values.
    """

    context: int = 600 * MB
    slack: float = 0.04
    workspace: int = 96 * MB
    runs: int = 0

    def overhead(self, tensors: int) -> int:
        """Bytes beside this many bytes of tensors."""
        return self.context + self.workspace + round(self.slack * tensors)

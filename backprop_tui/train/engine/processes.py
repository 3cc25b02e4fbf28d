"""What a trainer needs where several processes train together; with one process, next to nothing.

Under FSDP each process holds a part of the weights and every forward gathers them, so all must run
the same number of forwards: a process with less to do runs some for the others' sake.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accelerate.utils import gather_object
from transformers import Trainer

from backprop_tui.train.engine.forward import Path


class SharedTrainer(Trainer):  # type: ignore[misc]
    """transformers.Trainer, and what its processes tell each other."""

    @property
    def processes(self) -> int:
        """How many train together."""
        return int(self.accelerator.num_processes)

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights."""
        return bool(self.is_fsdp_enabled)

    def shard(self) -> None:
        """Take this process's part of the weights, before training does: until then a model that
        needs several cards cannot be measured."""
        from accelerate.utils.fsdp_utils import fsdp2_prepare_model

        if self.sharded:
            self.model: Any = fsdp2_prepare_model(self.accelerator, self.model)
            self.model_wrapped = self.model

    def create_optimizer(self, *arguments: Any, **named: Any) -> Any:
        """After a forward without a backward some weights are still whole; what is trained is this
        process's part of them."""
        if self.sharded:
            from torch.distributed.fsdp import FSDPModule

            for module in self.model.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()
        return super().create_optimizer(*arguments, **named)

    def from_all(self, mine: list[Any]) -> list[Any]:
        """The same list of every process, joined in the order of their ranks."""
        return list(gather_object(mine)) if self.processes > 1 else mine

    def forwards(self, mine: int) -> int:
        """How many forwards to run where this process needs so many; asked before the first."""
        return max(self.from_all([mine])) if self.sharded else mine

    def agreed(self, path: Path) -> Path:
        """The way of computing that is right in every process."""
        paths: list[Path] = self.from_all([path])
        slowest = min(paths, key=lambda path: (path.shared, path.lean))
        if len({path.variant for path in paths}) > 1:
            slowest = replace(slowest, variant="split", measured="")
        return slowest

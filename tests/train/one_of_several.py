"""`python -m backprop_tui run FILE ...`, as one of several processes that a test changes.

Several run files follow each other: importing everything takes longer than a run.
FSDP_ON_A_CPU: accelerate divides weights among cards only; what it asks for is made to say that
these processes are cards, after which the division itself is torch's own.
FAIL_ON_RANK: this rank fails in its second step.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from backprop_tui.cli import main
from backprop_tui.train import distributed


def pretend_to_be_cards() -> None:
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    def prepare(*_: Any, **__: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = prepare


def fail_in_the_second_step() -> None:
    from transformers import Trainer

    step = Trainer.training_step

    def fails(self: Any, *given: Any, **named: Any) -> Any:
        if self.state.global_step == 1:
            raise RuntimeError("the flux capacitor is empty")
        return step(self, *given, **named)

    Trainer.training_step = fails


LINGER = distributed.LINGER


def run(number: int, run_file: str, *, last: bool) -> int:
    """The exit code of one run. number: of several, each of which meets at a port of its own."""
    if ports := os.environ.get("PORTS", "").split():
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
        os.environ["MASTER_PORT"] = ports[number]
    distributed.LINGER = LINGER if last else 0.0  # who does not leave need not wait to leave
    sys.argv = ["backprop-tui", "run", run_file]
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


if __name__ == "__main__":
    if "FSDP_ON_A_CPU" in os.environ:
        pretend_to_be_cards()
    if os.environ.get("FAIL_ON_RANK") == os.environ["RANK"]:
        fail_in_the_second_step()
    files = sys.argv[1:]
    codes = [run(n, file, last=n == len(files) - 1) for n, file in enumerate(files)]
    sys.exit(max(codes))

"""`python -m backprop_tui run FILE ...`, as one of several processes that a test changes.

Several run files follow each other, each in a process of its own that has imported everything.
FSDP_ON_A_CPU: accelerate divides weights among cards only; what it asks for is made to say that
these processes are cards, after which the division itself is torch's own.
FAIL_ON_RANK: this rank fails in its second step.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from backprop_tui.cli import main
from backprop_tui.train.libraries import load_libraries
from backprop_tui.train.session import LIBRARIES


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


def run(number: int, run_file: str) -> int:
    """The exit code of one run. number: the processes of each meet at a place of their own."""
    child = os.fork()
    if not child:
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(number)
        sys.argv = ["backprop-tui", "run", run_file]
        main()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    load_libraries([*LIBRARIES, "backprop_tui.train.engine.build"])
    if "FSDP_ON_A_CPU" in os.environ:
        pretend_to_be_cards()
    if os.environ.get("FAIL_ON_RANK") == os.environ["RANK"]:
        fail_in_the_second_step()
    sys.exit(max(run(number, file) for number, file in enumerate(sys.argv[1:])))

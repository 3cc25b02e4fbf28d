"""`python -m tests.train.engine.parity_table`: the differences on the bundled model and its rows,
as the table of docs/engine.md."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = 20


def main() -> None:
    """One line a method, as it is measured."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tests.train.engine.parity import COMPARED, difference, trained

    say(f"| method | loss | rewards | worst LoRA gradient | adapter after {STEPS} steps |")
    say("|---|---|---|---|---|")
    for method in COMPARED:
        with tempfile.TemporaryDirectory() as folder:
            rows = bundled_rows(method)
            lean, trl = (
                trained(method, engine, Path(folder), STEPS, rows) for engine in ("lean", "trl")
            )
        off = difference(lean, trl)
        figures = (off.loss, off.rewards, off.gradient, off.adapter)
        say(f"| {method} | " + " | ".join(f"{figure:.1e}" for figure in figures) + " |")


def bundled_rows(method: str) -> list[Any]:
    """The first eight rows of the bundled data, as token ids."""
    from backprop_tui.probe.survey import survey
    from backprop_tui.train.batches import Encoder
    from backprop_tui.train.model import load_tokenizer
    from tests.conftest import pocket_run

    run = pocket_run(method, Path("unused"))
    found = survey(run, trust_remote_code=False, to_train=True)
    assert found.facts.model is not None
    tokenizer = load_tokenizer(run, found.facts.model, trust_remote_code=False)
    return Encoder(tokenizer, found.plan.max_length).encode(found.train[:8]).rows


def say(line: str) -> None:
    """Libraries write to stderr beside it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

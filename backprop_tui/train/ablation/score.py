"""`python -m backprop_tui.train.ablation.score RUN OUT`: score a run's held-out pairs.

A process of its own, so that nothing stays on the card between two cells.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from backprop_tui.core.errors import EXIT_OK, EXIT_RUN, EXIT_STOPPED, BackpropError
from backprop_tui.runs.ablation import write_scores
from backprop_tui.runs.whole_file import write_whole
from backprop_tui.runs.with_parent import end_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Write the scores, or {"error": why}; the exit code."""
    parser = argparse.ArgumentParser(prog="score", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--with-parent", type=int, metavar="PID")
    given = parser.parse_args(arguments)
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, stop)
    if given.with_parent is not None:
        end_with_parent(given.with_parent)
    from backprop_tui.train.evals.heldout import heldout_pairs

    try:
        pairs = heldout_pairs(
            given.run,
            base=given.base,
            stopping=lambda: bool(asked),
            trust_remote_code=given.trust_remote_code,
        )
    except BackpropError as error:
        if not asked:
            refuse(given.out, error.message)
            return EXIT_RUN
    if asked:
        return EXIT_STOPPED
    write_scores(given.out, pairs)
    return EXIT_OK


def refuse(out: Path, why: str) -> None:
    """Keep why there are no scores, where the table finds it."""
    write_whole(out, json.dumps({"error": why}) + "\n")


if __name__ == "__main__":
    sys.exit(main())

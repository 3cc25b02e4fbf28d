"""A process that counts parts of files for a scan: python -m backprop_tui.probe.data.large.worker

It is told the decision, then one job after another, through its standard input, and answers
on its standard output, all as pickles. When the one that asks is gone, it ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from typing import Any, BinaryIO

from backprop_tui.core.errors import InputError

from .jobs import count
from .tally import Draw


def main() -> None:
    """Serve jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    # The one that asks has stopped, or is gone: then there is nobody to tell.
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        _serve(sys.stdin.buffer, answers)


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    def answer(kind: str, value: Any) -> None:
        pickle.dump((kind, value), answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    how = pickle.load(questions).decision()
    draw = Draw()
    while (job := pickle.load(questions)) is not None:
        try:
            tally = count(job, how, draw, lambda n: answer("read", n))
        except InputError as error:
            answer("refused", error)
            return
        answer("counted", (job.index, tally))
    draw.trim()
    answer("drawn", draw.drawn)


if __name__ == "__main__":
    main()

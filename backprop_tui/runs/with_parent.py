"""`python -m backprop_tui.runs.with_parent …`: the program, asked to stop when its parent is gone.

For a run that a worker of a cluster started: a worker that was killed leaves nobody who would look
after the run, and its place is taken by another, which goes on with it. Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """SIGTERM comes when the thread that started this process ends: stop after the step, save."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before it could be watched
        sys.exit(128 + signal.SIGTERM)
    from backprop_tui.__main__ import main as program

    program()


if __name__ == "__main__":
    main()

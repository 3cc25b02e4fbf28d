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


def end_with_parent() -> None:
    """SIGTERM comes when the thread that started this process ends: a run stops after its step
    and saves. Exits where it is gone already."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent == 1 or os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """The whole command line, so watched."""
    end_with_parent()
    from backprop_tui.__main__ import main as program

    program()


if __name__ == "__main__":
    main()

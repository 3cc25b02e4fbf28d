"""A process that is asked to stop when its parent is gone. Linux.

For a run that a worker of a cluster started: a worker that was killed leaves nobody who would look
after the run, and its place is taken by another, which goes on with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent: int) -> None:
    """SIGTERM comes when the thread that started this process ends: a run stops after its step
    and saves. Exits where it is gone already. parent: its process id."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)

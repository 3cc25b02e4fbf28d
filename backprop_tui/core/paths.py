"""Where the tool itself writes, outside of run folders."""

from __future__ import annotations

import os
from pathlib import Path


def user_log() -> Path:
    """The log of what went wrong before there was a run folder; its folder is made (0700).

    $XDG_STATE_HOME/backprop-tui/backprop-tui.log, ~/.local/state by default.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "backprop-tui"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "backprop-tui.log"


def user_cache() -> Path:
    """Where what can be found again is kept: $XDG_CACHE_HOME/backprop-tui, ~/.cache by default.

    Not made here: whoever writes to it makes it (0700).
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "backprop-tui"

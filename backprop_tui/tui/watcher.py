"""Watcher: what is new in a run folder, for a screen or for plain lines."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backprop_tui.core.events import Event
from backprop_tui.runs.lock import owner
from backprop_tui.runs.stream import Follower

EVERY = 0.5  # seconds between two looks
STARTING = 60.0  # seconds that a process may take to own a new run folder


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. owned: a process works on the run. age: seconds since the last event."""

    events: list[Event]
    restarted: bool
    owned: bool
    age: float


class Watcher:
    """Looks into a run folder. process: the one that was started on it a moment ago, if known."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self.process = process
        self._follower = Follower(folder / "events.jsonl")
        self._nothing = True  # no event so far

    def look(self) -> Seen:
        """What is new. Raises OSError when the folder may not be read."""
        # The owner first: one that is gone before the events are read has written its last.
        owned = owner(self.folder) is not None
        events = self._follower.read()
        self._nothing = self._nothing and not events
        age = 0.0
        with suppress(OSError):
            age = time.time() - (self.folder / "events.jsonl").stat().st_mtime
        owned = owned or self._starting(age)
        return Seen(events, self._follower.restarted, owned, max(0.0, age))

    def _starting(self, age: float) -> bool:
        """Whether a process that will own the run is still on its way."""
        if self.process is not None:
            return self.process.poll() is None
        return self._nothing and 0 <= age < STARTING

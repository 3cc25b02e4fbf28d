"""What a person may ask of a running training: save now, stop and save."""

from __future__ import annotations

import threading


class Control:
    """Requests to a run, set from any thread and honoured within one step."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._save = threading.Event()

    def stop(self) -> None:
        """Stop after the step in progress and keep what was learned."""
        self._stop.set()

    def save(self) -> None:
        """Write a checkpoint after the step in progress and go on."""
        self._save.set()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    def take_save(self) -> bool:
        """Whether a save was asked for since the last call."""
        asked = self._save.is_set()
        self._save.clear()
        return asked

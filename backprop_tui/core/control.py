"""What a person, or a guard, may ask of a running training: save, stop, pause, go on."""

from __future__ import annotations

import threading

PERSON = "person"
ASKED = "you asked for it"


class Control:
    """Requests to a run, set from any thread and honoured within one step.

    Several may want a pause at once (a person, a hot card); it lasts until none does.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._save = threading.Event()
        self._pauses: dict[str, str] = {}  # who -> why
        self._changed = threading.Condition()
        self.why = ""  # what asked for the stop, when that was not a person

    def stop(self, why: str = "") -> None:
        """Stop after the step in progress and keep what was learned."""
        if not self._stop.is_set():
            self.why = why
        self._stop.set()
        self._wake()

    def save(self) -> None:
        """Write a checkpoint after the step in progress and go on."""
        self._save.set()
        self._wake()

    def pause(self, who: str = PERSON, why: str = ASKED) -> None:
        """Wait after the step in progress, until `who` says otherwise."""
        with self._changed:
            self._pauses[who] = why

    def go_on(self, who: str = PERSON) -> None:
        """`who` no longer wants a pause."""
        with self._changed:
            self._pauses.pop(who, None)
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    @property
    def paused(self) -> str:
        """Why training should wait; "" when it should not."""
        with self._changed:
            return "; ".join(self._pauses.values())

    def take_save(self) -> bool:
        """Whether a save was asked for since the last call."""
        asked = self._save.is_set()
        self._save.clear()
        return asked

    def wait(self, seconds: float) -> None:
        """Until something is asked, or as long as that."""
        with self._changed:
            self._changed.wait(seconds)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

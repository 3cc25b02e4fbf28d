"""Waiting in the middle of a run, and saying why."""

from __future__ import annotations

from collections.abc import Callable

from backprop_tui.core.control import Control
from backprop_tui.core.events import Continued, Event, Paused

LOOK_EVERY = 0.5  # seconds


class Pauses:
    """Tells when a run begins to wait, and when it goes on. step: of the run, as it is known."""

    def __init__(
        self, control: Control, emit: Callable[[Event], None], clock: Callable[[], float]
    ) -> None:
        self.control, self.emit, self.clock = control, emit, clock
        self.step = 0
        self._said = ""
        self._waiting: set[str] = set()

    def wait_while_asked(self, save: Callable[[], None]) -> bool:
        """Return when nobody wants a pause, or a stop was asked for; whether it waited.

        save: writes a checkpoint; a pause may last, and end with the machine.
        """
        waited = bool(self.control.paused) and not self.control.stopping
        if waited and self.step:
            save()  # first: who reads that it waits may switch the machine off
        while self.tell() and not self.control.stopping:
            waited = True
            if self.control.take_save() and self.step:
                save()
            self.control.wait(LOOK_EVERY)
        return waited

    def wait_for(self, who: str, why: str, seconds: float) -> None:
        """Wait for something outside; until it has come, the pause of `who` stays."""
        self.control.pause(who, why)
        self._waiting.add(who)
        self.tell()
        if not self.control.stopping:
            self.control.wait(seconds)

    def over(self, who: str) -> None:
        """What `who` waited for has come, if it waited for anything."""
        if who in self._waiting:
            self._waiting.remove(who)
            self.control.go_on(who)
            self.tell()

    def tell(self) -> str:
        """Say what changed; why the run waits, "" when it does not."""
        why = self.control.paused
        if why != self._said:
            self._said = why
            t, step = self.clock(), self.step
            self.emit(Paused(t=t, step=step, why=why) if why else Continued(t=t, step=step))
        return why

"""What a guard makes of the readings of a card: too hot, or held back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backprop_tui.core.events import GpuSampled
from backprop_tui.core.runfile_guards import GuardsSection

IN_A_ROW = 3  # readings of a card that holds itself back
COOLER = 10  # degrees Celsius under max_temperature, where the run file names none

WHY = {
    "thermal": "because it is hot{at}, and training is slower for it. Improve its cooling; "
    "guards.max_temperature pauses the run before that",
    "power": "at its power limit{watts}, which is usual under full load and costs some speed. "
    "There is nothing to do, unless somebody lowered that limit",
}
OTHERWISE = (
    "to protect itself, and training is slower for it. Check its cooling and its power supply"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard asks for. code: stable. message: a sentence for people; of a stop or a pause a
    clause that says why, without a full stop."""

    kind: Literal["warn", "stop", "pause", "go_on"]
    code: str
    message: str


class CardGuard:
    """Judges the readings of one card, in their order."""

    def __init__(self, section: GuardsSection) -> None:
        self.section = section
        self.warned: frozenset[str] = frozenset()  # causes
        self.hot: bool | None = False  # None: it was, and whether somebody still waits is unknown
        self.begin_anew()

    def begin_anew(self) -> None:
        """Training begins again, in this process or in another."""
        self.hot = False if self.hot is False else None
        self.throttle = ""
        self.readings = 0  # in a row, with this throttle

    def judge(self, reading: GpuSampled) -> list[Verdict]:
        """A pause when it is too hot, the end of that pause, a word when it is held back."""
        return [*self._temperature(reading), *self._held_back(reading)]

    def _temperature(self, reading: GpuSampled) -> list[Verdict]:
        most, degrees = self.section.max_temperature, reading.temperature
        if most is None or degrees is None:
            return []
        cool = self.section.resume_temperature
        cool = most - COOLER if cool is None else cool
        if not self.hot and degrees > most:
            self.hot = True
            message = (
                f"the card is at {degrees} °C, over guards.max_temperature = {most}; training "
                f"goes on at {cool} °C"
            )
            return [Verdict(kind="pause", code="card-hot", message=message)]
        if self.hot is not False and degrees <= cool:
            self.hot = False
            message = f"the card has cooled to {degrees} °C"
            return [Verdict(kind="go_on", code="card-hot", message=message)]
        return []

    def _held_back(self, reading: GpuSampled) -> list[Verdict]:
        cause = reading.throttle
        self.readings = self.readings + 1 if cause == self.throttle else 1
        self.throttle = cause
        if not cause or self.readings < IN_A_ROW or cause in self.warned:
            return []
        self.warned |= {cause}
        at = f" ({reading.temperature} °C)" if reading.temperature is not None else ""
        watts = f" ({reading.power_limit:.0f} W)" if reading.power_limit is not None else ""
        why = WHY.get(cause, OTHERWISE).format(at=at, watts=watts)
        message = f"The card holds itself back {why}."
        return [Verdict(kind="warn", code="card-throttled", message=message)]

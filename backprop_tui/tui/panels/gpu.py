"""What the card does: how busy, how warm, how much power, and how much of it is training."""

from __future__ import annotations

from backprop_tui.core.chart import Run
from backprop_tui.core.events import Event, GpuSampled, Step
from backprop_tui.core.text import NA, percent
from backprop_tui.tui.panels.panel import LABEL, VALUE, WARN, Line, Panel, bar, words

HOT = 84  # degrees Celsius from which consumer cards slow down
HELD_BACK = {"thermal": "hot", "power": "power limit"}  # what the driver names -> in words


def held_back(gpu: GpuSampled) -> str:
    """Why the card is slower than it could be: "held back: hot"; "" when it is not."""
    return f"held back: {HELD_BACK.get(gpu.throttle, gpu.throttle)}" if gpu.throttle else ""


class GpuPanel(Panel):
    """Utilisation, temperature and power of the card, what holds it back, and, where its peak rate
    is known and there is a line left, the share of it that training reaches. Not shown on a CPU
    run."""

    TITLE = "Graphics card"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.gpu: GpuSampled | None = None
        self.mfu: float | None = None

    def take(self, event: Event) -> None:
        """Keep the newest reading."""
        if isinstance(event, GpuSampled):
            self.gpu, self.changed = event, True
        elif isinstance(event, Step) and event.mfu is not None:
            self.mfu, self.changed = event.mfu, True

    def lines(self, width: int, height: int) -> list[Line]:
        """A label, a figure and a bar where there is a limit to compare with."""
        gpu = self.gpu or GpuSampled(t=0)
        heat = f"{gpu.temperature} °C" if gpu.temperature is not None else NA
        hot = gpu.temperature is not None and gpu.temperature >= HOT
        held = held_back(gpu)
        by_power = gpu.throttle == "power"  # beside the watts, for it is no heat
        power = f"{gpu.power:.0f} W" if gpu.power is not None else NA
        share = gpu.power / gpu.power_limit if gpu.power and gpu.power_limit else None
        heat_note = held if held and not by_power else "hot" if hot else ""
        busy = f"{gpu.utilisation} %" if gpu.utilisation is not None else NA
        rows = [
            _row("busy", busy, None if gpu.utilisation is None else gpu.utilisation / 100, width),
            _row("temperature", words(heat), None, width, heat_note),
            _row("power", power, share, width, held if by_power else ""),
        ]
        if self.mfu is not None:
            rows.append(_row("of its peak", percent(self.mfu), self.mfu, width))
        return rows[:height]


def _row(label: str, value: str, share: float | None, width: int, note: str = "") -> Line:
    line = [Run(f"{label:<13}", LABEL), Run(f"{value:>6}", VALUE), Run("  ", LABEL)]
    if note and len(note) > width - 21:  # in place of the label: the unit says which it is
        return [Run(note, WARN), Run(f" {value:>{max(0, 18 - len(note))}}", VALUE)]
    if note:
        return [*line, Run(note, WARN)]
    if share is None or width < 27:
        return line
    full, free = bar(share, width - 21)
    return [*line, Run(full, 0), Run(free, LABEL)]

"""Memory while training: what tensors hold, the peak, the card; on a CPU the process."""

from __future__ import annotations

from backprop_tui.core.chart import Run, Series, draw
from backprop_tui.core.events import Event, GpuSampled, Started, Step
from backprop_tui.core.text import size
from backprop_tui.core.trace import Trace
from backprop_tui.tui.panels.panel import LABEL, VALUE, WARN, Line, Panel, bar, words
from backprop_tui.tui.signs import is_plain

TIGHT = 0.95  # share of the card in use from which it is called tight
GB = 2**30


class MemoryPanel(Panel):
    """Figures first; a bar of the card, or a chart of the process where there is room."""

    TITLE = "Memory"

    def __init__(self, *, on_cpu: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self.on_cpu = on_cpu
        self.step: Step | None = None
        self.gpu: GpuSampled | None = None
        self.trace = Trace()

    def take(self, event: Event) -> None:
        """Keep the newest readings."""
        match event:
            case Started():
                self.on_cpu = event.device.lower().startswith("cpu")
            case Step() if event.memory is not None:
                self.step = event
                self.trace.add(event.step, event.memory / GB)
            case GpuSampled():
                self.gpu = event
            case _:
                return
        self.changed = True

    def lines(self, width: int, height: int) -> list[Line]:
        """One line when there is only one, else a table."""
        if height == 1:
            return [self._one_line()]
        if self.on_cpu:
            return self._process(width, height)
        return self._card(width, height)

    def _one_line(self) -> Line:
        line = [Run("Memory ", LABEL)]
        if self.step is None:
            line.append(Run("after the first step", LABEL))
        else:
            line.append(Run(size(self.step.memory), VALUE))
            if self.step.memory_peak is not None:
                line += [Run(", peak ", LABEL), Run(size(self.step.memory_peak), VALUE)]
        gpu = self.gpu
        if self.on_cpu:
            line.append(Run(words(" · no card: training on the CPU"), LABEL))
        elif gpu is not None:
            if gpu.memory_total:
                line += [
                    Run(", card ", LABEL),
                    Run(size(gpu.memory_used), VALUE),
                    Run(f" of {size(gpu.memory_total)}", LABEL),
                ]
            readings = [f"{gpu.utilisation} %"] if gpu.utilisation is not None else []
            readings += [f"{gpu.temperature} °C"] if gpu.temperature is not None else []
            readings += [f"{gpu.power:.0f} W"] if gpu.power is not None else []
            if readings:
                line += [Run(words(" · GPU "), LABEL), Run(words("  ".join(readings)), VALUE)]
        return line

    def _process(self, width: int, height: int) -> list[Line]:
        step = self.step
        lines = [
            _row("this process", size(step.memory) if step else "–"),
            _row("its peak", size(step.memory_peak) if step else "–"),
        ]
        room = height - 4
        if room >= 4:
            lines += draw(
                [Series(self.trace)],
                width,
                room,
                include=(0.0,),
                x_name="GB by step",
                empty="after the first step",
                ascii_only=is_plain(),
            )
            lines.append([])
        lines.append([Run("no card: training on the CPU", LABEL)])
        return lines

    def _card(self, width: int, height: int) -> list[Line]:
        step, gpu = self.step, self.gpu
        lines = [
            _row("tensors", size(step.memory) if step else "–"),
            _row("reserved", size(step.memory_reserved) if step else "–"),
            _row("peak", size(step.memory_peak) if step else "–"),
        ]
        if gpu is None or not gpu.memory_total or gpu.memory_used is None:
            return [*lines, _row("whole card", "–")]
        share = gpu.memory_used / gpu.memory_total
        lines.append(_row("whole card", size(gpu.memory_used), f" of {size(gpu.memory_total)}"))
        note = f" {share:.0%}".replace("%", " %") + (" tight" if share >= TIGHT else "")
        full, free = bar(share, width - len(note))
        role = WARN if share >= TIGHT else 0
        lines.append([Run(full, role), Run(free, LABEL), Run(note, WARN if role else VALUE)])
        return lines[:height]


def _row(label: str, value: str, rest: str = "") -> Line:
    return [Run(f"{label:<13}", LABEL), Run(f"{value:>9}", VALUE), Run(rest, LABEL)]

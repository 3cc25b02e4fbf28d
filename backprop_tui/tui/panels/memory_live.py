"""Memory while training: what tensors hold, the peak, the card with what others hold of it and
where the estimate lies; on a CPU the process."""

from __future__ import annotations

from backprop_tui.core.chart import GUIDE, Run, Series, draw
from backprop_tui.core.events import Event, GpuSampled, Probed, Started, Step
from backprop_tui.core.text import NA, size
from backprop_tui.core.trace import Trace
from backprop_tui.tui.panels.panel import LABEL, VALUE, WARN, Line, Panel, words
from backprop_tui.tui.signs import is_plain

TIGHT = 0.05  # share of the card left free under which it is called tight
GB = 2**30
# Others, this run, free; the second of each on a plain terminal.
SIGNS_OF_BAR = (("╍", "━", "─"), ("=", "#", "."))
MARK = ("┃", "|")  # where the estimate lies in the bar


class MemoryPanel(Panel):
    """Figures first; a bar of the card, or a chart of the process where there is room."""

    TITLE = "Memory"

    def __init__(self, *, on_cpu: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self.on_cpu = on_cpu
        self.step: Step | None = None
        self.gpu: GpuSampled | None = None
        self.probed: Probed | None = None
        self.trace = Trace()

    def restart(self) -> None:
        """An empty curve; the newest readings stay until there are others."""
        super().restart()
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
            case Probed():
                self.probed = event
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
                if tight := headroom(gpu):
                    line.append(Run(f", {tight}", WARN))
            readings = [f"{gpu.utilisation} %"] if gpu.utilisation is not None else []
            readings += [f"{gpu.temperature} °C"] if gpu.temperature is not None else []
            readings += [f"{gpu.power:.0f} W"] if gpu.power is not None else []
            if readings and not headroom(gpu):
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
        estimate = self.probed.estimate if self.probed else None
        tensors = _pair(
            ("allocated", size(step.memory) if step else "–"),
            ("reserved", size(step.memory_reserved) if step else "–"),
        )
        highest = _pair(("peak", size(step.memory_peak) if step else "–"))
        if estimate is not None:
            line = MARK[is_plain()]
            highest += [Run(f"  {line} ", GUIDE), Run("expected ", LABEL)]
            highest.append(Run(size(estimate), VALUE))
        lines = [tensors, highest]
        if gpu is None or not gpu.memory_total or gpu.memory_used is None:
            return [*lines, _row("whole card", "–")][:height]
        if gpu.others is not None:
            theirs, full, _ = SIGNS_OF_BAR[is_plain()]
            own = size(gpu.memory_used - gpu.others) if gpu.memory_used >= gpu.others else NA
            lines.append(
                [
                    *(Run(f"{theirs * 2} ", 1), Run("others ", LABEL)),
                    Run(size(gpu.others), VALUE),
                    *(Run(f"  {full * 2} ", 0), Run("run ", LABEL), Run(own, VALUE)),
                ]
            )
        lines.append(_row("whole card", size(gpu.memory_used), f" of {size(gpu.memory_total)}"))
        return [*lines, card_bar(gpu, estimate, width)][-height:]


def _pair(*facts: tuple[str, str]) -> Line:
    """Names and values side by side."""
    line: Line = []
    for label, value in facts:
        line += [Run(f"{'  ' if line else ''}{label} ", LABEL), Run(value, VALUE)]
    return line


def headroom(gpu: GpuSampled) -> str:
    """A warning once little of the card is left; "" before."""
    if not gpu.memory_total or gpu.memory_used is None:
        return ""
    left = gpu.memory_total - gpu.memory_used
    return f"tight: {size(left)} left" if left < TIGHT * gpu.memory_total else ""


def card_bar(gpu: GpuSampled, estimate: int | None, width: int) -> Line:
    """The card: what others hold, what this run holds, what is free; a line at the estimate."""
    total, used = gpu.memory_total or 1, gpu.memory_used or 0
    held = min(used, gpu.others or 0)
    tight = headroom(gpu)
    note = f" {tight or f'{used / total:.0%}'.replace('%', ' %')}"
    room = width - len(note)
    ends = [round(n / total * room) for n in (held, used)]
    theirs, full, free = SIGNS_OF_BAR[is_plain()]
    cells = [(theirs, 1)] * ends[0] + [(full, 0)] * (ends[1] - ends[0])
    cells += [(free, LABEL)] * (room - len(cells))
    if estimate is not None:
        cells[min(room - 1, round((held + estimate) / total * room))] = (MARK[is_plain()], GUIDE)
    runs: Line = []
    for sign, role in cells:
        if runs and runs[-1].role == role:
            runs[-1] = Run(runs[-1].text + sign, role)
        else:
            runs.append(Run(sign, role))
    return [*runs, Run(note, WARN if tight else VALUE)]


def _row(label: str, value: str, rest: str = "") -> Line:
    return [Run(f"{label:<13}", LABEL), Run(f"{value:>9}", VALUE), Run(rest, LABEL)]

"""The memory bar: what the plan takes, by part, against what is free."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.memory import PARTS, Estimate
from backprop_tui.core.text import size
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View

# Neighbours differ in shade, and every part carries its name or its own letter as well.
EVEN, ODD = "$foreground on $primary-muted", "$foreground on $accent-muted"
LETTERS = {
    "weights": "w",
    "quantisation": "q",
    "adapter": "a",
    "gradients": "g",
    "optimizer": "o",
    "activations": "c",
    "loss": "l",
    "reference": "r",
    "overhead": "v",
}
STYLES = {part: (EVEN, ODD)[index % 2] for index, part in enumerate(PARTS)}


class MemoryBar(Static):
    """Two lines, and a third with the figures where there is room."""

    def __init__(self) -> None:
        super().__init__(id="memory-bar")
        self._view: View | None = None

    def show(self, view: View) -> None:
        """Show the estimate of a view."""
        self._view = view
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        width = self.size.width
        if self._view is None or width < 20:
            return
        memory = self._view.memory
        if memory is None:
            put(self, unknown(self._view), layout=False)
            return
        lines = [verdict(memory, self._view), stacked(memory, width)]
        if self.size.height > 2:
            lines.append(legend(memory, width))
        put(self, Content("\n").join(lines), layout=False)


def unknown(view: View) -> Content:
    """What to say while there is nothing to estimate from."""
    if view.facts.model is None:
        text = "choose a model to see what the plan takes"
    else:
        text = "this model's config does not give its sizes, so nothing can be estimated"
    return Content.from_markup("[b]Memory[/b]  [$muted]$text[/]", text=text)


def verdict(memory: Estimate, view: View) -> Content:
    """Needed, free, and whether it fits, in words."""
    text = "[b]Memory[/b]  roughly $needed needed"
    if memory.available is None:
        text += "[$muted]; how much is free is not known[/]"
    else:
        text += ", $free free $where   "
        text += "[$text-success]$yes fits[/]" if memory.fits else "[$text-error]$no does not fit[/]"
    return Content.from_markup(
        text,
        needed=size(memory.needed),
        free=size(memory.available),
        where="on the card" if view.effective.device == "cuda" else "in main memory",
        yes=SIGNS.done,
        no=SIGNS.problem,
    )


def stacked(memory: Estimate, width: int) -> Content:
    """The parts side by side, each as wide as its share; a bar where what is free ends."""
    available = memory.available or 0
    whole = max(memory.needed, available)
    cells = shares([memory.parts[part] for part in PARTS], whole, width)
    pieces = [
        Content.styled(label(part, n), STYLES[part])
        for part, n in zip(PARTS, cells, strict=True)
        if n
    ]
    rest = width - sum(cells)
    line = Content.assemble(*pieces, Content.styled(SIGNS.free * rest, "$text-disabled"))
    if memory.fits is not False:
        return line
    edge = min(width - 1, round(available / whole * width))
    limit = Content.styled(SIGNS.limit, "bold $text-error on $error-muted")
    return Content.assemble(line[:edge], limit, line[edge + 1 :])


def shares(values: list[int], whole: int, width: int) -> list[int]:
    """Widths in cells that add up to the rounded share of the whole."""
    cells, before = [], 0
    for value in values:
        after = before + value
        cells.append(round(after / whole * width) - round(before / whole * width))
        before = after
    return cells


def label(part: str, width: int) -> str:
    """A part's name if it fits, else its letter, filled to the width."""
    text = part if len(part) + 1 <= width else LETTERS[part]
    return text.ljust(width)[:width]


def legend(memory: Estimate, width: int) -> Content:
    """Every part there is with its letter, and with its figure where there is room."""
    there = [part for part in PARTS if memory.parts[part]]
    named = [f"{LETTERS[part]} {part}" for part in there]
    full = f" {SIGNS.dot} ".join(
        f"{name} {size(memory.parts[part])}" for name, part in zip(named, there, strict=True)
    )
    short = " ".join(named)
    return Content.styled(full if len(full) <= width else short, "$muted")

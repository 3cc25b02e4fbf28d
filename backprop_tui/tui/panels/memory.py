"""The memory bar: what the plan takes, by part, against what is free."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.facts import Gpu
from backprop_tui.core.memory import PARTS, Estimate
from backprop_tui.core.text import size
from backprop_tui.core.what_fits import in_words
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
COLUMN, GAP = 24, 2  # cells of a part with its figure, and between two
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
        lines = [verdict(self._view)]
        if memory is not None:
            lines.append(stacked(memory, width))
        if memory is not None and self.size.height > 2:
            lines.append(legend(memory, width))
        put(self, Content("\n").join(lines), layout=False)


def said(view: View) -> Content:
    """Whether the plan fits, in words."""
    memory = view.memory
    if view.facts.model is None:
        return Content.styled("choose a model to see what the plan takes", "$muted")
    if view.not_modelled:
        text = f"cannot be estimated: {view.not_modelled}; it is measured when the run starts"
        return Content(text)
    if memory is None:
        text = "this model's config does not give its sizes, so nothing can be estimated"
        return Content.styled(text, "$muted")
    if memory.fits is None:
        return Content(f"{size(memory.needed)} needed; how much is free is not known")
    # Roughly is said in words, so that a sign and a colour never promise more.
    colour, sign = ("$text-success", SIGNS.done) if memory.fits else ("$text-error", SIGNS.problem)
    return Content.styled(f"{sign} {in_words(memory, view.change, card_of(view))}", colour)


def verdict(view: View) -> Content:
    """The first line: whether it fits, and the two figures it follows from."""
    memory = view.memory
    needed = ""
    if memory is not None and memory.available is not None:
        needed = f"  {size(memory.needed)} needed, {free(view)}"
    return Content.assemble(
        Content.styled("Memory", "bold"),
        "  ",
        said(view),
        Content.styled(needed, "$muted"),
    )


def card_of(view: View) -> Gpu | None:
    """The card it is to train on."""
    return view.facts.gpu_card if view.effective.device == "cuda" else None


def free(view: View) -> str:
    """What is free, and where."""
    available = view.memory.available if view.memory else None
    where = "on the card" if view.effective.device == "cuda" else "in main memory"
    return f"{size(available)} free {where}"


def stacked(memory: Estimate, width: int) -> Content:
    """The parts side by side, each as wide as its share; a bar where what is free ends."""
    available = memory.available or 0
    whole = max(memory.needed, available)
    widths = cells(memory, width)
    pieces = [Content.styled(label(part, n), STYLES[part]) for part, n in widths.items() if n]
    rest = width - sum(widths.values())
    line = Content.assemble(*pieces, Content.styled(SIGNS.free * rest, "$text-disabled"))
    if memory.fits is not False:
        return line
    edge = min(width - 1, round(available / whole * width))
    limit = Content.styled(SIGNS.limit, "bold $text-error on $error-muted")
    return Content.assemble(line[:edge], limit, line[edge + 1 :])


def cells(memory: Estimate, width: int) -> dict[str, int]:
    """How many cells of the bar each part takes."""
    whole = max(memory.needed, memory.available or 0)
    return dict(zip(PARTS, shares([memory.parts[p] for p in PARTS], whole, width), strict=True))


def shares(values: list[int], whole: int, width: int) -> list[int]:
    """Widths in cells that add up to the rounded share of the whole."""
    widths, before = [], 0
    for value in values:
        after = before + value
        widths.append(round(after / whole * width) - round(before / whole * width))
        before = after
    return widths


def label(part: str, width: int) -> str:
    """A part's name if it fits, else its letter, filled to the width."""
    text = part if len(part) + 2 <= width else LETTERS[part]
    return (f" {text}" if width > len(text) else text).ljust(width)[:width]


def legend(memory: Estimate, width: int) -> Content:
    """All parts with their figures where there is room, else those whose name is not in the bar."""
    there = [part for part in PARTS if memory.parts[part]]
    widths = cells(memory, width)
    short = [part for part in there if widths[part] < len(part) + 1]
    seen = [part for part in short if widths[part]]
    dot = f" {SIGNS.dot} "
    choices = [
        dot.join(_named(part, memory) for part in there),
        dot.join(_named(part, memory) for part in short),
        dot.join(_named(part) for part in short),
        " ".join(_named(part) for part in short),
        dot.join(_named(part) for part in seen),
        " ".join(_named(part) for part in seen),
    ]
    fitting = (text for text in choices if len(text) <= width)
    return Content.styled(next(fitting, choices[-1]), "$muted")


def _named(part: str, memory: Estimate | None = None) -> str:
    figure = f" {size(memory.parts[part])}" if memory else ""
    return f"{LETTERS[part]} {part}{figure}"


def figures(memory: Estimate, width: int) -> Content:
    """Every part there is with its letter and its figure, in columns."""
    there = [part for part in PARTS if memory.parts[part]]
    each = [
        Content.assemble(
            Content.styled(f" {LETTERS[part]} ", STYLES[part]),
            f" {part:<12}",
            Content.styled(f"{size(memory.parts[part]):>8}", "bold"),
        )
        for part in there
    ]
    columns = max(1, (width + GAP) // (COLUMN + GAP))
    gap = Content(" " * GAP)
    return Content("\n").join(
        gap.join(each[first : first + columns]) for first in range(0, len(each), columns)
    )

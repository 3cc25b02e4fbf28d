"""Which layout a file has, and which of them reads one of its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from backprop_tui.core.facts import Shape
from backprop_tui.core.rows import Row

from .cells import Record
from .layout import Layout
from .shapes import LAYOUTS

_STRAYS = {
    shape: tuple(layout for layout in LAYOUTS if layout.stray and layout.shape == shape)
    for shape in ("sft", "paired", "unpaired", "other")
}


def decide(
    records: Sequence[Record], shape: Shape | None, mapped: Collection[str] = ()
) -> Layout | None:
    """The file's layout: the first in order that at least half of the records fit.

    Where none fits half, the one most records fit; None when no record fits any.
    shape: look only among the layouts of this shape. mapped: our columns the user named.
    """
    seen = {name for record in records for name in record}
    counts = {
        layout: sum(map(layout.fits, records))
        for layout in LAYOUTS
        if shape in (None, layout.shape)
        and seen.issuperset(layout.needs)
        and all(name in mapped for name in layout.mapped)
    }
    counts = {
        layout: n for layout, n in counts.items() if n == len(records) or (n and not layout.every)
    }
    half = next((layout for layout, n in counts.items() if n and 2 * n >= len(records)), None)
    return half or max(counts, key=lambda layout: counts[layout], default=None)


def build(main: Layout, number: int, record: Record) -> Row:
    """Our row, by the file's layout or another of its shape that this record fits better.

    Raises Unusable with the reason, in the terms of the file's layout, when none fits.
    """
    if main.fits(record):
        return main.build(number, record)
    if not main.mapped:
        for layout in _STRAYS[main.shape]:
            if layout.fits(record):
                return layout.build(number, record)
    return main.build(number, record)

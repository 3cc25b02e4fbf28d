"""How the rows of a data set are read: settled once over a sample, then applied row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import Offer, Shape
from backprop_tui.core.rows import NO_SHAPE, NOT_A_ROW, Row

from .build import TEXT_LABELS, Record
from .other import forced_in_vain, judged_column, looks_like
from .shapes import COLUMNS, LAYOUTS, Layout, build, decide
from .turns import Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user said about the columns; all of it may be left open.

    columns: our name -> the file's. labels: text in the label column -> good or bad.
    shape: read the file as this, whatever it looks like.
    """

    columns: dict[str, str] | None = None
    labels: dict[str, bool] | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The layout of a data set, or None with advice on what would make it usable.

    text_cells: every cell is text, as in CSV, so labels are read from text.
    """

    layout: Layout | None
    advice: str = ""
    offers: tuple[Offer, ...] = ()
    asked: Asked
    text_cells: bool = False

    @property
    def shape(self) -> Shape:
        """Which methods can read it."""
        return self.layout.shape if self.layout else "other"

    def row(self, number: int, value: Any) -> Row:
        """Our row of one record. Raises Unusable with the reason to drop it."""
        if not isinstance(value, dict):
            raise Unusable(NOT_A_ROW)
        if self.layout is None:
            raise Unusable(NO_SHAPE)
        return build(self.layout, number, prepared(value, self.asked, self.text_cells))


def decision(
    name: str,
    records: Sequence[Record],
    columns: tuple[str, ...],
    asked: Asked,
    *,
    text_cells: bool = False,
) -> Decision:
    """Settle the layout over a sample. Raises InputError for a mapping that cannot be.

    name: of the data set, for errors. columns: every column seen.
    """
    _check_columns(name, asked.columns or {}, columns)
    sampled = [prepared(record, asked, text_cells) for record in records]
    layout = decide(sampled, asked.shape)
    advice = ""
    if layout is None:
        advice = (
            looks_like(sampled) if sampled else "It holds no JSON object, so it has no columns."
        )
        if asked.shape in ("sft", "paired", "unpaired"):
            advice = forced_in_vain(asked.shape, columns)
            layout = next(entry for entry in LAYOUTS if entry.shape == asked.shape)
    elif layout.shape == "sft" and asked.shape is None and (judge := judged_column(sampled)):
        advice = f"It has {layout.name}, and {judge}"
        layout = None
    return Decision(layout=layout, advice=advice, asked=asked, text_cells=text_cells)


def _check_columns(name: str, columns: dict[str, str], names: tuple[str, ...]) -> None:
    for ours, theirs in columns.items():
        wrong, allowed = (ours, COLUMNS) if ours not in COLUMNS else (theirs, names)
        if wrong not in allowed:
            from difflib import get_close_matches

            close = get_close_matches(wrong, allowed, n=1)
            what = "we read no column" if wrong == ours else "the data has no column"
            raise InputError(
                f"{name}: columns.{ours} = {theirs!r}: {what} {wrong!r}",
                code="DATA_COLUMN",
                hint=(f"did you mean {close[0]}? " if close else "")
                + f"there are: {', '.join(allowed)}",
            )


def prepared(record: Record, asked: Asked, text_cells: bool) -> Record:
    """The record under our column names; where every cell is text, its label read."""
    if asked.columns:
        named = {*asked.columns, *asked.columns.values()}
        rest = {name: cell for name, cell in record.items() if name not in named}
        record = rest | {
            ours: record[name] for ours, name in asked.columns.items() if name in record
        }
    if text_cells and isinstance(label := record.get("label"), str):
        record = {**record, "label": TEXT_LABELS.get(label.strip().lower(), label)}
    return record

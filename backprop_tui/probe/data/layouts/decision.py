"""How the rows of a data set are read: settled once over a sample, then applied row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import Offer, Shape
from backprop_tui.core.printable import printable
from backprop_tui.core.rows import MEDIA, NO_SHAPE, NOT_A_ROW, Row

from .cells import Record
from .choose import build, decide
from .columns import leads_somewhere, prepared
from .judged import judged, rating_offers, unusable_labels
from .layout import Layout
from .offers import Look, is_writable, listed
from .other import looks_like, lost_prompt
from .shapes import COLUMNS, LAYOUTS, SHARED_START
from .turns import Unusable

# Columns whose row is more than its text. Without what they hold, the answer would be trained
# as an answer to something the model never saw.
HOLD_MEDIA = frozenset({"images", "image", "videos", "video", "audios", "audio"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user said about the columns; all of it may be left open.

    columns: our name -> the file's, or a path into one of its columns ("data.0.answer").
    labels: value of the label column, as text -> good or bad; of a winner, first or second.
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
        asked = self.asked
        if asked.columns or asked.labels or self.text_cells:
            value = prepared(value, asked.columns, asked.labels, self.text_cells)
        if not HOLD_MEDIA.isdisjoint(value) and any(value.get(name) for name in HOLD_MEDIA):
            raise Unusable(MEDIA)
        return build(self.layout, number, value)


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
    _check_columns(name, asked.columns or {}, columns, records)
    sampled = [prepared(record, asked.columns, asked.labels, text_cells) for record in records]
    layout = decide(sampled, asked.shape, asked.columns or ())
    advice = ""
    offers: tuple[Offer, ...] = ()
    look: Look | None = None
    if layout is None:
        look = looks_like(sampled) if sampled else Look(NO_OBJECT)
        if asked.shape in ("sft", "paired", "unpaired"):
            advice = _forced_in_vain(asked.shape, columns)
            layout = next(
                entry for entry in LAYOUTS if entry.shape == asked.shape and not entry.mapped
            )
    elif layout.shape == "unpaired" and not layout.every and not asked.labels:
        look = unusable_labels(sampled)
    elif asked.shape is None and (look := _more_than_it_seems(layout, sampled)):
        layout = None
    elif layout.shape == "sft":
        offers = rating_offers(sampled)
    if look:
        advice, offers = advice or look.advice, look.offers
    return Decision(
        layout=layout,
        advice=advice,
        offers=tuple(filter(is_writable, (_on_top(one, asked) for one in offers))),
        asked=asked,
        text_cells=text_cells,
    )


MOST_NAMED = 40  # columns that an error lists; some files have a hundred thousand
NO_OBJECT = "It holds no JSON object, so it has no columns."


def _forced_in_vain(shape: str, names: tuple[str, ...]) -> str:
    """No row has the columns of the shape the user asked for."""
    needs = {
        "sft": "messages, conversations, instruction and output, or prompt and completion",
        "paired": "chosen and rejected, and a prompt",
        "unpaired": "prompt, completion and label",
    }
    return (
        f"The shape {shape} was asked for, but no row has its columns ({needs[shape]}). "
        f"There are: {listed(names)}."
    )


def _more_than_it_seems(layout: Layout, sampled: Sequence[Record]) -> Look | None:
    """Why a layout that fits is not taken without being asked for; None when it is."""
    if layout.shape == "sft":
        return judged(sampled, layout.name)
    return lost_prompt(sampled) if layout is SHARED_START else None


def _on_top(offer: Offer, asked: Asked) -> Offer:
    """The offer with the columns already mapped, whose names it may use."""
    if not asked.columns:
        return offer
    changes = dict(offer.changes)
    added = changes.get("data.columns", {})
    columns = asked.columns | {
        ours: asked.columns.get(theirs, theirs) for ours, theirs in added.items()
    }
    return replace(offer, changes=tuple((changes | {"data.columns": columns}).items()))


def _check_columns(
    name: str, columns: dict[str, str], names: tuple[str, ...], records: Sequence[Record]
) -> None:
    for ours, theirs in columns.items():
        wrong, allowed = (ours, COLUMNS) if ours not in COLUMNS else (theirs, names)
        if wrong in allowed or (
            wrong != ours and any(leads_somewhere(record, theirs) for record in records)
        ):
            continue
        from difflib import get_close_matches

        close = get_close_matches(wrong, allowed, n=1)
        what = "we read no column" if wrong == ours else "the data has no column"
        raise InputError(
            f"{name}: columns.{ours} = {theirs!r}: {what} {wrong!r}",
            code="DATA_COLUMN",
            hint=(f"did you mean {close[0]}? " if close else "")
            + f"there are: {printable(listed(allowed, MOST_NAMED))}",
        )

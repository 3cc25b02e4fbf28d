"""The ways to read a file's columns that the mapping offers, and which one a plan stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backprop_tui.core.runfile import DataSection

if TYPE_CHECKING:
    from backprop_tui.probe.data import Loaded

NONE = ""  # "no column" in a list of columns
FOUND = "found"
# How rows may be read: what it is called, the run file's shape, and the columns it asks for.
READINGS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    FOUND: ("as it was recognised", None, ()),
    "pairs": ("pairs, better and worse", "paired", ("prompt", "chosen", "rejected")),
    "ranked": ("lists of answers, best first", "paired", ("prompt", "answers", "scores", "ranks")),
    "winner": (
        "two answers, and which one won",
        "paired",
        ("prompt", "first", "second", "winner"),
    ),
    "marks": ("answers marked good or bad", "unpaired", ("prompt", "completion", "label")),
    "answers": ("answers to imitate", "sft", ("prompt", "completion")),
    "chats": ("conversations to imitate", "sft", ("messages",)),
}
# Of those, the ones without which there is nothing to train.
NEEDED = {
    "chosen", "rejected", "answers", "first", "second", "winner", "completion", "label", "messages"
}  # fmt: skip
COLUMNS = tuple(dict.fromkeys(name for _, _, names in READINGS.values() for name in names))
HELP = {
    "prompt": "what the model is asked",
    "chosen": "the better answer",
    "rejected": "the worse answer",
    "answers": "a list of answers to the prompt",
    "scores": "their scores: the highest is best",
    "ranks": "their ranks: 1 is best; without, the first is",
    "first": "one answer",
    "second": "the other",
    "winner": "says which is better",
    "completion": "the answer",
    "label": "says whether the answer is good",
    "messages": "a list of turns",
}
GOOD, BAD, OUT = "good", "bad", "out"
MEANINGS = {
    "label": [("means good", GOOD), ("means bad", BAD), ("leave the row out", OUT)],
    "winner": [("the first is better", GOOD), ("the second is", BAD), ("leave the row out", OUT)],
}
TRUE_OR_FALSE = {"true", "false"}
PLAIN_LABELS = TRUE_OR_FALSE | {"0", "1"}  # read as they are
OFFER = "offer "  # begins the name of a reading that was offered


def offered(loaded: Loaded) -> Mapping[str, str]:
    """The columns of the first way that reading found to make the data usable."""
    changes = (dict(offer.changes) for offer in loaded.decision.offers)
    return next((dict(each["data.columns"]) for each in changes if each.get("data.columns")), {})


def reading_of(data: DataSection) -> str:
    """Which reading a plan already stands for."""
    columns: Mapping[str, str] = data.columns or {}
    if data.shape is None and not columns and not data.labels:
        return FOUND
    for key, column in {"ranked": "answers", "winner": "winner", "chats": "messages"}.items():
        if column in columns:
            return key
    if data.shape == "sft":
        return "answers"
    marked = data.shape == "unpaired" or "label" in columns or data.labels
    return "marks" if marked else "pairs"

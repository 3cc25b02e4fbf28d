"""The layouts we read: one table of how each is recognised and how a row becomes our row.

To add one, write an entry in LAYOUTS and an example in tests/probe/test_data_shapes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.facts import Shape
from backprop_tui.core.rows import Row

from .build import (
    Record,
    alpaca,
    answer_of,
    chat,
    chatml_text,
    is_label,
    labelled_instruction,
    labelled_messages,
    labelled_prompt,
    pair,
    pair_after_instruction,
    pair_prompt_repeated,
    pair_shared_start,
    prompt_completion,
)
from .turns import ASSISTANT, is_turns, role_of


def _any(record: Record) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to write rows.

    name: the columns that decide, in words. needs: columns that must hold something.
    sign: what else must be true of a row to recognise it.
    build: (row number, record) -> our row; raises Unusable with the reason to drop it.
    """

    name: str
    shape: Shape
    needs: tuple[str, ...]
    build: Callable[[int, Record], Row]
    sign: Callable[[Record], bool] = _any

    def fits(self, record: Record) -> bool:
        return all(record.get(name) is not None for name in self.needs) and self.sign(record)


def _has_label(record: Record) -> bool:
    return "label" in record  # a null label is still a label column


def _answer_then_label(record: Record) -> bool:
    messages = record["messages"]
    return _has_label(record) and is_turns(messages) and role_of(messages[-1]) == ASSISTANT


def _has_one_answer(record: Record) -> bool:
    """Alpaca's output, not a list of ranked ones."""
    answer = answer_of(record)
    return answer is not None and not isinstance(answer, list)


def _is_text_or_turns(value: Any) -> bool:
    return not isinstance(value, list) or is_turns(value)


def _repeats_prompt(record: Record) -> bool:
    """Both sides are strings that start with the prompt and go on after a break."""
    prompt, sides = record["prompt"], (record["chosen"], record["rejected"])
    if not isinstance(prompt, str) or not prompt.strip():
        return False
    return all(
        isinstance(side, str)
        and side.startswith(prompt)
        and (prompt[-1].isspace() or prompt[-1] == ":" or side[len(prompt) :][:1].isspace())
        for side in sides
    )


def _is_chatml(record: Record) -> bool:
    return isinstance(record["text"], str) and "<|im_start|>" in record["text"]


def _turns_in(column: str) -> Callable[[Record], bool]:
    return lambda record: is_turns(record[column])


# In order of precedence: the first layout that most rows fit is the file's.
LAYOUTS = (
    Layout(
        "prompt, completion, label",
        "unpaired",
        ("prompt", "completion"),
        labelled_prompt,
        _has_label,
    ),
    Layout(
        "instruction, input, output, label",
        "unpaired",
        ("instruction",),
        labelled_instruction,
        lambda record: is_label(record.get("label")) and _has_one_answer(record),
    ),
    Layout("messages, label", "unpaired", ("messages",), labelled_messages, _answer_then_label),
    Layout(
        "prompt, chosen, rejected (the prompt repeated in both)",
        "paired",
        ("prompt", "chosen", "rejected"),
        pair_prompt_repeated,
        _repeats_prompt,
    ),
    Layout("prompt, chosen, rejected", "paired", ("prompt", "chosen", "rejected"), pair("prompt")),
    Layout(
        "instruction, input, chosen, rejected",
        "paired",
        ("instruction", "chosen", "rejected"),
        pair_after_instruction,
    ),
    Layout(
        "question, chosen, rejected", "paired", ("question", "chosen", "rejected"), pair("question")
    ),
    Layout("query, chosen, rejected", "paired", ("query", "chosen", "rejected"), pair("query")),
    Layout(
        "conversations, chosen, rejected",
        "paired",
        ("conversations", "chosen", "rejected"),
        pair("conversations"),
        _turns_in("conversations"),
    ),
    Layout(
        "messages, chosen, rejected",
        "paired",
        ("messages", "chosen", "rejected"),
        pair("messages"),
        _turns_in("messages"),
    ),
    Layout("chosen, rejected", "paired", ("chosen", "rejected"), pair_shared_start),
    Layout(
        "conversations (ShareGPT)",
        "sft",
        ("conversations",),
        chat("conversations"),
        _turns_in("conversations"),
    ),
    Layout("messages (OpenAI)", "sft", ("messages",), chat("messages"), _turns_in("messages")),
    Layout("instruction, input, output (Alpaca)", "sft", ("instruction",), alpaca, _has_one_answer),
    Layout("text (ChatML)", "sft", ("text",), chatml_text, _is_chatml),
    Layout(
        "prompt, completion",
        "sft",
        ("prompt", "completion"),
        prompt_completion,
        lambda record: not _has_label(record) and _is_text_or_turns(record["completion"]),
    ),
)

# The names [data.columns] may give to a file's columns.
COLUMNS = (
    "prompt", "chosen", "rejected", "completion", "label", "messages", "conversations",
    "instruction", "input", "output", "response", "text", "question", "query", "system", "history",
)  # fmt: skip


def decide(records: Sequence[Record], shape: Shape | None) -> Layout | None:
    """The file's layout: the first in order that at least half of the records fit.

    Where none fits half, the one most records fit; None when no record fits any.
    shape: look only among the layouts of this shape.
    """
    counts = {
        layout: sum(map(layout.fits, records))
        for layout in LAYOUTS
        if shape in (None, layout.shape)
    }
    half = next((layout for layout, n in counts.items() if n and 2 * n >= len(records)), None)
    most = max(counts, key=lambda layout: counts[layout], default=None)
    return half or (most if most and counts[most] else None)


def build(main: Layout, number: int, record: Record) -> Row:
    """Our row, by the file's layout or another of its shape that this record fits better.

    Raises Unusable with the reason, in the terms of the file's layout, when none fits.
    """
    if main.fits(record):
        return main.build(number, record)
    for layout in LAYOUTS:
        # Where the other rows have a prompt column, a row without one has lost its prompt.
        if layout.build is pair_shared_start:
            continue
        if layout.shape == main.shape and layout.fits(record):
            return layout.build(number, record)
    return main.build(number, record)

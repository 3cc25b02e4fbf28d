"""What several layouts take from a record: a cell, an instruction, the turns before a question."""

from __future__ import annotations

from math import isfinite
from typing import Any

from backprop_tui.core.rows import EMPTY, NO_ANSWER, NOT_TEXT, SIDE_MISSING, Message

from .overlap import Turns, led_by_system
from .turns import ASSISTANT, SYSTEM, USER, Unusable, is_turns, text, turns

Record = dict[str, Any]  # one row as read: column -> JSON value


def cell(record: Record, column: str, reason: str = SIDE_MISSING) -> Any:
    """A column's value. Null counts as absent: Parquet has no other way to leave a cell out."""
    value = record.get(column)
    if value is None:
        raise Unusable(reason)
    return value


def instruction(record: Record) -> str:
    """Alpaca's prompt: the instruction, a blank line, and the input when it is not empty."""
    parts = (record.get("instruction"), record.get("input"))
    texts = [text(part).strip() for part in parts if part is not None]
    return "\n\n".join(part for part in texts if part)


def answer_of(record: Record) -> Any:
    """The answer of an Alpaca row: `output`, or `response` where there is no output."""
    output = record.get("output")
    return output if output is not None else record.get("response")


def opening(record: Record, messages: Turns) -> Turns:
    """The turns with what the columns `system` and `history` put before them.

    history: earlier [question, answer] pairs, or turns; any other kind of list is not text.
    """
    before: list[Message] = []
    system = record.get("system") or record.get("system_prompt")
    if isinstance(system, str) and system.strip() and not led_by_system(messages):
        before.append(Message(SYSTEM, text(system)))
    history = record.get("history")
    if is_turns(history):
        before += turns(history, USER)
    elif isinstance(history, list):
        for entry in history:
            if not isinstance(entry, list) or len(entry) != 2:
                raise Unusable(NOT_TEXT)
            before += (Message(USER, text(entry[0])), Message(ASSISTANT, text(entry[1])))
    return (*before, *messages) if before else messages


def check_answer(messages: Turns) -> None:
    """Some turn is the assistant's."""
    if all(message.role != ASSISTANT for message in messages):
        raise Unusable(NO_ANSWER)


def check_filled(messages: Turns) -> None:
    """Every turn says something; only a system turn may be empty (it switches a default off)."""
    if any(not message.content.strip() and message.role != SYSTEM for message in messages):
        raise Unusable(EMPTY)


def number_of(value: object) -> float | None:
    """A finite number, or None for anything else: text, true, NaN, an integer out of range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None

"""How a record becomes our row. Each function raises Unusable with the reason to drop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backprop_tui.core.rows import (
    DIFFERENT_PROMPTS,
    EMPTY,
    IDENTICAL,
    LABEL_UNUSABLE,
    NO_ANSWER,
    NOT_TEXT,
    SIDE_MISSING,
    Chat,
    Labelled,
    Message,
    Pair,
    text_of,
)

from .overlap import Turns, after, led_by_system, shared_text, shared_turns
from .turns import ASSISTANT, SYSTEM, USER, Unusable, chatml, prompt_turns, text, transcript, turns

Record = dict[str, Any]  # one row as read: column -> JSON value

# Labels where every cell is text, as in CSV. "1.0" is a score, not a label.
TEXT_LABELS = {"true": True, "false": False, "1": True, "0": False}


def labelled_prompt(number: int, record: Record) -> Labelled:
    prompt = _opening(record, prompt_turns(_cell(record, "prompt")))
    prompt, completion = after(prompt, turns(_cell(record, "completion"), ASSISTANT))
    return _labelled(number, prompt, completion, record)


def labelled_instruction(number: int, record: Record) -> Labelled:
    answer = answer_of(record)
    if answer is None:
        raise Unusable(SIDE_MISSING)
    prompt = _opening(record, (Message(USER, _instruction(record)),))
    return _labelled(number, prompt, turns(answer, ASSISTANT), record)


def labelled_messages(number: int, record: Record) -> Labelled:
    messages = _opening(record, turns(_cell(record, "messages", NO_ANSWER), USER))
    if messages[-1].role != ASSISTANT:
        raise Unusable(NO_ANSWER)
    return _labelled(number, messages[:-1], messages[-1:], record)


def _labelled(number: int, prompt: Turns, completion: Turns, record: Record) -> Labelled:
    # Turns that come before the answer belong to the prompt.
    asked = next((i for i, turn in enumerate(completion) if turn.role == ASSISTANT), 0)
    prompt, completion = prompt + completion[:asked], completion[asked:]
    if not prompt:
        raise Unusable(SIDE_MISSING)
    _check_answer(completion)
    _check_filled(prompt + completion)
    label = record.get("label")
    if not is_label(label):
        nested = isinstance(label, (list, dict))
        said = type(label).__name__ if nested else repr(label)
        raise Unusable(LABEL_UNUSABLE, f"label: {said[:60] if 'label' in record else 'missing'}")
    return Labelled(number, prompt, completion, bool(label))


def is_label(value: object) -> bool:
    """True, False, 0 or 1; 1.0 reads as a score."""
    return isinstance(value, bool) or (type(value) is int and value in (0, 1))


def pair(column: str) -> Callable[[int, Record], Pair]:
    """Pairs whose prompt stands in `column`, as a string or turns."""

    def build(number: int, record: Record) -> Pair:
        return _pair(number, record, _opening(record, prompt_turns(_cell(record, column))))

    return build


def pair_after_instruction(number: int, record: Record) -> Pair:
    return _pair(number, record, _opening(record, prompt_turns(_instruction(record))))


def pair_prompt_repeated(number: int, record: Record) -> Pair:
    """Strings that start with the prompt: it is taken off both (transcripts go by turns)."""
    prompt, *sides = (record.get(name) for name in ("prompt", "chosen", "rejected"))
    if isinstance(prompt, str) and prompt:
        rest = [
            side[len(prompt) :].lstrip()
            for side in sides
            if isinstance(side, str) and side.startswith(prompt) and not transcript(side)
        ]
        if len(rest) == 2:
            record = {**record, "chosen": rest[0], "rejected": rest[1]}
    return pair("prompt")(number, record)


def pair_shared_start(number: int, record: Record) -> Pair:
    """No prompt column: the turns, or the text, that both sides start with are the prompt."""
    chosen, rejected = _cell(record, "chosen"), _cell(record, "rejected")
    plain = isinstance(chosen, str) and isinstance(rejected, str)
    if not plain or transcript(chosen) or transcript(rejected):
        return _pair(number, record, _opening(record, ()))
    end = shared_text(chosen, rejected)
    prompt = prompt_turns(chosen[:end].strip()) if end else ()
    rest = {"chosen": chosen[end:].lstrip(), "rejected": rejected[end:].lstrip()}
    return _pair(number, {**record, **rest}, _opening(record, prompt))


def _pair(number: int, record: Record, prompt: Turns) -> Pair:
    chosen = turns(_cell(record, "chosen"), ASSISTANT)
    rejected = turns(_cell(record, "rejected"), ASSISTANT)
    if not text_of(chosen).strip() or not text_of(rejected).strip():
        raise Unusable(EMPTY)
    shared = shared_turns(chosen, rejected)
    if shared and shared[-len(prompt) :] == prompt:
        # Full conversations of which the prompt column repeats only the last turns.
        prompt, chosen, rejected = shared, chosen[len(shared) :], rejected[len(shared) :]
    else:
        prompt, chosen = after(prompt, chosen)
        prompt, rejected = after(prompt, rejected)
        shared = shared_turns(chosen, rejected)
        prompt, chosen, rejected = (
            prompt + shared,
            chosen[len(shared) :],
            rejected[len(shared) :],
        )
    if not chosen or not rejected:
        raise Unusable(NO_ANSWER)
    if {chosen[0].role, rejected[0].role} & {USER, SYSTEM}:
        raise Unusable(DIFFERENT_PROMPTS)
    _check_answer(chosen)
    _check_answer(rejected)
    _check_filled(prompt + chosen + rejected)
    if text_of(chosen).strip() == text_of(rejected).strip():
        raise Unusable(IDENTICAL)
    return Pair(number, prompt, chosen, rejected)


def chat(column: str) -> Callable[[int, Record], Chat]:
    """A whole conversation in `column`."""

    def build(number: int, record: Record) -> Chat:
        return _chat(number, _opening(record, turns(_cell(record, column, NO_ANSWER), USER)))

    return build


def alpaca(number: int, record: Record) -> Chat:
    answer = answer_of(record)
    if answer is None:
        raise Unusable(NO_ANSWER)
    prompt = Message(USER, _instruction(record))
    return _chat(number, (*_opening(record, (prompt,)), Message(ASSISTANT, text(answer))))


def answer_of(record: Record) -> Any:
    """The answer of an Alpaca row: `output`, or `response` where there is no output."""
    output = record.get("output")
    return output if output is not None else record.get("response")


def chatml_text(number: int, record: Record) -> Chat:
    return _chat(number, chatml(text(_cell(record, "text", NO_ANSWER))))


def prompt_completion(number: int, record: Record) -> Chat:
    prompt = _opening(record, prompt_turns(_cell(record, "prompt")))
    answer = turns(_cell(record, "completion", NO_ANSWER), ASSISTANT)
    prompt, completion = after(prompt, answer)
    return _chat(number, prompt + completion)


def _chat(number: int, messages: Turns) -> Chat:
    if all(message.role != ASSISTANT for message in messages):
        raise Unusable(NO_ANSWER)
    _check_filled(messages)
    return Chat(number, messages)


def _cell(record: Record, column: str, reason: str = SIDE_MISSING) -> Any:
    """A column's value. Null counts as absent: Parquet has no other way to leave a cell out."""
    value = record.get(column)
    if value is None:
        raise Unusable(reason)
    return value


def _instruction(record: Record) -> str:
    """Alpaca's prompt: the instruction, a blank line, and the input when it is not empty."""
    parts = (record.get("instruction"), record.get("input"))
    texts = [text(part).strip() for part in parts if part is not None]
    return "\n\n".join(part for part in texts if part)


def _opening(record: Record, messages: Turns) -> Turns:
    """The turns with what the columns `system` and `history` put before them.

    history: earlier [question, answer] pairs; any other kind of list is not text.
    """
    before: list[Message] = []
    system = record.get("system")
    if isinstance(system, str) and system.strip() and not led_by_system(messages):
        before.append(Message(SYSTEM, text(system)))
    history = record.get("history")
    for entry in history if isinstance(history, list) else ():
        if not isinstance(entry, list) or len(entry) != 2:
            raise Unusable(NOT_TEXT)
        before += (Message(USER, text(entry[0])), Message(ASSISTANT, text(entry[1])))
    return (*before, *messages)


def _check_answer(messages: Turns) -> None:
    if all(message.role != ASSISTANT for message in messages):
        raise Unusable(NO_ANSWER)


def _check_filled(messages: Turns) -> None:
    """Every turn says something; only a system turn may be empty (it switches a default off)."""
    if any(not message.content.strip() and message.role != SYSTEM for message in messages):
        raise Unusable(EMPTY)

"""How a record with one answer becomes our row. Raises Unusable with the reason to drop it."""

from __future__ import annotations

from collections.abc import Callable

from backprop_tui.core.rows import (
    LABEL_UNMAPPED,
    LABEL_UNUSABLE,
    MEDIA,
    NO_ANSWER,
    SIDE_MISSING,
    Chat,
    Labelled,
    Message,
)

from .cells import Record, answer_of, cell, check_answer, check_filled, instruction, opening
from .columns import Unmapped
from .overlap import Turns, after
from .turns import ASSISTANT, USER, Unusable, chatml, prompt_turns, text, turns


def labelled_prompt(number: int, record: Record) -> Labelled:
    prompt = opening(record, prompt_turns(cell(record, "prompt")))
    prompt, completion = after(prompt, turns(cell(record, "completion"), ASSISTANT))
    return _labelled(number, prompt, completion, record)


def labelled_instruction(number: int, record: Record) -> Labelled:
    answer = answer_of(record)
    if answer is None:
        raise Unusable(SIDE_MISSING)
    prompt = opening(record, (Message(USER, instruction(record)),))
    return _labelled(number, prompt, turns(answer, ASSISTANT), record)


def labelled_turns(column: str) -> Callable[[int, Record], Labelled]:
    """A judged conversation in `column`."""

    def build(number: int, record: Record) -> Labelled:
        messages = opening(record, turns(cell(record, column, NO_ANSWER), USER))
        return _labelled(number, (), messages, record)

    return build


def _labelled(number: int, prompt: Turns, completion: Turns, record: Record) -> Labelled:
    # What is judged is the last answer; whatever was said before it belongs to the prompt.
    check_answer(completion)
    prompt, completion = prompt + completion[:-1], completion[-1:]
    if completion[0].role != ASSISTANT:
        raise Unusable(NO_ANSWER)
    if not prompt:
        raise Unusable(SIDE_MISSING)
    check_filled(prompt + completion)
    label = record.get("label")
    if not is_label(label):
        if isinstance(label, Unmapped):
            raise Unusable(LABEL_UNMAPPED, f"label: {label.text[:60]}")
        nested = isinstance(label, (list, dict))
        said = type(label).__name__ if nested else repr(label)
        raise Unusable(LABEL_UNUSABLE, f"label: {said[:60] if 'label' in record else 'missing'}")
    return Labelled(number, prompt, completion, bool(label))


def is_label(value: object) -> bool:
    """True, False, 0 or 1; 1.0 reads as a score."""
    return isinstance(value, bool) or (type(value) is int and value in (0, 1))


def chat(column: str) -> Callable[[int, Record], Chat]:
    """A whole conversation in `column`."""

    def build(number: int, record: Record) -> Chat:
        return _chat(number, opening(record, turns(cell(record, column, NO_ANSWER), USER)))

    return build


def alpaca(number: int, record: Record) -> Chat:
    answer = answer_of(record)
    if answer is None:
        raise Unusable(NO_ANSWER)
    prompt = Message(USER, instruction(record))
    return _chat(number, (*opening(record, (prompt,)), Message(ASSISTANT, text(answer))))


def chatml_text(number: int, record: Record) -> Chat:
    return _chat(number, chatml(text(cell(record, "text", NO_ANSWER))))


def prompt_completion(number: int, record: Record) -> Chat:
    asked = cell(record, "prompt")
    if isinstance(asked, str) and "<img>" in asked and "</img>" in asked:
        raise Unusable(MEDIA)  # ms-swift writes an image's address into the question
    prompt = opening(record, prompt_turns(asked))
    answer = turns(cell(record, "completion", NO_ANSWER), ASSISTANT)
    prompt, completion = after(prompt, answer)
    return _chat(number, prompt + completion)


def completion_alone(number: int, record: Record) -> Chat:
    """An answer to nothing: raw text, when the user asked for it."""
    return _chat(number, opening(record, turns(cell(record, "completion", NO_ANSWER), ASSISTANT)))


def _chat(number: int, messages: Turns) -> Chat:
    if all(message.role != ASSISTANT for message in messages):
        raise Unusable(NO_ANSWER)
    check_filled(messages)
    return Chat(number, messages)

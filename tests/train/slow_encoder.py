"""Rows -> tokens the plain way, one call of the tokenizer for each text: what the batched
encoder is held against. It knows no length guard."""

from __future__ import annotations

from typing import Any

from backprop_tui.core.rows import Chat, Labelled, Message, Row

IGNORE = -100
Messages = tuple[Message, ...]


def encode(tokenizer: Any, row: Row) -> tuple[list[int], ...]:
    """prompt, chosen, rejected; prompt, completion; or input ids and labels of a chat."""
    if isinstance(row, Chat):
        return chat(tokenizer, row)
    answers = (row.completion,) if isinstance(row, Labelled) else (row.chosen, row.rejected)
    alone = ids(tokenizer, render(tokenizer, row.prompt, opening=True))
    wholes = [ids(tokenizer, render(tokenizer, row.prompt + answer)) for answer in answers]
    shared = min(shared_length(alone, whole) for whole in wholes)
    return alone[:shared], *(up_to_eos(tokenizer, whole[shared:]) for whole in wholes)


def chat(tokenizer: Any, row: Chat) -> tuple[list[int], list[int]]:
    last = max(i for i, message in enumerate(row.messages) if message.role == "assistant")
    messages = row.messages[: last + 1]
    text = render(tokenizer, messages)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = []
    for i, message in enumerate(messages):
        if message.role == "assistant" and i:
            before = render(tokenizer, messages[:i], opening=True)
            after = render(tokenizer, messages[: i + 1])
            assert text.startswith(before)
            assert text.startswith(after)
            eos = tokenizer.eos_token
            spans.append((len(before), after.rfind(eos) + len(eos)))
    labels = [
        token if any(low <= start and stop <= high for low, high in spans) else IGNORE
        for token, (start, stop) in zip(
            encoded["input_ids"], encoded["offset_mapping"], strict=True
        )
    ]
    return encoded["input_ids"], labels


def render(tokenizer: Any, messages: Messages, *, opening: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opening)
    return text


def ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def up_to_eos(tokenizer: Any, answer: list[int]) -> list[int]:
    eos = tokenizer.eos_token_id
    return answer[: len(answer) - answer[::-1].index(eos)] if eos in answer else answer


def shared_length(left: list[int], right: list[int]) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length

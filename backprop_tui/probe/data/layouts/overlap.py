"""Where a prompt ends and an answer begins, when the file repeats or leaves out the prompt."""

from __future__ import annotations

import re

from backprop_tui.core.rows import DIFFERENT_PROMPTS, Message

from .turns import SYSTEM, USER, Unusable

Turns = tuple[Message, ...]

_BREAK = re.compile(r"\n|(?<=[.?!:])\s|[。？！：]")  # a line or a sentence ends


def led_by_system(messages: Turns) -> bool:
    return bool(messages) and messages[0].role == SYSTEM


def after(prompt: Turns, answer: Turns) -> tuple[Turns, Turns]:
    """(prompt, answer) where an answer that repeats the prompt loses it.

    A system turn that only the answer opens with becomes part of the prompt. Where both ask,
    and not the same, nothing says which question the answer is to: Unusable.
    """
    asked = prompt[1:] if led_by_system(prompt) else prompt
    system = answer[:1] if led_by_system(answer) else ()
    rest = answer[len(system) :]
    if asked and same(rest[: len(asked)], asked):
        rest = rest[len(asked) :]
    elif asked and rest and asked[-1].role == rest[0].role == USER:
        raise Unusable(DIFFERENT_PROMPTS)
    elif not system or not asked:
        return prompt, answer
    return (prompt if led_by_system(prompt) else system + prompt), rest


def same(first: Turns, second: Turns) -> bool:
    """Whether the turns say the same, but for space around them."""
    return _contents(first) == _contents(second)


def _contents(messages: Turns) -> list[tuple[str, str]]:
    return [(message.role, message.content.strip()) for message in messages]


def shared_turns(first: Turns, second: Turns) -> Turns:
    """The turns both start with; each side keeps at least its last."""
    length = min(len(first), len(second)) - 1
    end = next((i for i in range(length) if first[i] != second[i]), max(length, 0))
    return first[:end]


def shared_text(first: str, second: str) -> int:
    """Length of the shared start, back to its last line or sentence end; 0 when there is none.

    Both sides keep something. Without that limit "The cat" and "The dog" would share "The".
    """
    if first == second:
        return 0
    length = min(len(first), len(second))
    end = next((i for i in range(length) if first[i] != second[i]), length)
    end = max((match.end() for match in _BREAK.finditer(first, 0, end)), default=0)
    return end if first[:end].strip() and first[end:].strip() and second[end:].strip() else 0

"""Text and turns out of whatever a cell holds."""

from __future__ import annotations

import re

from backprop_tui.core.rows import NOT_TEXT, Message

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

# A role as files write it -> ours. A name not listed is kept, in lower case.
ROLES = {
    "human": USER,
    "prompter": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "bot": ASSISTANT,
    "model": ASSISTANT,
    "function_call": ASSISTANT,  # ShareGPT with tools: the model writes the call
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_CHATML_TURN = re.compile(
    r"<\|im_start\|>([^\n<]+)\n(.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)", re.DOTALL
)


class Unusable(Exception):
    """Why a row cannot be trained: a reason of core/rows.py, and what to show of the row."""

    def __init__(self, reason: str, excerpt: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.excerpt = excerpt


def text(value: object) -> str:
    """A string, or typed content blocks joined; anything else is Unusable(NOT_TEXT)."""
    if isinstance(value, list):
        value = "".join(map(_block, value))
    if not isinstance(value, str):
        raise Unusable(NOT_TEXT)
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair: no tokenizer takes it
        raise Unusable(NOT_TEXT) from None
    return value


def _block(value: object) -> str:
    """{"type": "text", "text" or "value": ...}; images and the like are not text."""
    if isinstance(value, dict) and value.get("type") == "text":
        inner = value.get("text") if value.get("text") is not None else value.get("value")
        if isinstance(inner, str):
            return inner
    raise Unusable(NOT_TEXT)


def role_of(value: object) -> str | None:
    """The role of one turn, in our words; None where it names none."""
    if not isinstance(value, dict):
        return None
    name = value.get("role") if value.get("role") is not None else value.get("from")
    if not isinstance(name, str):
        return None
    name = name.strip().lower()
    return ROLES.get(name, name)


def is_turns(value: object) -> bool:
    """A list whose first entry is a turn, {role, content} or {from, value}."""
    return isinstance(value, list) and bool(value) and role_of(value[0]) is not None


def turns(value: object, role: str) -> tuple[Message, ...]:
    """A list's turns, an object as one turn, a string as one turn of `role`.

    A string that is an HH transcript ("\\n\\nHuman: ... \\n\\nAssistant: ...") is split.
    """
    if is_turns(value):
        assert isinstance(value, list)
        return tuple(_turn(entry, None) for entry in value)
    if isinstance(value, dict):
        return (_turn(value, role),)
    content = text(value)
    return transcript(content) or (Message(role, content),)


def _turn(value: object, role: str | None) -> Message:
    named = role_of(value) or role
    if not isinstance(value, dict) or not named:
        raise Unusable(NOT_TEXT)
    content = value.get("content") if value.get("content") is not None else value.get("value")
    return Message(named, text(content))


def prompt_turns(value: object) -> tuple[Message, ...]:
    """turns() of a prompt; a transcript's open last "Assistant:" is left off."""
    found = turns(value, USER)
    if len(found) > 1 and found[-1].role == ASSISTANT and not found[-1].content.strip():
        return found[:-1]
    return found


def transcript(content: str) -> tuple[Message, ...]:
    """An HH transcript as turns; () when the text is not one."""
    whole = "\n\n" + content.lstrip()
    if not whole.startswith("\n\nHuman:") or "\n\nAssistant:" not in whole:
        return ()
    parts = _HH_TURN.split(whole)[1:]
    roles = (USER if name == "Human" else ASSISTANT for name in parts[::2])
    return tuple(Message(role, said.strip()) for role, said in zip(roles, parts[1::2], strict=True))


def chatml(content: str) -> tuple[Message, ...]:
    """The turns between <|im_start|> and <|im_end|>; () when there are none."""
    found = _CHATML_TURN.findall(content)
    return tuple(
        Message(ROLES.get(name, name), said)
        for name, said in ((name.strip().lower(), said) for name, said in found)
    )

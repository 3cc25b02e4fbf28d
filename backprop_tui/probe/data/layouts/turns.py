"""Text and turns out of whatever a cell holds."""

from __future__ import annotations

import re

from backprop_tui.core.rows import MEDIA, NOT_TEXT, TOOL_CALL, Message

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

# A role as files write it -> ours. A name not listed is kept, in lower case.
ROLES = {
    "human": USER,
    "prompter": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "ai": ASSISTANT,
    "bot": ASSISTANT,
    "model": ASSISTANT,
    "function_call": ASSISTANT,  # ShareGPT with tools: the model writes the call
    "tool_call": ASSISTANT,
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}

# ms-swift and others write a question and its answer as one entry, keyed by who speaks.
EXCHANGES = (("human", "assistant"), ("user", "assistant"))

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
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str):
        raise Unusable(NOT_TEXT)
    if not kind.endswith("text"):  # "input_text" and "output_text" are text too
        raise Unusable(MEDIA if kind.removeprefix("input_").startswith(_MEDIA_BLOCKS) else NOT_TEXT)
    inner = value.get("text") if value.get("text") is not None else value.get("value")
    if isinstance(inner, str):
        return inner
    raise Unusable(NOT_TEXT)


_MEDIA_BLOCKS = ("image", "audio", "video")


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
    """A list whose first entry is a turn, {role, content} or {from, value}, or an exchange."""
    if not isinstance(value, list) or not value:
        return False
    return role_of(value[0]) is not None or bool(_exchange(value[0]))


def _exchange(value: object) -> tuple[str, str] | tuple[()]:
    """The keys of an entry that holds a question and its answer, {human, assistant}."""
    if not isinstance(value, dict):
        return ()
    return next((keys for keys in EXCHANGES if keys[0] in value and keys[1] in value), ())


def ends_answered(value: object) -> bool:
    """Turns of which the last is the assistant's."""
    if not isinstance(value, list) or not is_turns(value):
        return False
    return role_of(value[-1]) == ASSISTANT or bool(_exchange(value[-1]))


def turns(value: object, role: str) -> tuple[Message, ...]:
    """A list's turns, an object as one turn, a string as one turn of `role`.

    A string that is an HH transcript ("\\n\\nHuman: ... \\n\\nAssistant: ...") is split.
    """
    if is_turns(value):
        assert isinstance(value, list)
        if role_of(value[0]) is None:
            return tuple(turn for entry in value for turn in _both(entry))
        return tuple(_turn(entry, None) for entry in value)
    if isinstance(value, dict):
        return (_turn(value, role),)
    content = text(value)
    return transcript(content) or (Message(role, content),)


def _both(value: object) -> tuple[Message, ...]:
    """The two turns of one exchange."""
    keys = _exchange(value)
    if not keys or not isinstance(value, dict):
        return (_turn(value, None),)
    return (Message(USER, text(value[keys[0]])), Message(ASSISTANT, text(value[keys[1]])))


def _turn(value: object, role: str | None) -> Message:
    named = role_of(value) or role
    if not isinstance(value, dict) or not named:
        raise Unusable(NOT_TEXT)
    if value.get("tool_calls") or value.get("function_call"):
        raise Unusable(TOOL_CALL)  # without it the turn would teach to answer and not to call
    content = value.get("content")
    if content is None:
        content = value.get("value") if value.get("value") is not None else value.get("text")
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

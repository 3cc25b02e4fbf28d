"""Rows as they are trained: one value per example, whatever file it came from.

`number` counts from 1 in the user's file (the line, for JSONL), so that every later
drop or cut can be traced back. Messages are role/content pairs; strings in the file
have already become a user or assistant message.
"""

from __future__ import annotations

from dataclasses import dataclass

# Why a row is not trained. The words are shown to the user and stand in run files.
UNPARSEABLE = "unparseable line"
NOT_A_ROW = "not a JSON object"
NO_SHAPE = "columns not recognised"
SIDE_MISSING = "one side missing"
NOT_TEXT = "not text"
MEDIA = "needs an image, sound or video"
TOOL_CALL = "tool call not written as text"
EMPTY = "empty text"
IDENTICAL = "identical sides"
DIFFERENT_PROMPTS = "sides answer different prompts"
PART_EARLY = "sides part before their last turn"
TIED = "no answer scored better"
SCORES_UNUSABLE = "scores unusable"
LABEL_UNUSABLE = "label unusable"
LABEL_UNMAPPED = "label not named in data.labels"
NO_ANSWER = "no answer to train on"
PROMPT_FILLS = "prompt fills the length"
TOO_LONG = "answer longer than max_length"
NO_TRAINED_TOKEN = "no trained token left"
TEMPLATE_FAILED = "chat template refused the turns"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. role: "system", "user", "assistant" or what the file says ("tool")."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with a preferred and a dispreferred answer (paired preference).

    scores: of chosen and of rejected, where the file holds them; never trained on.
    """

    number: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    scores: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt with one answer and a yes/no judgement of it (unpaired preference)."""

    number: int
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to imitate (supervised fine-tuning). The assistant turns are trained."""

    number: int
    messages: tuple[Message, ...]


Row = Pair | Labelled | Chat


def text_of(messages: tuple[Message, ...]) -> str:
    """The contents joined, for counting words and comparing sides."""
    return "\n".join(message.content for message in messages)


def prompt_of(row: Row) -> tuple[Message, ...]:
    """What the model is given before it answers; for a chat, all before its last assistant turn."""
    if not isinstance(row, Chat):
        return row.prompt
    last = max(
        (i for i, message in enumerate(row.messages) if message.role == "assistant"), default=0
    )
    return row.messages[:last]


def paired_as_chat(row: Pair) -> Chat:
    """A pair under sft trains on prompt and chosen; `rejected` is unused (and the user is told)."""
    return Chat(row.number, row.prompt + row.chosen)


def paired_as_labelled(row: Pair) -> tuple[Labelled, Labelled]:
    """A pair under kto is a good and a bad answer to one prompt (KTO, arXiv:2402.01306)."""
    good = Labelled(row.number, row.prompt, row.chosen, label=True)
    return good, Labelled(row.number, row.prompt, row.rejected, label=False)

"""Rows -> tokens: chat template, trained positions, length guard. Nothing is lost uncounted.

Every trainer gets token ids made here, so that all methods share one template rendering,
one BOS, one EOS, and one rule for what is too long: the prompt is cut first, from its
start; an answer that is too long by itself is dropped, or cut when the run file asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backprop_tui.core.rows import (
    NO_ANSWER,
    NO_TRAINED_TOKEN,
    TEMPLATE_FAILED,
    TOO_LONG,
    Chat,
    Labelled,
    Message,
    Row,
)

IGNORE = -100  # label of a position that is not trained
PROMPT_CUT = "prompt cut to fit"
ANSWER_CUT = "answer cut to fit"


class _Untrainable(Exception):
    """A row that leaves nothing to train on; the text is the reason it is counted under."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a prompt and both answers."""

    number: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True, slots=True)
class EncodedLabelled:
    """Token ids of a prompt and its judged answer."""

    number: int
    prompt: list[int]
    completion: list[int]
    label: bool


@dataclass(frozen=True, slots=True)
class EncodedChat:
    """Token ids of a conversation; labels repeat the trained ids and are IGNORE elsewhere."""

    number: int
    input_ids: list[int]
    labels: list[int]


Encoded = EncodedPair | EncodedLabelled | EncodedChat


@dataclass(slots=True)
class Encoding:
    """Rows that will be trained, and how many were dropped or cut, by reason."""

    rows: list[Any] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Encoder:
    """How rows become tokens. tokenizer: a transformers tokenizer with a chat template."""

    tokenizer: Any
    max_length: int
    cut_answers: bool = False
    train_everything: bool = False  # sft only: every token instead of the answers

    def encode(self, rows: Sequence[Row]) -> Encoding:
        """All rows, in order; len(rows) == len(result.rows) + result.dropped.total()."""
        result = Encoding()
        for row in rows:
            try:
                encoded = self._row(row, result.cut)
            except _Untrainable as reason:
                result.dropped[str(reason)] += 1
            else:
                result.rows.append(encoded)
        return result

    def _row(self, row: Row, cut: Counter[str]) -> Encoded:
        if isinstance(row, Chat):
            return self._chat(row, cut)
        if isinstance(row, Labelled):
            prompt, (completion,) = self._answers(row.prompt, (row.completion,))
            prompt, (completion,) = self._fit(prompt, (completion,), cut)
            return EncodedLabelled(row.number, prompt, completion, row.label)
        prompt, (chosen, rejected) = self._answers(row.prompt, (row.chosen, row.rejected))
        prompt, (chosen, rejected) = self._fit(prompt, (chosen, rejected), cut)
        return EncodedPair(row.number, prompt, chosen, rejected)

    def _answers(
        self, prompt: tuple[Message, ...], answers: tuple[tuple[Message, ...], ...]
    ) -> tuple[list[int], tuple[list[int], ...]]:
        """Prompt ids, and the ids each answer adds to them.

        The whole conversation is tokenised at once and the prompt is what it shares with
        the prompt alone: tokens that merge across the border belong to the answer, and a
        template that renders an answered prompt differently is still split correctly.
        """
        texts = [self._render(prompt + answer) for answer in answers]
        if prompt:
            opening = self._render(prompt, opening=True)
        else:  # nothing to render alone: what the template writes before the answer's words
            opening = texts[0].partition(answers[0][0].content)[0]
        alone = self._ids(opening)
        wholes = [self._ids(text) for text in texts]
        shared = min(_shared_length(alone, whole) for whole in wholes)
        sides = tuple(self._up_to_eos(whole[shared:]) for whole in wholes)
        if not all(sides):
            raise _Untrainable(NO_TRAINED_TOKEN)
        return alone[:shared], sides

    def _fit(
        self, prompt: list[int], answers: tuple[list[int], ...], cut: Counter[str]
    ) -> tuple[list[int], tuple[list[int], ...]]:
        """Prompt + longest answer within max_length."""
        longest = max(len(answer) for answer in answers)
        if len(prompt) + longest <= self.max_length:
            return prompt, answers
        if longest >= self.max_length:
            if not self.cut_answers:
                raise _Untrainable(TOO_LONG)
            room = self.max_length - min(len(prompt), self.max_length // 2)
            answers = tuple(answer[:room] for answer in answers)
            longest = room
            cut[ANSWER_CUT] += 1
        if len(prompt) + longest > self.max_length:
            prompt = self._tail(prompt, self.max_length - longest)
            cut[PROMPT_CUT] += 1
        return prompt, answers

    def _tail(self, ids: list[int], length: int) -> list[int]:
        """The last `length` ids; a leading BOS is kept."""
        if length > 1 and ids and ids[0] == self.tokenizer.bos_token_id:
            return [ids[0], *ids[len(ids) - length + 1 :]]
        return ids[len(ids) - length :]

    def _chat(self, row: Chat, cut: Counter[str]) -> EncodedChat:
        last = max((i for i, m in enumerate(row.messages) if m.role == "assistant"), default=-1)
        if last < 0:
            raise _Untrainable(NO_ANSWER)
        messages = row.messages[: last + 1]  # a question nobody answered teaches nothing
        text = self._render(messages)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]
        if self.train_everything:
            labels = list(ids)
        else:
            spans = self._answer_spans(messages, text)
            labels = [
                token
                if any(start < stop and low <= start and stop <= high for low, high in spans)
                else IGNORE
                for token, (start, stop) in zip(ids, encoded["offset_mapping"], strict=True)
            ]
        if len(ids) > self.max_length:
            ids, labels = self._fit_chat(ids, labels, cut)
        if all(label == IGNORE for label in labels):
            raise _Untrainable(NO_TRAINED_TOKEN)
        return EncodedChat(row.number, ids, labels)

    def _answer_spans(self, messages: tuple[Message, ...], text: str) -> list[tuple[int, int]]:
        """Character ranges of the assistant's turns, each up to its end-of-turn token."""
        spans = []
        eos = self.tokenizer.eos_token or ""
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._render(messages[:i], opening=True) if i else ""
            after = text if i == len(messages) - 1 else self._render(messages[: i + 1])
            # Some templates rewrite earlier turns once a later one follows (reasoning is
            # removed, say); such a turn is context only.
            if not (text.startswith(before) and text.startswith(after)):
                if i < len(messages) - 1:
                    continue
                before = text[: _shared_length(before, text)]
            end = after.rfind(eos, len(before)) + len(eos) if eos else -1
            spans.append((len(before), end if end > len(before) else len(after)))
        return spans

    def _fit_chat(
        self, ids: list[int], labels: list[int], cut: Counter[str]
    ) -> tuple[list[int], list[int]]:
        """Cut the start of the conversation, as long as the last answer stays whole."""
        trained = [i for i, label in enumerate(labels) if label != IGNORE]
        first = len(ids) - 1
        while first > 0 and labels[first - 1] != IGNORE:
            first -= 1
        if trained and len(ids) - first >= self.max_length:
            if not self.cut_answers:
                raise _Untrainable(TOO_LONG)
            keep = min(first, self.max_length // 2)
            cut[ANSWER_CUT] += 1
            window = slice(first - keep, first - keep + self.max_length)
            return ids[window], labels[window]
        cut[PROMPT_CUT] += 1
        kept_ids = self._tail(ids, self.max_length)
        kept_labels = labels[len(labels) - self.max_length :]
        if kept_ids[0] != ids[len(ids) - self.max_length]:
            kept_labels = [IGNORE, *kept_labels[1:]]  # the BOS stands where a token was
        return kept_ids, kept_labels

    def _render(self, messages: tuple[Message, ...], *, opening: bool = False) -> str:
        import jinja2

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=opening
            )
        except (jinja2.TemplateError, ValueError, TypeError, ArithmeticError) as error:
            # The template is the model's own program; whatever it trips over, it refused.
            raise _Untrainable(TEMPLATE_FAILED) from error
        return text

    def _ids(self, text: str) -> list[int]:
        # The template writes BOS itself where the model wants one; adding it here would
        # double it.
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _up_to_eos(self, ids: list[int]) -> list[int]:
        """Without what a template adds after the end of the turn: the model stops there."""
        eos = self.tokenizer.eos_token_id
        for i in range(len(ids) - 1, -1, -1):
            if ids[i] == eos:
                return ids[: i + 1]
        return ids


def _shared_length(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many leading items the two have in common."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length

"""A row's tokens at full length: where the prompt ends, and which tokens are trained.

Two steps, so that many rows share one call of the tokenizer: a script holds the texts of a row,
and becomes a draft once their token ids are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from backprop_tui.core.rows import NO_ANSWER, NO_TRAINED_TOKEN, Chat, Labelled, Row
from backprop_tui.train.encoded import IGNORE, Untrainable
from backprop_tui.train.guard import Draft, Messages
from backprop_tui.train.template import MarksLost, Rendered, Template
from backprop_tui.train.tokens import Span, Tokens, Words

CHECKED = 2  # rows of a batch on which tokenising in two parts is held against the whole


@dataclass(frozen=True, slots=True)
class AnswersScript:
    """A prompt and its answers as text.

    opening: the prompt alone; wholes: the prompt with each answer. at: all of them are the same
    up to this character, and may be tokenised in two parts there.
    """

    messages: Messages
    opening: Rendered
    wholes: tuple[Rendered, ...]
    at: int

    def parts(self) -> tuple[Rendered, ...]:
        """What they share, the rest of the opening, and the rest of each whole."""
        head, rest = self.opening.split(self.at)
        return (head, rest, *(whole.split(self.at)[1] for whole in self.wholes))

    def draft(self, table: dict[Rendered, list[int]], words: Words) -> Draft:
        """The prompt is what the conversation's tokens share with those of the prompt alone:
        tokens that merge across the border belong to the answer, and a template that renders
        an answered prompt differently is still split correctly.
        """
        head, rest, *ends = (table[part] for part in self.parts())
        shared = min(shared_length(rest, end) for end in ends)
        answers = tuple(end[shared : shared + answer_length(end[shared:], words)] for end in ends)
        if not all(answers):
            raise Untrainable(NO_TRAINED_TOKEN)
        return Draft(self.messages, head + rest[:shared], answers, self.wholes)

    def splits(self, words: Words) -> bool:
        """Whether tokenising in two parts gives what tokenising the whole does."""
        head, _, *rests = self.parts()
        table = words.ids((head, *rests, *self.wholes))
        return all(
            table[head] + table[rest] == table[whole]
            for rest, whole in zip(rests, self.wholes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class ChatScript:
    """A conversation as text, and the characters of the assistant's turns in it."""

    messages: Messages
    text: Rendered
    turns: tuple[Span, ...]

    def draft(self, tokens: Tokens, words: Words, everything: bool) -> Draft:
        """Every answer is trained, up to its end-of-turn token; or every token."""
        ids, turns = tokens.ids, self._turns_of_tokens(tokens, words)
        if tokens.spans is None:
            ids, turns = self._tokens_by_part(words)
        labels = [IGNORE] * len(ids)
        for start, stop in turns:
            stop = start + answer_length(ids[start:stop], words)
            labels[start:stop] = ids[start:stop]
        first = _last_run(labels)
        if everything:
            labels = ids
        if labels[first : first + 1] in ([], [IGNORE]):
            raise Untrainable(NO_TRAINED_TOKEN)
        parts = labels[:first], labels[first:]
        return Draft(self.messages, ids[:first], (ids[first:],), (self.text,), parts)

    def _turns_of_tokens(self, tokens: Tokens, words: Words) -> list[Span]:
        """Each turn's tokens, [start, stop)."""
        found, i, spans = [], 0, tokens.spans or []
        for low, high in self.turns:
            # A token across the border belongs to the answer, as in a pair, but for a special one,
            # which may stand for the spaces behind it. Some tokenizers give a space no characters
            # at all: it stands where it ends.
            while i < len(spans) and (
                spans[i][1] <= low or (spans[i][0] < low and tokens.ids[i] in words.special_ids)
            ):
                i += 1
            start = i
            while i < len(spans) and spans[i][1] <= high:
                i += 1
            found.append((start, i))
        return found

    def _tokens_by_part(self, words: Words) -> tuple[list[int], list[Span]]:
        """For a tokenizer that cannot say where its tokens stand."""
        ids: list[int] = []
        turns: list[Span] = []
        rest, at = self.text, 0
        for low, high in self.turns:
            before, rest = rest.split(low - at)
            turn, rest = rest.split(high - low)
            at = high
            table = words.ids((before, turn))
            ids += table[before]
            turns.append((len(ids), len(ids) + len(table[turn])))
            ids += table[turn]
        return ids + words.ids((rest,))[rest], turns


Script = AnswersScript | ChatScript


def answers_of(row: Row) -> tuple[Messages, ...]:
    """The sides that are trained apart: of a pair both, of anything else one."""
    if isinstance(row, Chat):
        return ()
    return (row.completion,) if isinstance(row, Labelled) else (row.chosen, row.rejected)


def script_of(row: Row, messages: Messages | None, template: Template, words: Words) -> Script:
    """The row's texts. messages: in place of its prompt, or of a chat's turns.

    Raises Untrainable.
    """
    try:
        return _script(row, messages, template, words)
    except MarksLost:
        return _script(row, messages, replace(template, keep_words=False), words)


def _script(row: Row, messages: Messages | None, template: Template, words: Words) -> Script:
    if isinstance(row, Chat):
        return _chat_script(row.messages if messages is None else messages, template)
    prompt = row.prompt if messages is None else messages
    answers = answers_of(row)
    wholes = tuple(template.render(prompt + answer) for answer in answers)
    opening = _opening(prompt, answers[0], wholes, template)
    at = words.last_border(opening)
    if not all(whole.text.startswith(opening.text[:at]) for whole in wholes):
        at = 0
    return AnswersScript(prompt, opening, wholes, at)


def _opening(
    prompt: Messages, answer: Messages, wholes: tuple[Rendered, ...], template: Template
) -> Rendered:
    """The prompt up to where the answer's words begin, as the first of the wholes has it."""
    if prompt:
        with suppress(Untrainable):
            opening = template.render(prompt, opening=True)
            if all(whole.text.startswith(opening.text) for whole in wholes):
                return opening
    # There is nothing to render alone, or the template refuses that, or it writes an answered
    # prompt differently: what stays the same when the answer says something else.
    digit = "0" if answer[0].content.lstrip()[:1] != "0" else "1"
    other = template.render((*prompt, replace(answer[0], content=digit), *answer[1:]))
    return wholes[0].split(shared_length(wholes[0].text, other.text))[0]


def _chat_script(messages: Messages, template: Template) -> ChatScript:
    last = max((i for i, m in enumerate(messages) if m.role == "assistant"), default=-1)
    if last < 0:
        raise Untrainable(NO_ANSWER)
    messages = messages[: last + 1]  # a question nobody answered teaches nothing
    text = template.render(messages)
    turns = []
    for i, message in enumerate(messages):
        if message.role != "assistant":
            continue
        try:
            after = text if i == last else template.render(messages[: i + 1])
            before = _opening(messages[:i], messages[i : i + 1], (after,), template)
        except Untrainable:  # the template refuses a conversation that ends here
            continue
        # Some templates rewrite earlier turns once a later one follows (reasoning is removed,
        # say); such a turn is context only.
        end = _end_in(text, after, template)
        if end and text.text.startswith(before.text):
            turns.append((len(before.text), end))
    return ChatScript(messages, text, tuple(turns))


def _end_in(text: Rendered, after: Rendered, template: Template) -> int:
    """Where a conversation that goes on in `text` has got to at the end of `after`; 0 when
    `text` has it otherwise."""
    if text.text.startswith(after.text):
        return len(after.text)
    # Some templates close the whole conversation with an EOS, after the end of its last turn.
    *_, last = [None, *template.special.finditer(after.text)]
    turn = after.text[: last.start()] if last and not after.text[last.end() :].strip() else ""
    *_, ended = [None, *template.special.finditer(turn)]
    if ended and not turn[ended.end() :].strip() and text.text.startswith(turn):
        return len(turn)
    return 0


def draft_all(
    scripts: Sequence[Script | Untrainable], words: Words, everything: bool
) -> list[Draft | Untrainable]:
    """The scripts as tokens, all tokenised together; what cannot be trained stays its reason."""
    answers = [script for script in scripts if isinstance(script, AnswersScript)]
    checked = [script for script in answers if script.at][:CHECKED]
    if not all(script.splits(words) for script in checked):
        scripts = [
            replace(script, at=0) if isinstance(script, AnswersScript) else script
            for script in scripts
        ]
        answers = [script for script in scripts if isinstance(script, AnswersScript)]
    ids = words.ids(part for script in answers for part in script.parts())
    tokens = words.tokens(script.text for script in scripts if isinstance(script, ChatScript))
    drafts: list[Draft | Untrainable] = []
    for script in scripts:
        try:
            if isinstance(script, Untrainable):
                drafts.append(script)
            elif isinstance(script, ChatScript):
                drafts.append(script.draft(tokens[script.text], words, everything))
            else:
                drafts.append(script.draft(ids, words))
        except Untrainable as reason:
            drafts.append(reason)
    return drafts


def answer_length(ids: list[int], words: Words) -> int:
    """How many of an answer's tokens are trained: up to the end of the turn, where the model
    stops; what a template writes after it is left out."""
    eos = words.tokenizer.eos_token_id
    ended = 0  # by a special token that is not the tokenizer's EOS: some templates have one
    for i in range(len(ids) - 1, -1, -1):
        if ids[i] == eos:
            return i + 1
        if ids[i] in words.special_ids:
            ended = ended or i + 1
        elif str(words.tokenizer.decode([ids[i]])).strip():
            break
    if not ended and eos in ids:  # words of the template's own follow
        return len(ids) - ids[::-1].index(eos)
    return ended or len(ids)


def _last_run(labels: list[int]) -> int:
    """Where the last trained stretch begins; 0 when nothing is trained."""
    i = len(labels)
    while i and labels[i - 1] == IGNORE:
        i -= 1
    while i and labels[i - 1] != IGNORE:
        i -= 1
    return i


def shared_length(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many leading items the two have in common."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:
        return length
    for i in range(length):
        if left[i] != right[i]:
            return i
    return length

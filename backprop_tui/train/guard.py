"""The length guard: what is given up, in order, when a row is longer than max_length.

1. The oldest turns of the conversation, whole, as long as the rest still opens with a user turn
   (some templates refuse anything else). A system turn stays. The rest is rendered anew.
2. The start of what remains. A BOS stays.
3. The end of the answer, only when asked (`data.cut_answers`). Else the row is dropped.

A trainer left to itself cuts the answer first, or drops the row without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from backprop_tui.core.rows import IDENTICAL, TOO_LONG, Message
from backprop_tui.train.encoded import ANSWER_CUT, PROMPT_CUT, TURNS_CUT, Untrainable
from backprop_tui.train.template import Rendered

Messages = tuple[Message, ...]
INSTRUCTIONS = ("system", "developer")  # roles of turns that say what the rest is about


@dataclass(frozen=True, slots=True)
class Draft:
    """A row as tokens, at its full length.

    messages: what may lose its oldest turns: the prompt, or a whole chat. context: tokens before
    the (last) answer; answers: the tokens of each. texts: what the template wrote, one for each
    answer. labels, for a chat alone: of its context and of its answer, IGNORE where a token is
    not trained; elsewhere the answers are trained, whole, and nothing else is.
    """

    messages: Messages
    context: list[int]
    answers: tuple[list[int], ...]
    texts: tuple[Rendered, ...]
    labels: tuple[list[int], list[int]] = ([], [])

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.answers))

    @property
    def length(self) -> int:
        """Tokens of the longest side."""
        return len(self.context) + self.longest


def fit(
    draft: Draft,
    redraft: Callable[[Messages], Draft],
    *,
    max_length: int,
    cut_answers: bool,
    bos: int | None,
) -> tuple[Draft, tuple[str, ...]]:
    """The row within max_length, and what was cut. Raises Untrainable when it cannot be.

    redraft: the same row with these messages in place of its own.
    """
    if draft.length <= max_length:
        return draft, ()
    if draft.longest >= max_length and not cut_answers:
        raise Untrainable(TOO_LONG)
    cut = []
    shorter = _without_turns(draft, redraft, max_length)
    if shorter is not None:
        draft = shorter
        cut.append(TURNS_CUT)
        if draft.longest >= max_length and not cut_answers:
            raise Untrainable(TOO_LONG)  # the template writes more where turns are fewer
    room = _room(draft.longest, max_length)
    if len(draft.context) > room:
        draft = _cut_start(draft, room, bos)
        cut.append(PROMPT_CUT)
    if draft.length > max_length:
        left = max_length - len(draft.context)
        draft = replace(
            draft,
            answers=tuple(answer[:left] for answer in draft.answers),
            labels=(draft.labels[0], draft.labels[1][:left]),
        )
        cut.append(ANSWER_CUT)
        if len(draft.answers) == 2 and draft.answers[0] == draft.answers[1]:
            raise Untrainable(IDENTICAL)  # they differ only in what was cut off
    return draft, tuple(cut)


def oldest_left_out(messages: Messages) -> list[Messages]:
    """The conversation with ever more of its oldest turns left out, mildest first."""
    first = 0
    while first < len(messages) and messages[first].role in INSTRUCTIONS:
        first += 1
    return [
        messages[:first] + messages[i:]
        for i in range(first + 1, len(messages))
        if messages[i].role == "user"
    ]


def _without_turns(
    draft: Draft, redraft: Callable[[Messages], Draft], max_length: int
) -> Draft | None:
    """The row with as few turns left out as make it fit, or the shortest there is; None when
    no turn can be left out."""
    candidates = oldest_left_out(draft.messages)
    best: Draft | None = None
    fits = False
    low, high = 0, len(candidates)  # by halves: a conversation only gets shorter along the list
    while low < high:
        middle = (low + high) // 2
        try:
            found = redraft(candidates[middle])
        except Untrainable:  # the template refuses this start; a later one may do
            low = middle + 1
            continue
        if len(found.context) <= _room(found.longest, max_length):
            best, fits, high = found, True, middle
        else:
            best, low = best if fits else found, middle + 1
    return best


def _room(longest: int, max_length: int) -> int:
    """Tokens left for the context; half of all for one whose answer will be cut as well."""
    return max_length - longest if longest < max_length else max_length // 2


def _cut_start(draft: Draft, length: int, bos: int | None) -> Draft:
    """The last `length` tokens of the context; a leading BOS is kept."""
    first = len(draft.context) - length
    context, labels = draft.context[first:], draft.labels[0][first:]
    if length > 1 and draft.context[0] == bos:
        context[0] = draft.context[0]
        labels[:1] = draft.labels[0][:1]
    return replace(draft, context=context, labels=(labels, draft.labels[1]))

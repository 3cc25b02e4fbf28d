"""Rows -> tokens: chat template, trained positions, length guard. Nothing is lost uncounted.

Every trainer gets token ids made here, so that all methods share one template rendering,
one BOS, one EOS, and one rule for what is too long (`guard.py`). Rows are tokenised some
hundred at a time: every core works, and memory stays bounded.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backprop_tui.core.rows import Chat, Labelled, Row
from backprop_tui.train.draft import Script, draft_all, script_of
from backprop_tui.train.encoded import (
    ANSWER_CUT,
    IGNORE,
    PROMPT_CUT,
    TURNS_CUT,
    Encoded,
    EncodedChat,
    EncodedLabelled,
    EncodedPair,
    Encoding,
    Untrainable,
)
from backprop_tui.train.guard import Draft, Messages, fit
from backprop_tui.train.template import Template
from backprop_tui.train.tokens import Words

__all__ = [
    "ANSWER_CUT",
    "IGNORE",
    "PROMPT_CUT",
    "TURNS_CUT",
    "EncodedChat",
    "EncodedLabelled",
    "EncodedPair",
    "Encoder",
    "Encoding",
    "Outcome",
]

BATCH = 512  # rows tokenised together


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row: encoded, or dropped for a reason.

    cut: what the length guard shortened. draft: the row after that. plain: its words spell a
    special token of the tokenizer, and were kept as words.
    """

    encoded: Encoded | None = None
    dropped: str = ""
    cut: tuple[str, ...] = ()
    draft: Draft | None = None

    @property
    def plain(self) -> bool:
        return self.draft is not None and any(text.plain for text in self.draft.texts)


@dataclass(frozen=True)
class Encoder:
    """How rows become tokens. tokenizer: a transformers tokenizer with a chat template."""

    tokenizer: Any
    max_length: int
    cut_answers: bool = False
    train_everything: bool = False  # sft only: every token instead of the answers

    @cached_property
    def words(self) -> Words:
        """The tokenizer, as it is used here."""
        return Words(self.tokenizer)

    @cached_property
    def template(self) -> Template:
        """Its chat template."""
        return Template(self.tokenizer, self.words.special, keep_words=self.words.fast)

    def encode(
        self, rows: Sequence[Row], progress: Callable[[int], None] | None = None
    ) -> Encoding:
        """All rows, in order; len(rows) == len(result.rows) + result.dropped.total().

        progress: called with the number of rows done, some hundred at a time; what it raises
        ends the work.
        """
        with _no_collector():
            return self._encode(rows, progress)

    def _encode(self, rows: Sequence[Row], progress: Callable[[int], None] | None) -> Encoding:
        result = Encoding()
        for done, outcome in enumerate(self.outcomes(rows), 1):
            if outcome.encoded is None:
                result.dropped[outcome.dropped] += 1
            else:
                result.rows.append(outcome.encoded)
                result.cut.update(outcome.cut)
                result.plain += outcome.plain
            if progress and (done % BATCH == 0 or done == len(rows)):
                progress(done)
        return result

    def outcomes(self, rows: Sequence[Row]) -> Iterator[Outcome]:
        """What becomes of each row, in order."""
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            scripts = [self.script(row) for row in batch]
            drafts = draft_all(scripts, self.words, self.train_everything)
            for row, draft in zip(batch, drafts, strict=True):
                yield self.guarded(row, draft)

    def draft(self, row: Row, messages: Messages | None = None) -> Draft:
        """One row at full length; messages: in place of its own. Raises Untrainable."""
        (draft,) = draft_all(
            [script_of(row, messages, self.template, self.words)],
            self.words,
            self.train_everything,
        )
        if isinstance(draft, Untrainable):
            raise draft
        return draft

    def guarded(self, row: Row, draft: Draft | Untrainable) -> Outcome:
        """The row within max_length."""
        if isinstance(draft, Untrainable):
            return Outcome(dropped=str(draft))
        try:
            draft, cut = fit(
                draft,
                lambda messages: self.draft(row, messages),
                max_length=self.max_length,
                cut_answers=self.cut_answers,
                bos=self.tokenizer.bos_token_id,
            )
        except Untrainable as reason:
            return Outcome(dropped=str(reason))
        return Outcome(_encoded(row, draft), cut=cut, draft=draft)

    def script(self, row: Row) -> Script | Untrainable:
        """The row's texts, or why there are none."""
        try:
            return script_of(row, None, self.template, self.words)
        except Untrainable as reason:
            return reason


@contextmanager
def _no_collector() -> Iterator[None]:
    """Nothing here makes cycles, and the collector would walk every list of ids again and again:
    a third of the time for 10,000 pairs."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _encoded(row: Row, draft: Draft) -> Encoded:
    """The draft as the trainers take it."""
    if isinstance(row, Chat):
        context, answer = draft.labels
        return EncodedChat(row.number, draft.context + draft.answers[0], context + answer)
    if isinstance(row, Labelled):
        return EncodedLabelled(row.number, draft.context, draft.answers[0], row.label)
    return EncodedPair(row.number, draft.context, *draft.answers)

"""Text -> token ids, in batches: the fast tokenizers use every core for one call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backprop_tui.train.template import Rendered

Span = tuple[int, int]  # characters [start, stop)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids and the characters each stands for. No spans: the tokenizer cannot tell."""

    ids: list[int]
    spans: list[Span] | None = None


@dataclass(frozen=True)
class Words:
    """A tokenizer as the encoder uses it: no BOS or EOS is added to what the template wrote."""

    tokenizer: Any

    @cached_property
    def backend(self) -> Any:
        """The Rust tokenizer, which reports spans and takes batches; None for a Python one."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # A tokenizer.json may ask for either; the length guard here is the only one.
            backend.no_truncation()
            backend.no_padding()
        return backend

    @property
    def fast(self) -> bool:
        """Whether it is one of the Rust tokenizers."""
        return self.backend is not None

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens that stand for no text: BOS, end of turn, padding and the like."""
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset(self.tokenizer.all_special_ids).union(i for i, t in added if t.special)

    @cached_property
    def special(self) -> re.Pattern[str]:
        """Matches any special token in a text, the longest first, as the tokenizers do."""
        added = self.tokenizer.added_tokens_decoder
        names = {added[i].content if i in added else "" for i in self.special_ids}
        longest_first = sorted(filter(None, names), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    @cached_property
    def borders(self) -> re.Pattern[str]:
        """Special tokens that text is always split at, whatever stands beside them."""
        added = self.tokenizer.added_tokens_decoder
        names = [
            added[i].content
            for i in self.special_ids
            if i in added and not (added[i].normalized or added[i].lstrip or added[i].single_word)
        ]
        names.sort(key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")

    def last_border(self, opening: Rendered) -> int:
        """Where the last special token of the text begins, so that what stands before it and
        what begins with it can be tokenised apart; 0 when there is none."""
        at = 0
        for match in self.borders.finditer(opening.text):
            if not any(start <= match.start() < stop for start, stop in opening.plain):
                at = match.start()
        return at

    def ids(self, texts: Iterable[Rendered]) -> dict[Rendered, list[int]]:
        """Token ids of each different text."""
        table: dict[Rendered, list[int]] = {text: [] for text in texts}
        ordinary = [text for text in table if text.text and not text.plain]
        for text, ids in zip(ordinary, self._batch([t.text for t in ordinary]), strict=True):
            table[text] = ids
        for text in table:
            if text.plain:
                table[text] = self._in_pieces(text).ids
        return table

    def tokens(self, texts: Iterable[Rendered]) -> dict[Rendered, Tokens]:
        """The same, with spans."""
        if self.backend is None:
            return {text: Tokens(ids) for text, ids in self.ids(texts).items()}
        table = {text: Tokens([], []) for text in texts}
        ordinary = [text for text in table if text.text and not text.plain]
        encoded = self.backend.encode_batch([t.text for t in ordinary], add_special_tokens=False)
        for text, one in zip(ordinary, encoded, strict=True):
            table[text] = Tokens(one.ids, one.offsets)
        for text in table:
            if text.plain:
                table[text] = self._in_pieces(text)
        return table

    def _batch(self, texts: Sequence[str]) -> list[list[int]]:
        if self.backend is not None:
            encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
            return [one.ids for one in encoded]
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def _in_pieces(self, rendered: Rendered) -> Tokens:
        """The plain ranges as ordinary words, and everything between them as ever."""
        if self.backend is None:
            return Tokens(self._batch([rendered.text])[0])
        ids: list[int] = []
        spans: list[Span] = []
        at = 0
        end = len(rendered.text)
        for start, stop in (*rendered.plain, (end, end)):
            for low, high, as_words in ((at, start, False), (start, stop, True)):
                piece = self._piece(rendered.text[low:high], first=low == 0, as_words=as_words)
                ids += piece.ids
                spans += [(low + a, low + b) for a, b in piece.spans or []]
            at = stop
        return Tokens(ids, spans)

    def _piece(self, text: str, *, first: bool, as_words: bool) -> Tokens:
        """One piece of a longer text."""
        if not text:
            return Tokens([], [])
        before = self.backend.encode_special_tokens
        self.backend.encode_special_tokens = as_words or before
        try:
            if not first:
                # After a line break, so that no tokenizer takes it for the start of a text, where
                # some put a space; the line break is removed again.
                line = self.backend.encode("\n", add_special_tokens=False).ids
                one = self.backend.encode("\n" + text, add_special_tokens=False)
                if one.ids[: len(line)] == line:
                    n = len(line)
                    return Tokens(one.ids[n:], [(a - 1, b - 1) for a, b in one.offsets[n:]])
            one = self.backend.encode(text, add_special_tokens=False)
            return Tokens(one.ids, one.offsets)
        finally:
            self.backend.encode_special_tokens = before

"""Messages -> the text the model sees, through its chat template.

Words of the data that happen to spell a special token of the model ("<|im_end|>" in a question
about chat formats, or an attempt to end the turn early) are marked as plain, so that they are
tokenised as the words they are. Rows without such words are not touched by any of this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import NOT_TEXT, TEMPLATE_FAILED, Message
from backprop_tui.train.encoded import Untrainable

# Unicode noncharacters: never part of text that is exchanged, and no template changes them.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
MARKS = re.compile(f"[{OPEN}{CLOSE}]")


class MarksLost(Exception):
    """The template does more than copy the words, so they cannot be told from its own."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text as the template writes it. plain: character ranges that are words of the data,
    though they spell a special token."""

    text: str
    plain: tuple[tuple[int, int], ...] = ()

    def split(self, at: int) -> tuple[Rendered, Rendered]:
        """The two parts before and after a character position outside every plain range."""
        before = tuple((start, stop) for start, stop in self.plain if stop <= at)
        after = tuple((start - at, stop - at) for start, stop in self.plain if start >= at)
        return Rendered(self.text[:at], before), Rendered(self.text[at:], after)


@dataclass(frozen=True, slots=True)
class Template:
    """A tokenizer's chat template.

    special: matches any of its special tokens in a text. keep_words: mark such words as plain.
    """

    tokenizer: Any
    special: re.Pattern[str]
    keep_words: bool = True

    def render(self, messages: tuple[Message, ...], *, opening: bool = False) -> Rendered:
        """The conversation; opening: and what opens the assistant's next turn.

        Raises Untrainable when the template refuses the turns, MarksLost, and InputError when it
        is no Jinja.
        """
        text = self._apply(messages, opening)
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:  # half of a surrogate pair
                raise Untrainable(NOT_TEXT) from error
        if not self.keep_words or not self.spelled(messages):
            return Rendered(text)
        marked = tuple(
            Message(message.role, self.special.sub(f"{OPEN}\\g<0>{CLOSE}", message.content))
            for message in messages
        )
        return self._without_marks(self._apply(marked, opening), text)

    def spelled(self, messages: tuple[Message, ...]) -> list[str]:
        """The special tokens that the words of these messages spell."""
        return [found for message in messages for found in self.special.findall(message.content)]

    def _apply(self, messages: tuple[Message, ...], opening: bool) -> str:
        import jinja2

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=opening
            )
        except jinja2.TemplateSyntaxError as error:
            raise InputError(
                f"The chat template is no template: line {error.lineno}: {error.message}",
                hint="mend it, or give another one in model.chat_template",
                code="TEMPLATE_UNREADABLE",
            ) from error
        except (
            jinja2.TemplateError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            MemoryError,
        ) as error:
            # The template is the model's own program; whatever it trips over, it refused.
            raise Untrainable(TEMPLATE_FAILED) from error
        return text

    def _without_marks(self, marked: str, text: str) -> Rendered:
        """The text with the ranges between marks as plain."""
        plain, at, begun = [], 0, 0
        pieces = MARKS.split(marked)
        for piece, mark in zip(pieces, [*MARKS.findall(marked), ""], strict=True):
            at += len(piece)
            if mark == CLOSE:
                plain.append((begun, at))
            begun = at
        if "".join(pieces) != text or not all(
            self.special.fullmatch(text[start:stop]) for start, stop in plain
        ):
            raise MarksLost
        return Rendered(text, tuple(plain))

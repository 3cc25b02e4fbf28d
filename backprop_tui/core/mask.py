"""A row as the model sees it, token by token: what it reads, what it is trained to write, what
is cut off. Made by `train/view.py` from the encoder that trains; drawn by the screens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from backprop_tui.core.quality import Finding

Kind = Literal["prompt", "trained", "cut"]
NEWLINE, SPACE, TAB = "⏎", "·", "⇥"
KEPT = "\n\u200c\u200d"  # the joiners hold letters of Persian and Hindi, and emoji, together


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a rendered row.

    text: the characters it completes: "" for the first tokens of a character that takes several,
    so that the texts of all tokens joined are the rendered text. kind: "prompt" is read and not
    trained, "trained" is what the loss counts, "cut" never reaches the trainer. special: a token
    that stands for no text, such as BOS or the end of a turn. shared: both answers of the pair
    begin with it.
    """

    id: int
    text: str
    kind: Kind
    special: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SideView:
    """One sequence as it reaches the trainer.

    name: "chosen", "rejected", "completion" or "chat". bos: BOS tokens; eos: EOS tokens among
    the trained ones; answers: stretches of trained tokens; trained, prompt, cut: tokens of each
    kind; shared: tokens that both answers begin with; ended: the last trained token ends a turn.
    """

    name: str
    tokens: tuple[Token, ...]
    bos: int
    eos: int
    answers: int
    ended: bool

    @property
    def trained(self) -> int:
        """Tokens the loss counts."""
        return self._count("trained")

    @property
    def prompt(self) -> int:
        """Tokens that are read only."""
        return self._count("prompt")

    @property
    def cut(self) -> int:
        """Tokens that never reach the trainer."""
        return self._count("cut")

    @property
    def length(self) -> int:
        """Tokens that reach the trainer."""
        return len(self.tokens) - self.cut

    @property
    def shared(self) -> int:
        """Tokens both answers begin with."""
        return sum(token.shared for token in self.tokens)

    def _count(self, kind: Kind) -> int:
        return sum(token.kind == kind for token in self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """One row of the data as it is trained.

    dropped: why it is not trained at all, or "". changes: what the length guard did to it.
    label: of an unpaired row.
    """

    number: int
    sides: tuple[SideView, ...]
    max_length: int
    dropped: str = ""
    changes: tuple[str, ...] = ()
    label: bool | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReport:
    """What is odd about the masks of a sample. rows == kept + sum(dropped.values())."""

    rows: int
    kept: int
    dropped: dict[str, int]
    cut: dict[str, int]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring tokens that are drawn alike; text: printable, with line breaks."""

    text: str
    kind: Kind
    special: bool
    shared: bool
    tokens: int


def runs(side: SideView) -> list[Run]:
    """The side as few pieces of text, in order. A special token is a piece of its own."""
    groups: list[list[Token]] = []
    for token in side.tokens:
        if groups and not token.special and _like(groups[-1][-1], token):
            groups[-1].append(token)
        else:
            groups.append([token])
    found = []
    for i, group in enumerate(groups):
        first = group[0]
        edges = [not 0 <= j < len(groups) or groups[j][0].special for j in (i - 1, i + 1)]
        text = visible("".join(token.text for token in group), *edges)
        found.append(Run(text, first.kind, first.special, first.shared, len(group)))
    return found


def _like(one: Token, other: Token) -> bool:
    return (one.kind, one.special, one.shared) == (other.kind, other.special, other.shared)


def visible(text: str, opens: bool = True, closes: bool = True) -> str:
    """The text with what nobody sees made visible: line breaks, tabs, control characters, and
    spaces at an end of a line or beside another one.

    opens, closes: whether its own ends count as ends of a line.
    """
    start = r"(?:^|(?<=\n))" if opens else r"(?<=\n)"
    end = r"(?=\n|\Z)" if closes else r"(?=\n)"
    text = re.sub(f"{start} +| +{end}|  +", lambda match: SPACE * len(match[0]), text)
    return "".join(map(_printable, text.replace("\n", f"{NEWLINE}\n")))


def _printable(character: str) -> str:
    if character.isprintable() or character in KEPT:
        return character
    return TAB if character == "\t" else f"\\u{ord(character):04x}"

"""The parts of a row that the checks look at, and how a finding shows one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backprop_tui.core.printable import printable
from backprop_tui.core.quality import Finding, level
from backprop_tui.core.rows import Chat, Labelled, Pair, Row, prompt_of, text_of

SHOWN = 3  # examples of a finding
EXCERPT = 60  # characters
SYSTEM = "system"

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


def prompt_text(row: Row) -> str:
    """All the model is given before it answers."""
    return text_of(prompt_of(row)).strip()


def asked(row: Row) -> str:
    """The prompt without its system turn, which many rows share."""
    turns = tuple(turn for turn in prompt_of(row) if turn.role != SYSTEM)
    return text_of(turns).strip()


def good_answer(row: Row) -> str | None:
    """The answer the model is to learn; None where it is only to be avoided."""
    if isinstance(row, Pair):
        return text_of(row.chosen)
    if isinstance(row, Labelled):
        return text_of(row.completion) if row.label else None
    return _last_answer(row)


def bad_answer(row: Row) -> str | None:
    """The answer the model is to avoid."""
    if isinstance(row, Pair):
        return text_of(row.rejected)
    if isinstance(row, Labelled) and not row.label:
        return text_of(row.completion)
    return None


def _last_answer(row: Chat) -> str:
    return text_of(row.messages[len(prompt_of(row)) :])


def answers(row: Row) -> str:
    """Every answer, for comparing rows."""
    found = (good_answer(row), bad_answer(row))
    return "\n".join(text for text in found if text is not None)


def without_code(text: str) -> str:
    """The text outside of code blocks."""
    return _CODE.sub(" ", text) if "`" in text else text


def excerpt(text: str) -> str:
    """One short line of it."""
    flat = printable(" ".join(text[: 4 * EXCERPT].split()))
    return flat if len(flat) <= EXCERPT else flat[: EXCERPT - 1] + "…"


def finding(
    code: str,
    count: int,
    of: int,
    text: str,
    examples: Iterable[str] = (),
    do: str = "",
    source: str = "",
) -> Finding:
    """A finding whose level follows from its share."""
    shown = tuple(example for example, _ in zip(examples, range(SHOWN), strict=False))
    return Finding(
        code=code,
        level=level(code, count, of),
        count=count,
        of=of,
        text=text,
        examples=shown,
        do=do,
        source=source,
    )

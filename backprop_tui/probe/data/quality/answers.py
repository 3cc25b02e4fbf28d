"""Answers nobody wants learned: refusals, unfilled placeholders, a word or two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

from backprop_tui.core.quality import Finding
from backprop_tui.core.rows import Row
from backprop_tui.core.text import count, percent, plural

from ..sample import words
from .parts import asked, bad_answer, excerpt, finding, good_answer, without_code

OPENING = 240  # characters in which a refusal shows itself
VERY_SHORT = 2  # words
LONG_ENOUGH = 10  # words of the median answer; where it is below, short answers are meant

# How models trained in English refuse; of the other languages only the commonest openings.
_NEGATION = r"\b(can't|cannot|can\ not|not|unable|don't|won't|no)\b"
_REFUSAL = re.compile(
    rf"""
      \b(as|i'm|i\ am)\ (just\ |only\ )?an?\ (ai|artificial|(large\ )?language\ model)\b
      .{{0,100}}?{_NEGATION}
    | ^\W*(unfortunately,?\ )?((i'm|i\ am|we're)\ )?(very\ |so\ |really\ |truly\ )?
      (sorry|i\ apologi[sz]e|my\ apologies|apologies)\b.{{0,80}}?{_NEGATION}
    | ^\W*(unfortunately,?\ )?i\ (can't|cannot|can\ not|won't|will\ not|must\ decline|refuse)\b
    | ^\W*(unfortunately,?\ )?(i'm|i\ am)\ (unable|not\ able)\ to\b
    | ^\W*(es\ )?tut\ mir\ leid.{{0,60}}?\b(kann|nicht)\b | ^\W*als\ ki\b.{{0,80}}?\bnicht\b
    | ^\W*(je\ suis\ )?désolée?.{{0,60}}?\bne\ peux\b | ^\W*en\ tant\ qu.{{0,80}}?\bne\ peux\b
    | ^\W*lo\ siento.{{0,60}}?\bno\ puedo\b | ^\W*como\ .{{0,20}}lenguaje.{{0,80}}?\bno\b
    | ^\W*(извините|простите|к\ сожалению|как\ языковая).{{0,80}}?\bне\ (могу|имею)\b
    | ^\W*(很?抱歉|对不起|對不起|非常抱歉|作为).{{0,40}}?(不能|无法|無法)
    | ^\W*申し訳.{{0,60}}?(できません|できかねます) | ^\W*죄송.{{0,60}}?(없습니다|어렵습니다)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

# {{name}} of any kind; {name} and [INSERT ...] only for words that templates use, because
# code is full of braces. What stands in a code block is code.
_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\}\}"
    r"|(?<![\w$#%\\{])\{(?:name|author|user|username|user_name|first_name|last_name|company"
    r"|company_name|product|date|email|city|country|title|topic|subject|question|context"
    r"|instruction|input|output|prompt|response|answer|text)\}(?!\})"
    r"|\[INSERT\b[^\]\n]{0,60}\]|<INSERT\b[^>\n]{0,60}>"
)


def refuses(text: str) -> bool:
    """Whether an answer opens like a refusal."""
    return _REFUSAL.search(text[:OPENING].replace("’", "'").lstrip()) is not None


def placeholder(text: str) -> str:
    """The first unfilled placeholder in it, or ""."""
    if "{" not in text and "INSERT" not in text:
        return ""
    found = _PLACEHOLDER.search(without_code(text))
    return found.group() if found else ""


def refusals(rows: Sequence[Row]) -> list[Finding]:
    """Answers to be learned that refuse; those to be avoided are told for comparison."""
    good = [(row, text) for row in rows if (text := good_answer(row)) is not None]
    bad = [text for row in rows if (text := bad_answer(row)) is not None]
    refused = [(row, text) for row, text in good if refuses(text)]
    avoided = sum(map(refuses, bad))
    if not refused and not avoided:
        return []
    beside = f", and {count(avoided)} of {count(len(bad))} to be avoided" if bad else ""
    share = f" ({percent(len(refused) / len(good))})" if refused else ""
    return [
        finding(
            code="data-refusals",
            count=len(refused),
            of=len(good),
            text=(
                f"{count(len(refused))} of {plural(len(good), 'answer')} to be learned"
                f"{share} {'opens' if len(refused) == 1 else 'open'} like a refusal{beside}. "
                "The list of openings is mostly English."
            ),
            examples=(f"row {row.number}: {excerpt(text)}" for row, text in refused),
            do="Keep them only where the model should refuse; it will refuse more than that."
            if refused
            else "",
        )
    ]


def short_answers(rows: Sequence[Row]) -> list[Finding]:
    """Answers of a word or two among long ones."""
    good = [(row, words(text)) for row in rows if (text := good_answer(row)) is not None]
    if not good or median(n for _, n in good) < LONG_ENOUGH:
        return []
    short = [row for row, n in good if n <= VERY_SHORT]
    if not short:
        return []
    return [
        finding(
            code="data-short-answers",
            count=len(short),
            of=len(good),
            text=(
                f"{plural(len(short), 'answer')} to be learned of {count(len(good))} "
                f"({percent(len(short) / len(good))}) "
                f"{'has' if len(short) == 1 else 'have'} {VERY_SHORT} words or fewer, among "
                "long ones."
            ),
            examples=(
                f"row {row.number}: {excerpt(good_answer(row) or '')} (to: {excerpt(asked(row))})"
                for row in short
            ),
            do="Look whether they were cut off; remove those that are not whole answers.",
        )
    ]


def placeholders(rows: Sequence[Row]) -> list[Finding]:
    """Templates nobody filled in, in the prompt or in an answer to be learned."""
    found = [
        (row, mark)
        for row in rows
        if (mark := placeholder(asked(row)) or placeholder(good_answer(row) or ""))
    ]
    if not found:
        return []
    return [
        finding(
            code="data-placeholders",
            count=len(found),
            of=len(rows),
            text=f"{plural(len(found), 'row holds', 'rows hold')} a placeholder nobody filled in "
            f"({percent(len(found) / len(rows))}).",
            examples=(f"row {row.number}: {excerpt(mark)}" for row, mark in found),
            do="Fill them in or remove the rows: the model will write them out as they are.",
        )
    ]

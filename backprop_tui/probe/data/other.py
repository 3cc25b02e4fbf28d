"""What a file that fits no layout looks like, and what would make it usable.

Nothing is guessed: each sentence ends in a column mapping the user can take or leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from .build import Record
from .turns import is_turns

QUESTIONS = ("prompt", "instruction", "question", "query", "input", "problem")
ANSWERS = ("completion", "output", "response", "answer", "solution", "target")
# Columns that may say whether an answer is good. A boolean under one of these names, or any
# value under a name that ends in "label", makes prompt + completion too unsure to imitate.
VERDICTS = ("tag", "is_correct", "correct", "thumbs_up", "thumbs_down", "feedback", "preferred",
            "accepted", "liked", "good", "vote", "desirable", "is_good")  # fmt: skip
BETTER = ("chosen", "better", "win", "good", "best", "preferred", "positive")
WORSE = ("rejected", "worse", "los", "bad", "worst", "non_preferred", "negative")

NEEDED = (
    "It can be used with the columns prompt, chosen, rejected (pairs), or prompt, completion, "
    "label (feedback), or messages, or instruction and output; "
    "[data.columns] gives yours these names"
)


def forced_in_vain(shape: str, names: tuple[str, ...]) -> str:
    """No row has the columns of the shape the user asked for."""
    needs = {
        "sft": "messages, conversations, instruction and output, or prompt and completion",
        "paired": "chosen and rejected, and a prompt",
        "unpaired": "prompt, completion and label",
    }
    return (
        f"The shape {shape} was asked for, but no row has its columns ({needs[shape]}). "
        f"There are: {_named(names)}."
    )


def judged_column(records: Sequence[Record]) -> str:
    """What to say of a column that may judge the answer; "" when there is none."""
    for name in _often(records):
        values = [record[name] for record in records if record.get(name) is not None]
        binary = all(isinstance(value, bool) or value in (0, 1) for value in values)
        judges = name.lower() in VERDICTS and binary
        if not judges and not name.lower().endswith("label"):
            continue
        said = (
            f'map it: [data.columns] label = "{name}"'
            if binary and name != "label"
            else f"write true or false in a column label (its values: {_values(values)})"
        )
        return (
            f"a column {name!r} that may say whether the answer is good. "
            f'To learn from that (kto), {said}. To imitate every answer, set data.shape = "sft".'
        )
    return ""


def looks_like(records: Sequence[Record]) -> str:
    """One or two sentences on records that no layout fits."""
    names = _often(records)
    texts = [name for name in names if _mostly(records, name, str)]
    return (
        _turns_elsewhere(records, names)
        or _ranked(records, names)
        or _two_answers(records, names, texts)
        or _half_a_pair(names)
        or _question_answer(texts)
        or _raw_text(texts)
        or _one_column(texts)
        or f"Its columns fit no known layout: {_named(names)}. {NEEDED}."
    )


def _turns_elsewhere(records: Sequence[Record], names: Sequence[str]) -> str:
    found = [name for name in names if _share(records, name, is_turns) > 0.5]
    if len(found) == 1:
        return (
            f"It looks like conversations in a column {found[0]!r}. "
            f'Map it: [data.columns] messages = "{found[0]}".'
        )
    return ""


def _ranked(records: Sequence[Record], names: Sequence[str]) -> str:
    for name in names:
        if _share(records, name, lambda value: _strings(value) and len(value) > 1) > 0.5:
            return (
                f"It looks like several answers per row, a list in {name!r}, ranked or not. "
                "Write the better one in a column chosen and the worse one in rejected."
            )
    return ""


def _two_answers(records: Sequence[Record], names: Sequence[str], texts: Sequence[str]) -> str:
    """Two text (or turns) columns whose names differ in one part, like response_j/response_k."""
    sides = [*texts, *(name for name in names if _share(records, name, is_turns) > 0.5)]
    for first, second in combinations(sides, 2):
        alike = max(_shared(first, second), _shared(first[::-1], second[::-1]))
        if alike < 4 or {first, second} & set(QUESTIONS):
            continue
        known = any(word in first.lower() for word in BETTER) or any(
            word in second.lower() for word in WORSE
        )
        swapped = any(word in first.lower() for word in WORSE)
        better, worse = (second, first) if swapped else (first, second)
        prompt = next((name for name in QUESTIONS if name in texts), None)
        mapping = f'chosen = "{better}", rejected = "{worse}"'
        if prompt:
            mapping = f'prompt = "{prompt}", {mapping}'
        unsure = "" if known or swapped else ", but nothing says which one is better"
        return (
            f"It looks like two answers, {first!r} and {second!r}{unsure}. "
            f"If {better!r} is the better one, map them: [data.columns] {mapping}."
        )
    return ""


def _shared(first: str, second: str) -> int:
    """Characters both start with."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _half_a_pair(names: Sequence[str]) -> str:
    for side, missing in (("chosen", "rejected"), ("rejected", "chosen")):
        if side in names and missing not in names:
            return (
                f"It has {side!r} but no {missing!r}, so there is nothing to compare. Add the "
                'other answer, or imitate this one (sft): [data.columns] completion = "chosen".'
                if side == "chosen"
                else f"It has {side!r} but no {missing!r}: add the better answers."
            )
    return ""


def _question_answer(texts: Sequence[str]) -> str:
    question = next((name for name in QUESTIONS if name in texts), None)
    answer = next((name for name in ANSWERS if name in texts), None)
    if question and answer:
        return (
            f"It looks like questions with one answer each ({question}, {answer}). To imitate "
            f'them (sft), map: [data.columns] prompt = "{question}", completion = "{answer}".'
        )
    return ""


def _raw_text(texts: Sequence[str]) -> str:
    if "text" not in texts:
        return ""
    return (
        "It looks like raw text for pre-training (a column 'text' without ChatML turns). The "
        "methods here learn from answers: give prompt and completion, or messages, instead."
    )


def _one_column(texts: Sequence[str]) -> str:
    if len(texts) != 1:
        return ""
    return f"It has text in one column only, {texts[0]!r}: an answer needs its prompt. {NEEDED}."


def _often(records: Sequence[Record]) -> list[str]:
    """Columns filled in at least a tenth of the records."""
    filled = Counter(
        name for record in records for name, value in record.items() if value is not None
    )
    return [name for name, n in filled.items() if 10 * n >= len(records)]


def _share(records: Sequence[Record], name: str, holds: Callable[[Any], bool]) -> float:
    return sum(1 for record in records if holds(record.get(name))) / max(len(records), 1)


def _mostly(records: Sequence[Record], name: str, kind: type) -> bool:
    return _share(records, name, lambda value: isinstance(value, kind)) > 0.5


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _values(values: Sequence[object]) -> str:
    """The commonest few of them."""
    return _named([value for value, _ in Counter(map(_plain, values)).most_common(4)], 3)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, (str, int, float)) else type(value).__name__


def _named(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(name[:40] for name in names[:most]) or "none"
    return shown + (", ..." if len(names) > most else "")

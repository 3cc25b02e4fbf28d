"""What a file that fits no layout looks like, and what would make it usable.

Nothing is guessed: each look ends in offers the user can take or leave, or says why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import answers
from .cells import Record, number_of
from .choose import build, decide
from .offers import (
    QUESTIONS,
    Look,
    as_answer,
    as_pairs_prompt,
    filled,
    listed,
    offer,
    often,
    share,
    text_columns,
)
from .pairs import pair_shared_start
from .shapes import COLUMNS
from .turns import Unusable, is_turns
from .winners import two_answers

ANSWERS = ("completion", "output", "response", "answer", "solution", "target")
# Lists of these names hold what may be answered, or words; not several answers.
NOT_ANSWERS = ("choices", "options", "keywords", "tags", "labels", "categories", "references")
SCORES = ("scores", "ratings", "rewards", "score", "rating", "overall_scores")
RANKS = ("ranks", "ranking", "rankings", "rank")

FEW = 100  # records that show what is nested

NEEDED = (
    "It can be used with the columns prompt, chosen, rejected (pairs), or prompt, completion, "
    "label (feedback), or messages, or instruction and output; "
    "[data.columns] gives yours these names"
)


def looks_like(records: Sequence[Record]) -> Look:
    """What records that no layout fits may be: the first look that knows them."""
    names = often(records)
    texts = text_columns(records)
    return (
        _turns_elsewhere(records, names)
        or _nested(records, names)
        or _several_answers(records, names)
        or two_answers(records, names, texts)
        or _half_a_pair(names)
        or _question_answer(texts)
        or _raw_text(texts)
        or _one_column(texts)
        or Look(f"Its columns fit no known layout: {listed(names)}. {NEEDED}.")
    )


def _turns_elsewhere(records: Sequence[Record], names: Sequence[str]) -> Look | None:
    found = [name for name in names if share(records, name, is_turns) > 0.5]
    if len(found) != 1:
        return None
    name = found[0]
    return Look(
        f"It looks like conversations in a column {name!r}.",
        (offer("To imitate them (sft)", {"messages": name}),),
    )


def _nested(records: Sequence[Record], names: Sequence[str]) -> Look | None:
    """Our columns inside an object, or inside lists of one object."""
    records = records[:: -(-len(records) // FEW)]  # each column is read by every layout
    for name in names:
        in_list = share(records, name, _one_object) > 0.5
        if not in_list and share(records, name, lambda v: isinstance(v, dict)) <= 0.5:
            continue
        path = f"{name}.0" if in_list else name
        lifted = [_lifted(record, name, in_list) for record in records]
        layout = decide(lifted, None)
        kept = sum(_builds(layout, record) for record in lifted[:20]) if layout else 0
        if layout is None or 2 * kept < len(lifted[:20]):
            continue
        inner = {key: None for record in records for key in _within(record.get(name), in_list)}
        columns = {key: f"{path}.{key}" for key in inner if key in COLUMNS}
        first = ", of each list the first," if in_list else ""
        says = f"It has {layout.name}, but inside its column {name!r}."
        return Look(says, (offer(f"To read them there{first} as {layout.shape}", columns),))
    return None


def _one_object(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)


def _within(value: Any, in_list: bool) -> Record:
    if in_list and isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _lifted(record: Record, name: str, in_list: bool) -> Record:
    """The record with the columns that stand inside one of its own put beside the others."""
    inner = _within(record.get(name), in_list)
    return record | {key: value for key, value in inner.items() if key in COLUMNS}


def _builds(layout: Any, record: Record) -> bool:
    try:
        build(layout, 1, record)
    except Unusable:
        return False
    return True


def _several_answers(records: Sequence[Record], names: Sequence[str]) -> Look | None:
    """A list of answers in each row; with scores inside, or in a list beside it, or neither."""
    for name in names:
        if name in NOT_ANSWERS or share(records, name, answers.is_answers) <= 0.5:
            continue
        columns = as_pairs_prompt(names) | {"answers": name}
        says = f"It looks like several answers per row, a list in {name!r}"
        first = filled(records, name)[0]
        inside = answers.score_name(first[0]) if isinstance(first, list) and first else ""
        if inside:
            better = "1 is the best" if inside in answers.RANKS else "more is better"
            text = f"To compare the best with the worst by {inside!r}, where {better}"
            return Look(f"{says}, each with its {inside!r}.", (offer(text, columns),))
        beside = _numbers_beside(records, names, name)
        if beside:
            ours, theirs = beside
            better = "1 is the best" if ours == "ranks" else "more is better"
            text = f"To compare the best with the worst by {theirs!r}, where {better}"
            return Look(
                f"{says}, and as many numbers in {theirs!r}.",
                (offer(text, {**columns, ours: theirs}),),
            )
        text = "If they stand best first, to compare the first with the last"
        return Look(f"{says}, ranked or not.", (offer(text, columns),))
    return None


def _numbers_beside(
    records: Sequence[Record], names: Sequence[str], answers_in: str
) -> tuple[str, str] | None:
    """(our name, the column) of lists with one number for each answer."""
    for ours, known in (("scores", SCORES), ("ranks", RANKS)):
        for name in names:
            fits = sum(_as_many(record.get(name), record.get(answers_in)) for record in records)
            if name.lower() in known and 2 * fits > len(records):
                return ours, name
    return None


def _as_many(numbers: Any, listed: Any) -> bool:
    if not isinstance(numbers, list) or not isinstance(listed, list):
        return False
    return len(numbers) == len(listed) and all(number_of(n) is not None for n in numbers)


def _half_a_pair(names: Sequence[str]) -> Look | None:
    if "chosen" in names:
        return Look(
            "It has 'chosen' but no 'rejected', so there is nothing to compare.",
            (offer("To imitate this one (sft)", as_answer(names, "chosen")),),
        )
    if "rejected" in names:
        return Look("It has 'rejected' but no 'chosen': add the better answers.")
    return None


def _question_answer(texts: Sequence[str]) -> Look | None:
    question = next((name for name in QUESTIONS if name in texts), None)
    answer = next((name for name in ANSWERS if name in texts), None)
    if not question or not answer:
        return None
    return Look(
        f"It looks like questions with one answer each ({question}, {answer}).",
        (offer("To imitate them (sft)", as_answer(texts, answer)),),
    )


def _raw_text(texts: Sequence[str]) -> Look | None:
    if "text" not in texts:
        return None
    return Look(
        "It looks like raw text for pre-training (a column 'text' without ChatML turns). The "
        "methods here learn from answers: give prompt and completion, or messages, instead.",
        (offer(ALONE, {"completion": "text"}),),
    )


ALONE = (
    "To imitate each text whole, as an answer to nothing (sft; some chat templates refuse a "
    "conversation that no user opens)"
)


def _one_column(texts: Sequence[str]) -> Look | None:
    if len(texts) != 1 or texts[0] in QUESTIONS:
        return None
    return Look(
        f"It has text in one column only, {texts[0]!r}: an answer needs its prompt. {NEEDED}.",
        (offer(ALONE, {"completion": texts[0]}),),
    )


def lost_prompt(records: Sequence[Record]) -> Look | None:
    """Pairs that share no start, and another column of text that may be what was asked."""
    if 2 * sum(map(_shares_nothing, records)) <= len(records):
        return None
    others = [
        name
        for name in text_columns(records)
        if name not in ("chosen", "rejected", "system", "system_prompt")
        and _reads_like_prompts(records, name)
    ]
    if not others:
        return None
    offers = [offer(f"If {name!r} is the prompt", {"prompt": name}) for name in others[:3]]
    return Look(
        f"It has chosen and rejected, and a column {others[0]!r} that may be their prompt.",
        (*offers, offer("If they have no prompt", shape="paired")),
    )


def _shares_nothing(record: Record) -> bool:
    try:
        return not pair_shared_start(1, record).prompt
    except Unusable:
        return False


def _reads_like_prompts(records: Sequence[Record], name: str) -> bool:
    """Texts of several words, most of them different."""
    values = [value for value in filled(records, name) if isinstance(value, str)]
    spaced = sum(" " in value.strip() or len(value) > 40 for value in values)
    return 2 * spaced > len(records) and 2 * len(set(values)) > len(values)

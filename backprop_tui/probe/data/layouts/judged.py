"""Columns that may judge an answer: never read so without being asked, but offered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from backprop_tui.core.facts import Offer

from .build import is_label
from .cells import Record, number_of
from .columns import TEXT_LABELS, VERDICTS, label_text
from .offers import Look, filled, listed, offer, often

# Names that may judge, but do not say which value is good. Besides these, any that ends in "label".
UNSURE = (
    "thumbs_down", "feedback", "preferred", "good", "bad", "is_bad", "vote", "disliked", "helpful",
    "is_helpful", "upvoted", "downvoted", "passed", "verdict",
)  # fmt: skip
# What people write of an answer: a column of such texts only judges, whatever its name is.
VERDICT_WORDS = {
    "good", "bad", "neutral", "correct", "incorrect", "right", "wrong", "positive", "negative",
    "accept", "reject", "accepted", "rejected", "like", "dislike", "liked", "disliked", "upvote",
    "downvote", "thumbs_up", "thumbs_down", "helpful", "unhelpful", "safe", "unsafe", "pass",
    "fail", "passed", "failed", "desirable", "undesirable",
}  # fmt: skip
RATINGS = ("score", "rating", "stars", "quality", "helpfulness", "overall_score", "reward")
OTHER_SIDE = ("reject", "worse", "dispreferred", "non_preferred")
MOST = 6  # different values that are offered one by one
IMITATE = "To imitate every answer (sft)"


def judged(records: Sequence[Record], layout: str) -> Look | None:
    """A file of questions and answers that may be more than that; None when it is not."""
    return _other_side(records, layout) or _verdict(records, layout)


def _verdict(records: Sequence[Record], layout: str) -> Look | None:
    columns = [name for name in often(records) if _judges(records, name)]
    if not columns:
        return None
    offers = [one for name in columns for one in label_offers(name, filled(records, name))]
    kept = (*offers[: 2 * MOST], offer(IMITATE, shape="sft"))
    values = listed(_commonest(filled(records, columns[0])), 3)
    says = (
        f"It has {layout}, and a column {columns[0]!r} that may say whether the answer is good "
        f"(its values: {values})."
    )
    return Look(says, kept)


def _judges(records: Sequence[Record], name: str) -> bool:
    values = filled(records, name)
    known = name.lower() in (*VERDICTS, *UNSURE, *RATINGS) and all(map(_is_binary, values))
    return bool(values) and (known or name.lower().endswith("label") or _are_verdicts(values))


def _are_verdicts(values: Sequence[Any]) -> bool:
    """At least two different texts, and each of them judges."""
    texts = set(map(label_text, values)) if all(isinstance(v, str) for v in values) else set()
    return len(texts) > 1 and {re.sub(r"[\s-]", "_", t.lower()) for t in texts} <= VERDICT_WORDS


def label_offers(name: str, values: Sequence[Any]) -> list[Offer]:
    """Ways to read a column as the label; which of its values is good, the user says."""
    columns = {"label": name} if name != "label" else {}
    texts = _commonest(values)
    if values and all(map(_is_binary, values)):
        plain = not any(isinstance(value, str) for value in values)
        if plain:  # the sample may hold one of the two only
            texts = ["true", "false"] if isinstance(values[0], bool) else ["1", "0"]
        good = {text: text.lower() in ("true", "1") for text in texts}
        bad = {text: not value for text, value in good.items()}
        first = offer(f"If true in {name!r} means good (kto)", columns, None if plain else good)
        second = offer(f"If true in {name!r} means bad (kto)", columns, bad)
        return [first] if name.lower() in VERDICTS else [first, second]
    if not 1 < len(texts) <= MOST:
        return []
    return [
        offer(
            f"If {good!r} in {name!r} is good and the rest bad (kto)",
            columns,
            {text: text == good for text in texts},
        )
        for good in texts
    ]


def rating_offers(records: Sequence[Record]) -> tuple[Offer, ...]:
    """For whole-number ratings of one answer: feedback, cut at each of the higher values."""
    for name in often(records):
        numbers = [number_of(value) for value in filled(records, name)]
        found = sorted({number for number in numbers if number is not None})
        if name.lower() not in RATINGS or None in numbers or not 2 < len(found) <= 11:
            continue
        if not all(number.is_integer() for number in found):
            continue
        return tuple(
            offer(
                f"{name!r} of {cut:g} or more is good, less is bad (kto)",
                {"label": name},
                {label_text(number): number >= cut for number in found},
            )
            for cut in found[-4:]
            if cut > found[0]
        )
    return ()


def unusable_labels(records: Sequence[Record]) -> Look | None:
    """Feedback of which no label can be read as one; it may be a topic and judge nothing."""
    values = filled(records, "label")
    if any(map(is_label, values)):
        return None
    there = listed(_commonest(values), 3)
    says = f"None of its labels is true, false, 0 or 1 (there are: {there})."
    return Look(says, (*label_offers("label", values), offer(IMITATE, shape="sft")))


def _other_side(records: Sequence[Record], layout: str) -> Look | None:
    """An answer, and a column that looks like the worse one to the same question."""
    columns = often(records)
    worse = next((n for n in columns if any(w in n.lower() for w in OTHER_SIDE)), None)
    if worse is None or all(isinstance(v, (bool, int, float)) for v in filled(records, worse)):
        return None
    better = next((n for n in ("completion", "output", "response") if n in columns), None)
    pair = offer("To compare the two", {"chosen": better, "rejected": worse}) if better else None
    says = f"It has {layout}, and a column {worse!r} that looks like worse answers."
    return Look(says, (*([pair] if pair else []), offer(IMITATE, shape="sft")))


def _is_binary(value: object) -> bool:
    """True, false, 0 or 1, or such a text; 1.0 reads as a score."""
    if isinstance(value, str):
        return value.strip().lower() in TEXT_LABELS
    return is_label(value)


def _commonest(values: Sequence[Any]) -> list[str]:
    """The values as text, the commonest first."""
    return [text for text, _ in Counter(map(label_text, values)).most_common()]

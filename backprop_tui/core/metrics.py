"""METRICS: what an evaluation measures, and those of a generated text. Pure.

A metric of a text compares what the model wrote with a reference and needs no judge. Adding one is
a function here, an entry in METRICS and a row of a hand-computed table in its test.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

SQUAD = "SQuAD, arXiv:1606.05250"
GSM8K = "GSM8K, arXiv:2110.14168"
SEQ_REP = "seq-rep-4 of arXiv:1908.04319"
SIMPO = "SimPO, arXiv:2405.14734"
NGRAM = 4

Better = Literal["higher", "lower", "neither"]
Unit = Literal["share", "number"]
Needs = Literal["pairs", "answers", "text"]

_ARTICLES = frozenset(("a", "an", "the"))
# Written without spaces between words: a sign is a token of its own.
_SIGN = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]"
_TOKEN = re.compile(rf"{_SIGN}|(?:(?!{_SIGN})\S)+")
# Not the 2 of x2; but signs of languages without spaces stand right before a number.
_NUMBER = re.compile(
    rf"(?:(?<![\w.])|(?<={_SIGN}))[-+]?(?:(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?|\.\d+)"
)
_MARKED = re.compile(r"####\s*([^\n]*)")


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    better: which way is good. unit: "share" is 0..1, shown in percent. needs: "pairs" of a better
    and a worse answer, the "answers" of the data scored, or a "text" that the model generated.
    """

    name: str
    title: str
    better: Better
    unit: Unit
    needs: Needs
    help: str
    source: str = ""


def normalised(text: str) -> list[str]:
    """Tokens without case, punctuation and English articles, as SQuAD compares answers.

    A sign of Chinese, Japanese or Thai is a token. Source: SQuAD, arXiv:1606.05250.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(
        one
        for one in folded
        if one not in string.punctuation and not unicodedata.category(one).startswith("P")
    )
    return [token for token in _TOKEN.findall(kept) if token not in _ARTICLES]


def exact_match(answer: str, reference: str) -> float:
    """1.0 where both are the same once normalised, else 0.0. Source: SQuAD, arXiv:1606.05250."""
    return float(normalised(answer) == normalised(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the normalised tokens, 0..1.

    Two empty texts are alike: 1.0. Source: SQuAD, arXiv:1606.05250.
    """
    ours, theirs = normalised(answer), normalised(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def contains(answer: str, reference: str) -> float:
    """1.0 where the normalised reference stands in the answer, token by token; 5 is not in 15.

    An empty reference stands in no answer: 0.0.
    """
    ours, wanted = normalised(answer), normalised(reference)
    places = range(len(ours) - len(wanted) + 1) if wanted else range(0)
    return float(any(ours[at : at + len(wanted)] == wanted for at in places))


def regex(answer: str, pattern: str) -> float:
    """1.0 where the pattern is found anywhere in the answer. Raises re.error for no pattern."""
    return float(re.search(pattern, answer) is not None)


def number_in(text: str) -> Decimal | None:
    """The number a worked answer ends with: the one after ####, else the last one; None without.

    Thousands separators, a currency sign before and a full stop after do not matter.
    Source: GSM8K, arXiv:2110.14168.
    """
    marked = _MARKED.findall(text)
    found = _NUMBER.findall(marked[-1]) if marked else []
    if found:
        return _decimal(found[0])
    found = _NUMBER.findall(text)
    return _decimal(found[-1]) if found else None


def final_number(answer: str, reference: str) -> float | None:
    """1.0 where both end with the same number, 0.0 where not; None: the reference has none."""
    wanted = number_in(reference)
    return None if wanted is None else float(number_in(answer) == wanted)


def repetition(answer: str) -> float:
    """Share of 4-grams (of words) that stood in the text before, 0..1; 0 for a text too short.

    Source: seq-rep-4, arXiv:1908.04319.
    """
    words = _TOKEN.findall(answer)
    grams = [tuple(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _decimal(found: str) -> Decimal | None:
    try:
        return Decimal(found.replace(",", ""))
    except InvalidOperation:  # more digits than the type holds
        return None


_ALL = (
    Metric(
        "accuracy",
        "preference accuracy, per token",
        "higher",
        "share",
        "pairs",
        "How often the chosen answer is likelier than the rejected one, each divided by its "
        "length in tokens; ties count half.",
        SIMPO,
    ),
    Metric(
        "accuracy_sum",
        "preference accuracy, summed",
        "higher",
        "share",
        "pairs",
        "The same with the log-probability of the whole answer, which favours short ones.",
    ),
    Metric(
        "margin",
        "margin, per token",
        "higher",
        "number",
        "pairs",
        "Mean log-probability of a token of the chosen answer minus that of the rejected one.",
        SIMPO,
    ),
    Metric(
        "margin_sum",
        "margin, summed",
        "higher",
        "number",
        "pairs",
        "Log-probability of the chosen answer minus that of the rejected one.",
    ),
    Metric(
        "loss",
        "loss of the answers",
        "lower",
        "number",
        "answers",
        "Mean negative log-probability of a token of the good answers, over all their tokens.",
    ),
    Metric(
        "perplexity",
        "perplexity of the answers",
        "lower",
        "number",
        "answers",
        "e to the power of that loss.",
    ),
    Metric(
        "exact_match",
        "exact match",
        "higher",
        "share",
        "text",
        "The generated answer is the reference, but for case, punctuation and articles.",
        SQUAD,
    ),
    Metric(
        "token_f1",
        "token F1",
        "higher",
        "share",
        "text",
        "Words that the generated answer and the reference share.",
        SQUAD,
    ),
    Metric(
        "contains",
        "contains the reference",
        "higher",
        "share",
        "text",
        "The reference stands in the generated answer, word by word.",
    ),
    Metric(
        "regex",
        "matches the pattern",
        "higher",
        "share",
        "text",
        "The pattern given with --regex is found in the generated answer.",
    ),
    Metric(
        "final_number",
        "final number",
        "higher",
        "share",
        "text",
        "The last number of the generated answer is that of the reference (after #### where it "
        "is marked); references without a number are left out.",
        GSM8K,
    ),
    Metric(
        "repetition",
        "repetition",
        "lower",
        "share",
        "text",
        "Groups of four words that stood in the same generated answer before.",
        SEQ_REP,
    ),
    Metric(
        "length",
        "length in tokens",
        "neither",
        "number",
        "text",
        "Tokens of a generated answer.",
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

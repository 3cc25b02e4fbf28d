"""Metrics of a generated text: hand-computed tables, and SQuAD's own script beside ours."""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from decimal import Decimal

import pytest

from backprop_tui.core.metrics import (
    METRICS,
    contains,
    exact_match,
    final_number,
    normalised,
    number_in,
    regex,
    repetition,
    token_f1,
)


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1", "inside"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1, 1, 1),
        ("It is the Eiffel Tower.", "Eiffel Tower", 0, 2 * 2 / (4 + 2), 1),
        ("tower eiffel", "Eiffel Tower", 0, 1, 0),
        ("15", "5", 0, 0, 0),
        ("no", "yes", 0, 0, 0),
        ("a cat and a cat", "a cat", 0, 2 * 1 / (3 + 1), 1),
        ("", "", 1, 1, 0),
        ("the", "", 1, 1, 0),
        ("", "yes", 0, 0, 0),
        ("巴黎。", "巴黎", 1, 1, 1),
        ("是巴黎", "巴黎", 0, 2 * 2 / (3 + 2), 1),
        ("ＡＢＣ", "abc", 1, 1, 1),
        ("caf\u00e9", "cafe\u0301", 1, 1, 1),
    ],
)
def test_answers_are_compared_by_their_words(
    answer: str, reference: str, exact: float, f1: float, inside: float
) -> None:
    assert exact_match(answer, reference) == exact
    assert token_f1(answer, reference) == pytest.approx(f1)
    assert contains(answer, reference) == inside


def test_english_is_compared_as_the_squad_script_does() -> None:
    def normalize_answer(text: str) -> str:
        text = "".join(one for one in text.lower() if one not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1_score(prediction: str, truth: str) -> float:
        ours, theirs = normalize_answer(prediction).split(), normalize_answer(truth).split()
        same = sum((Counter(ours) & Counter(theirs)).values())
        if not ours or not theirs:
            return float(ours == theirs)
        if same == 0:
            return 0.0
        precision, recall = same / len(ours), same / len(theirs)
        return 2 * precision * recall / (precision + recall)

    words = ["The", "a", "cat,", "Dog", "dog's", "(run)", "RUNS", "an", "--", "12.5", "theme"]
    draw, some = random.Random(3), 0.0
    for _ in range(500):
        one = " ".join(draw.choices(words, k=draw.randrange(7)))
        other = " ".join(draw.choices(words, k=draw.randrange(7)))
        assert " ".join(normalised(one)) == normalize_answer(one)
        assert token_f1(one, other) == pytest.approx(f1_score(one, other))
        some += 0 < token_f1(one, other) < 1
    assert some > 100


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("She pays 3 + 15 = $18.", "Work... #### 18", 1),
        ("#### 1,234\nThat took 2 minutes", "#### 1234", 1),
        ("The answer is 18.00", "18", 1),
        ("It is -5", "#### -5", 1),
        ("It is 5", "#### -5", 0),
        ("pages 3-5", "5", 1),
        ("1,2,3", "3", 1),
        ("half: .5", "0.5", 1),
        ("\\boxed{42}", "#### 42", 1),
        ("GPT4 cannot say", "4", 0),
        ("none", "7", 0),
        ("#### none, but 7 before", "7", 1),
        ("12 apples", "no number at all", None),
    ],
)
def test_the_final_number_is_compared_as_a_number(
    answer: str, reference: str, same: float | None
) -> None:
    assert final_number(answer, reference) == same


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("one two three", 0.0),
        ("a b c d e f", 0.0),
        ("a b c d a b c d", 1 / 5),  # abcd bcda cdab dabc abcd
        ("go go go go go go", 2 / 3),
        ("", 0.0),
    ],
)
def test_repetition_is_the_share_of_4_grams_seen_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def test_a_pattern_is_looked_for_anywhere() -> None:
    assert regex("Answer: B", r"Answer:\s*[AB]") == 1
    assert regex("I think B", r"Answer:\s*[AB]") == 0
    with pytest.raises(re.error):
        regex("x", "(")


def test_every_metric_is_named_once_and_says_what_it_is() -> None:
    assert all(name == metric.name and metric.help for name, metric in METRICS.items())
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    assert METRICS["length"].better == "neither"
    assert {name for name, one in METRICS.items() if one.better == "lower"} == {
        "loss",
        "perplexity",
        "repetition",
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("一共5个苹果", "5"),
        ("答えは1,234です。", "1234"),
        ("共-7", "-7"),
        ("x2", None),
        ("v1.2", None),
    ],
)
def test_a_number_may_stand_right_after_a_sign_of_a_language_without_spaces(
    text: str, number: str | None
) -> None:
    assert number_in(text) == (None if number is None else Decimal(number))

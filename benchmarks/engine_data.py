"""Pairs of random token ids with the lengths of real ones.

Only lengths decide what a step costs. They are read from a sample of UltraFeedback where it lies
beside the checkout, and drawn with the same quantiles elsewhere. A word counts as 1.3 tokens: the
bundled tokenizer, made for a vocabulary of 2,048, would double every length and drop half the rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any, NamedTuple

ULTRAFEEDBACK = Path(__file__).parents[2] / "shared" / "data" / "ultrafeedback_str_train.jsonl"
TOKENS_PER_WORD = 1.3
MAX_LENGTH = 1024
FIRST_ID = 100  # below are a tokenizer's special tokens
DRAWS = 1000  # samples looked at for the one most like the whole set
AT = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
# Tokens at these shares of the 1,000 rows of that file.
PROMPTS = (5, 9, 13, 23, 74, 169, 380, 533, 988, 1296)
CHOSEN = (1, 3, 13, 48, 197, 413, 586, 677, 870, 1067)
REJECTED = (1, 6, 17, 57, 172, 352, 507, 594, 812, 1008)
ALIKE = 0.7  # correlation of the two answers' lengths


class Lengths(NamedTuple):
    """Tokens of a pair."""

    prompt: int
    chosen: int
    rejected: int

    @property
    def side(self) -> int:
        """Of the longer side."""
        return self.prompt + max(self.chosen, self.rejected)

    @property
    def shared(self) -> int:
        """When the prompt is read once."""
        return self.prompt + self.chosen + self.rejected


def measured() -> list[Lengths]:
    """The lengths of the file; without it, generated ones."""
    if not ULTRAFEEDBACK.exists():
        return generated()
    found = []
    with ULTRAFEEDBACK.open() as file:
        for row in map(json.loads, file):
            words = (len(row[name].split()) for name in ("prompt", "chosen", "rejected"))
            found.append(Lengths(*(max(1, round(n * TOKENS_PER_WORD)) for n in words)))
    return found


def generated(rows: int = 1000) -> list[Lengths]:
    """The same quantiles, the two answers as alike in length."""
    chance, normal = random.Random(0), NormalDist()
    found = []
    for _ in range(rows):
        first, second = chance.gauss(), chance.gauss()
        second = ALIKE * first + (1 - ALIKE**2) ** 0.5 * second
        found.append(
            Lengths(
                _quantile(PROMPTS, chance.random()),
                _quantile(CHOSEN, normal.cdf(first)),
                _quantile(REJECTED, normal.cdf(second)),
            )
        )
    return found


def _quantile(tokens: Sequence[int], share: float) -> int:
    for i in range(1, len(AT)):
        if share <= AT[i]:
            part = (share - AT[i - 1]) / (AT[i] - AT[i - 1])
            return round(tokens[i - 1] + part * (tokens[i] - tokens[i - 1]))
    return tokens[-1]


def guarded(rows: Sequence[Lengths], most: int) -> list[Lengths]:
    """As the length guard leaves them: a prompt is cut to what the longer answer leaves, and a
    pair with an answer that is too long by itself is dropped."""
    fitting = (row for row in rows if max(row.chosen, row.rejected) < most)
    return [row._replace(prompt=min(row.prompt, row.prompt + most - row.side)) for row in fitting]


def ultrafeedback(most: int) -> list[Lengths]:
    """Prompts and answers as they are."""
    return guarded(measured(), most)


def long_prompt(most: int) -> list[Lengths]:
    """The same rows, divided anew: the prompt four times the mean of the answers."""
    found = []
    for row in ultrafeedback(most):
        mean = (row.chosen + row.rejected) / 2
        answer = (row.prompt + mean) / 5
        scale = answer / mean
        found.append(
            Lengths(
                max(1, round(4 * answer)),
                max(1, round(row.chosen * scale)),
                max(1, round(row.rejected * scale)),
            )
        )
    return guarded(found, most)


def short(most: int) -> list[Lengths]:
    """Questions and answers of a sentence each."""
    chance = random.Random(0)
    rows = (
        Lengths(chance.randint(10, 60), chance.randint(5, 30), chance.randint(5, 30))
        for _ in range(1000)
    )
    return guarded(list(rows), most)


PROFILES: dict[str, Callable[[int], list[Lengths]]] = {
    "ultrafeedback": ultrafeedback,
    "long-prompt": long_prompt,
    "short": short,
}


def sample(rows: Sequence[Lengths], batch: int, count: int) -> list[Lengths]:
    """`count` rows that stand for all of them: of some random draws the one whose batches have
    most nearly the same share of padding, and the same tokens, as those of the whole set."""
    chance = random.Random(0)
    whole = list(rows)
    chance.shuffle(whole)
    wanted = _character(whole, batch)
    draws = [chance.sample(whole, count) for _ in range(DRAWS)]
    return min(
        draws,
        key=lambda draw: sum(
            abs(a / b - 1) for a, b in zip(_character(draw, batch), wanted, strict=True)
        ),
    )


def _character(rows: Sequence[Lengths], batch: int) -> tuple[float, float]:
    """(tokens computed with padding for each token that is needed, tokens needed a row)."""
    needed = fmean(row.shared for row in rows)
    return padding(rows, batch), needed


def padding(rows: Sequence[Lengths], batch: int) -> float:
    """Tokens of two padded rows a pair, for each token of a pair whose prompt is read once."""
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    padded = sum(2 * len(part) * max(row.side for row in part) for part in batches)
    return padded / sum(row.shared for row in rows)


def pairs(rows: Sequence[Lengths], vocabulary: int) -> list[Any]:
    """The rows as the trainers take them."""
    from backprop_tui.train.encoded import EncodedPair

    chance = random.Random(0)
    return [
        EncodedPair(number, *(_ids(chance, n, vocabulary) for n in row))
        for number, row in enumerate(rows)
    ]


def labelled(rows: Sequence[Lengths], vocabulary: int) -> list[Any]:
    """Both answers of each pair as judged ones, shuffled: how paired data is read for kto."""
    from backprop_tui.train.encoded import EncodedLabelled

    found = [
        EncodedLabelled(pair.number, pair.prompt, answer, label=good)
        for pair in pairs(rows, vocabulary)
        for answer, good in ((pair.chosen, True), (pair.rejected, False))
    ]
    random.Random(0).shuffle(found)
    return found


def _ids(chance: random.Random, count: int, vocabulary: int) -> list[int]:
    return chance.choices(range(FIRST_ID, vocabulary), k=count)

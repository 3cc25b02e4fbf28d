"""Measured rows -> figures: each metric of each side with its interval, and their difference.

All metrics of the same examples are resampled together, base and tuned over the same ones. Pure but
for numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from backprop_tui.core import metrics
from backprop_tui.core.scores import Figure, PairLogps, right
from backprop_tui.train.evals.bootstrap import Array, bootstrap, interval, resampled_sums
from backprop_tui.train.evals.generate import Text
from backprop_tui.train.evals.score import Score

T = TypeVar("T")
Values = Sequence[tuple[float, ...]]  # one tuple an example
Of = Callable[[Array, int], Array]  # sums [..., columns] and the number of examples -> the metric


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of sums over examples. tuned, base: what is added up, an example."""

    name: str
    of: Of
    tuned: Values
    base: Values | None


def mean(sums: Array, n: int) -> Array:
    """Of the first column."""
    return np.asarray(sums[..., 0] / n)


def loss(sums: Array, _n: int) -> Array:
    """Columns: log-probabilities, tokens."""
    return np.asarray(-sums[..., 0] / sums[..., 1])


def perplexity(sums: Array, n: int) -> Array:
    """The same columns."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(loss(sums, n)))


def apart(sums: Array, _n: int) -> Array:
    """Mean of the good minus mean of the bad. Columns: sum and number of each. A resample without
    one of them says nothing: nan."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3])


def figures_of(measures: Sequence[Measure]) -> list[Figure]:
    """Figures of metrics that have the same examples."""
    columns: list[tuple[float, ...]] = []
    for one in measures:
        for side in (one.tuned, one.base):
            columns += list(zip(*side, strict=True)) if side is not None else []
    if not columns or not columns[0]:
        return []
    n = len(columns[0])
    sums = resampled_sums(columns)
    whole = np.asarray(columns, dtype=np.float64).sum(axis=1)
    found, at = [], 0
    for one in measures:
        width = len(one.tuned[0])
        tuned = slice(at, at + width)
        base = slice(at + width, at + 2 * width) if one.base is not None else None
        at += width * (2 if base else 1)
        found.append(_figure(one, sums, whole, n, tuned, base))
    return found


def _figure(
    one: Measure, sums: Array, whole: Array, n: int, tuned: slice, base: slice | None
) -> Figure:
    ours = one.of(sums[:, tuned], n)
    now = float(one.of(whole[tuned], n))
    if base is None:
        return Figure(one.name, now, *_interval(ours), n)
    theirs = one.of(sums[:, base], n)
    before = float(one.of(whole[base], n))
    return Figure(
        one.name,
        now,
        *_interval(ours),
        n,
        before,
        *_interval(theirs),
        now - before,
        *_interval(ours - theirs),
    )


def _interval(values: Array) -> tuple[float, float]:
    """Of the resamples that say something."""
    finite = values[~np.isnan(values)]
    return interval(finite) if len(finite) else (float("nan"), float("nan"))


def measure(
    name: str,
    of: Of,
    value: Callable[[T], tuple[float, ...]],
    tuned: Sequence[T],
    base: Sequence[T] | None,
) -> Measure:
    """A metric of sums of `value` over the examples, the same ones in the same order."""
    theirs = None if base is None else [value(one) for one in base]
    return Measure(name, of, [value(one) for one in tuned], theirs)


def of_pairs(tuned: Sequence[PairLogps], base: Sequence[PairLogps] | None) -> list[Figure]:
    """Figures of pairs, the same rows in the same order on both sides."""
    return figures_of(
        [
            measure("accuracy", mean, lambda one: (right(one.margin_per_token),), tuned, base),
            measure("accuracy_sum", mean, lambda one: (right(one.margin),), tuned, base),
            measure("margin", mean, lambda one: (one.margin_per_token,), tuned, base),
            measure("margin_sum", mean, lambda one: (one.margin,), tuned, base),
            measure("loss", loss, _chosen, tuned, base),
            measure("perplexity", perplexity, _chosen, tuned, base),
        ]
    )


def _chosen(one: PairLogps) -> tuple[float, float]:
    return one.chosen, one.chosen_tokens


def of_answers(tuned: Sequence[Score], base: Sequence[Score] | None) -> list[Figure]:
    """Loss and perplexity of single answers."""
    return figures_of(
        [
            measure("loss", loss, _answer, tuned, base),
            measure("perplexity", perplexity, _answer, tuned, base),
        ]
    )


def _answer(one: Score) -> tuple[float, float]:
    return one.logps[0], one.tokens[0]


def _per_token(one: Score) -> float:
    return one.logps[0] / one.tokens[0]


def _summed(one: Score) -> float:
    return one.logps[0]


def of_marked(
    tuned: Sequence[Score], base: Sequence[Score] | None, labels: Sequence[bool]
) -> list[Figure]:
    """Figures of good and bad answers without pairs, as the engine's own: accuracy is how often a
    good one outranks a bad one over all such pairs (the area under the ROC curve), margin the
    difference of the means. Loss and perplexity are of the good ones."""
    good = [at for at, label in enumerate(labels) if label]
    sides = [side for side in (tuned, base) if side is not None]
    found: list[Figure] = []
    if good and len(good) < len(labels):
        ways = (("", _per_token), ("_sum", _summed))
        margins = []
        for ending, value in ways:
            values = [[value(one) for one in side] for side in sides]
            found.append(_ranked(f"accuracy{ending}", values, labels))
            marked = [list(zip(side, labels, strict=True)) for side in values]
            theirs = marked[1] if len(marked) > 1 else None
            margins.append(measure(f"margin{ending}", apart, _by_label, marked[0], theirs))
        found += figures_of(margins)
    if good:
        theirs_good = None if base is None else [base[at] for at in good]
        found += of_answers([tuned[at] for at in good], theirs_good)
    return found


def _by_label(marked: tuple[float, bool]) -> tuple[float, float, float, float]:
    value, label = marked
    return (value, 1.0, 0.0, 0.0) if label else (0.0, 0.0, value, 1.0)


def _ranked(name: str, sides: Sequence[Sequence[float]], labels: Sequence[bool]) -> Figure:
    ranks = [Ranking(side, labels) for side in sides]
    n = len(labels)
    places = [list(map(float, range(n)))]

    def resampled(*which: Ranking) -> tuple[float, float]:
        def statistic(rows: Array) -> Array:
            counts = counted(rows)
            first = which[0].of(counts)
            return first - which[1].of(counts) if len(which) > 1 else first

        return bootstrap(places, statistic)

    ones = np.ones((1, n))
    values = [float(rank.of(ones)[0]) for rank in ranks]
    if len(ranks) == 1:
        return Figure(name, values[0], *resampled(ranks[0]), n)
    return Figure(
        name,
        values[0],
        *resampled(ranks[0]),
        n,
        values[1],
        *resampled(ranks[1]),
        values[0] - values[1],
        *resampled(*ranks),
    )


def counted(rows: Array) -> Array:
    """How often each example stands in each resample, [resamples, examples]."""
    at = rows.astype(np.int64) + rows.shape[1] * np.arange(len(rows))[:, None]
    return np.asarray(
        np.bincount(at.ravel(), minlength=rows.size).reshape(rows.shape), dtype=np.float64
    )


class Ranking:
    """Values in their order, so that any resample's area under the ROC curve takes one pass."""

    def __init__(self, values: Sequence[float], labels: Sequence[bool]) -> None:
        plain = np.asarray(values, dtype=np.float64)
        self.order: NDArray[np.int64] = np.argsort(plain, kind="stable")
        placed = plain[self.order]
        # Where a new value begins; those that tie are one group.
        self.groups = np.flatnonzero(np.r_[True, placed[1:] != placed[:-1]])
        self.good = np.asarray(labels, dtype=np.float64)[self.order]

    def of(self, counts: Array) -> Array:
        """counts [resamples, examples] -> [resamples]; a half where a label is missing."""
        counts = counts[:, self.order]
        good = np.add.reduceat(counts * self.good, self.groups, axis=1)
        bad = np.add.reduceat(counts * (1 - self.good), self.groups, axis=1)
        below = bad.cumsum(axis=1) - bad
        won = (good * (below + bad / 2)).sum(axis=1)
        all_pairs = good.sum(axis=1) * bad.sum(axis=1)
        return np.where(all_pairs > 0, won / np.maximum(all_pairs, 1), 0.5)


COMPARED: dict[str, Callable[[str, str], float | None]] = {
    "exact_match": metrics.exact_match,
    "token_f1": metrics.token_f1,
    "contains": metrics.contains,
    "final_number": metrics.final_number,
}


def of_texts(
    tuned: Sequence[Text],
    base: Sequence[Text] | None,
    references: Mapping[int, str],
    pattern: str | None,
) -> list[Figure]:
    """Figures of written answers, the same rows in the same order on both sides. references: by
    row number, where there are some; a row without one, or without a number in it where numbers
    are compared, is left out of that metric."""
    alone: dict[str, Callable[[Text], float]] = {
        "repetition": lambda one: metrics.repetition(one.text),
        "length": lambda one: float(one.tokens),
    }
    if pattern is not None:
        alone["regex"] = lambda one: metrics.regex(one.text, pattern)
    found = figures_of(
        [
            measure(name, mean, lambda one, of=of: (of(one),), tuned, base)  # type: ignore[misc]
            for name, of in alone.items()
        ]
    )
    for name, metric in COMPARED.items():
        sides = []
        for side in (tuned, base):
            if side is None:
                continue
            each = [
                metric(one.text, references[one.number]) for one in side if one.number in references
            ]
            sides.append([(value,) for value in each if value is not None])
        if sides[0]:
            found += figures_of([Measure(name, mean, sides[0], sides[1] if sides[1:] else None)])
    order = list(metrics.METRICS)
    return sorted(found, key=lambda figure: order.index(figure.name))

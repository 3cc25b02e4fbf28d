"""95 % intervals by resampling the examples.

Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
The same seed gives the same interval; figures of two models are resampled over the same examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backprop_tui.core.interval import Interval

RESAMPLES = 10_000
AT_ONCE = 4_000_000  # numbers of a block of resamples, so that memory stays bounded
Array = NDArray[np.float64]
Statistic = Callable[..., Array]  # columns [resamples, n] -> [resamples]


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Statistic,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of `statistic` over examples, each a row of the columns.

    columns: equally long, one value an example; statistic: takes them as arrays
    [resamples, examples] and reduces the last axis. Raises ValueError without an example.
    """
    data = [np.asarray(column, dtype=np.float64) for column in columns]
    n = len(data[0])
    if n == 0 or any(len(column) != n for column in data):
        raise ValueError("columns of one length are needed, with at least one example")
    draw = np.random.default_rng(seed)
    found: list[Array] = []
    block = max(1, AT_ONCE // n)
    for start in range(0, resamples, block):
        rows = draw.integers(0, n, (min(block, resamples - start), n))
        found.append(np.asarray(statistic(*(column[rows] for column in data))))
    return interval(np.concatenate(found), level)


def interval(found: Array, level: float = 0.95) -> Interval:
    """The percentiles of a resampled statistic that hold `level` of it; nan where one is nan."""
    tail = 50 * (1 - level)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def resampled_sums(
    columns: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Sums of each column over the examples of each resample, [resamples, columns].

    The resamples of `bootstrap` with the same seed. Whatever is made of such sums, a mean or a
    ratio, of one model or two, is then resampled over the same examples at no cost.
    Raises ValueError without an example.
    """
    data = np.asarray(columns, dtype=np.float64).T
    n = len(data)
    if n == 0:
        raise ValueError("columns with at least one example are needed")
    draw = np.random.default_rng(seed)
    found: list[Array] = []
    block = max(1, AT_ONCE // n)
    for start in range(0, resamples, block):
        rows = draw.integers(0, n, (min(block, resamples - start), n))
        rows += n * np.arange(len(rows))[:, None]
        counts = np.bincount(rows.ravel(), minlength=rows.size).reshape(rows.shape)
        found.append(counts.astype(np.float64) @ data)
    return np.concatenate(found)


def mean(values: Array) -> Array:
    """The mean over examples."""
    return np.asarray(values.mean(axis=-1))


def mean_difference(values: Array, others: Array) -> Array:
    """Mean of the first minus mean of the second, over the same examples."""
    return mean(values - others)

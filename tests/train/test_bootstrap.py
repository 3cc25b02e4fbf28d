"""Bootstrap intervals, against scipy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from backprop_tui.train.evals.bootstrap import bootstrap, mean, mean_difference

DRAW = np.random.default_rng(7)
RIGHT = DRAW.integers(0, 2, 150).astype(float)
ALSO = np.clip(RIGHT + DRAW.normal(0, 0.3, 150), 0, 1)
LOGPS, TOKENS = -DRAW.uniform(5, 90, 150), DRAW.integers(4, 60, 150).astype(float)


def perplexity(logps: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Of all tokens of the examples: a ratio of sums, not a mean of ratios."""
    return np.asarray(np.exp(-logps.sum(axis=-1) / tokens.sum(axis=-1)))


@pytest.mark.parametrize(
    ("columns", "statistic"),
    [
        ([RIGHT], mean),
        ([RIGHT, ALSO], mean_difference),
        ([LOGPS, TOKENS], perplexity),
    ],
)
def test_intervals_are_those_of_scipy(
    columns: Sequence[np.ndarray], statistic: Callable[..., np.ndarray]
) -> None:
    low, high = bootstrap([list(column) for column in columns], statistic)
    theirs = stats.bootstrap(
        columns,
        lambda *data, axis: statistic(*data),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.04 * width)
    assert high == pytest.approx(theirs.high, abs=0.04 * width)
    assert low < statistic(*columns) < high


def test_one_seed_is_one_interval_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap([list(LOGPS)], mean, resamples=500)
    monkeypatch.setattr("backprop_tui.train.evals.bootstrap.AT_ONCE", 150 * 100)
    assert bootstrap([list(LOGPS)], mean, resamples=500) == whole
    assert bootstrap([list(LOGPS)], mean, resamples=500, seed=1) != whole


def test_no_example_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        bootstrap([[]], mean)

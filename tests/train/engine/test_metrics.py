"""Figures of measured rows against tables worked out by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats

from backprop_tui.train.engine.metrics import Measured, figures, intervals, merge


def measured(
    chosen: list[float],
    rejected: list[float],
    *,
    losses: list[float] | None = None,
    logps: tuple[list[float], list[float]] | None = None,
    lengths: tuple[list[int], list[int]] | None = None,
    kl: float | None = None,
) -> Measured:
    """Rows with these rewards; log-probs, lengths and losses are ones unless given."""
    good, bad = len(chosen), len(rejected)
    logps = logps or ([-1.0] * good, [-1.0] * bad)
    lengths = lengths or ([1] * good, [1] * bad)
    return Measured(
        losses=torch.tensor(losses if losses is not None else [1.0] * max(good, bad)),
        chosen_rewards=torch.tensor(chosen),
        rejected_rewards=torch.tensor(rejected),
        chosen_logps=torch.tensor(logps[0]),
        rejected_logps=torch.tensor(logps[1]),
        chosen_lengths=torch.tensor(lengths[0]),
        rejected_lengths=torch.tensor(lengths[1]),
        kl=None if kl is None else torch.tensor(kl),
    )


PAIRS = measured(
    [1.0, 0.5, -1.0, 2.0],
    [0.0, 0.5, 1.0, -1.0],
    losses=[0.5, 0.7, 1.4, 0.2],
    logps=([-10.0, -4.0, -6.0, -8.0], [-20.0, -2.0, -9.0, -1.0]),
    lengths=([5, 4, 2, 8], [10, 4, 3, 1]),
)


def test_pairs() -> None:
    assert figures(PAIRS, paired=True) == pytest.approx(
        {
            "loss": 2.8 / 4,
            "rewards/chosen": 2.5 / 4,
            "rewards/rejected": 0.5 / 4,
            "rewards/margins": 2.0 / 4,
            "rewards/accuracies": 2.5 / 4,  # won, tied, lost, won
            "logps/chosen": (-2 - 1 - 3 - 1) / 4,
            "logps/rejected": (-2 - 0.5 - 3 - 1) / 4,
            "logps_sum/chosen": -28 / 4,
            "logps_sum/rejected": -32 / 4,
        }
    )


def test_rows_without_pairs() -> None:
    rows = measured(
        [1.0, 0.0],
        [0.0, -1.0, 3.0],
        losses=[0.1, 0.2, 0.3, 0.4, 0.5],
        logps=([-2.0, -4.0], [-3.0, -6.0, -9.0]),
        lengths=([1, 2], [3, 2, 1]),
        kl=0.25,
    )
    assert figures(rows, paired=False) == pytest.approx(
        {
            "loss": 0.3,
            "rewards/chosen": 0.5,
            "rewards/rejected": 2 / 3,
            "rewards/margins": 0.5 - 2 / 3,
            # 1.0 is above 0.0 and -1.0; 0.0 ties with 0.0 and is above -1.0: 3.5 of 6
            "rewards/accuracies": 3.5 / 6,
            "logps/chosen": -2.0,
            "logps/rejected": (-1 - 3 - 9) / 3,
            "logps_sum/chosen": -3.0,
            "logps_sum/rejected": -6.0,
            "kl": 0.25,
        }
    )


@pytest.mark.parametrize("paired", [True, False])
def test_a_policy_that_is_its_own_reference_is_at_one_half(paired: bool) -> None:
    found = figures(measured([0.0] * 5, [0.0] * 5), paired)
    assert (found["rewards/accuracies"], found["rewards/margins"]) == (0.5, 0.0)


def test_rank_accuracy_is_that_of_the_table_of_all_pairs() -> None:
    rng = random.Random(0)
    for _ in range(50):
        good = [float(rng.randrange(6)) for _ in range(rng.randrange(1, 9))]
        bad = [float(rng.randrange(6)) for _ in range(rng.randrange(1, 9))]
        table = [(g > b) + (g == b) / 2 for g in good for b in bad]
        found = figures(measured(good, bad), paired=False)["rewards/accuracies"]
        assert found == pytest.approx(sum(table) / len(table))


def test_rank_accuracy_of_many_rows_needs_no_table_of_them() -> None:
    n = 300_000  # a table would be 90 thousand million cells
    values = torch.arange(n).float()
    rows = Measured(values, values + 0.5, values, *[values] * 4)
    assert figures(rows, paired=False)["rewards/accuracies"] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_absent_side_has_no_keys(side: str) -> None:
    other = "rejected" if side == "chosen" else "chosen"
    rows = measured([], [0.5, 1.5]) if side == "chosen" else measured([0.5, 1.5], [])
    assert set(figures(rows, paired=False)) == {
        "loss",
        f"rewards/{other}",
        f"logps/{other}",
        f"logps_sum/{other}",
    }


def test_no_rows_have_no_figures() -> None:
    assert figures(measured([], []), paired=True) == {}


def test_an_empty_answer_counts_where_it_has_a_value() -> None:
    rows = measured([0.0, 0.0], [0.0], logps=([0.0, -6.0], [0.0]), lengths=([0, 3], [0]))
    found = figures(rows, paired=False)
    assert (found["logps/chosen"], found["logps_sum/chosen"]) == (-2.0, -3.0)
    assert "logps/rejected" not in found
    assert found["logps_sum/rejected"] == 0.0


@pytest.mark.parametrize("paired", [True, False])
def test_of_what_is_not_finite_only_the_loss_is_told(paired: bool) -> None:
    broken = measured([math.nan, 1.0], [0.0, 0.0], losses=[math.nan, 1.0], kl=math.nan)
    found = figures(broken, paired)
    assert math.isnan(found.pop("loss"))
    assert all(math.isfinite(value) for value in found.values())
    assert {"rewards/chosen", "rewards/margins", "rewards/accuracies", "kl"}.isdisjoint(found)
    assert found["rewards/rejected"] == 0.0


@pytest.mark.parametrize("paired", [True, False])
def test_figures_do_not_depend_on_the_batches(paired: bool) -> None:
    rng = random.Random(1)
    rows = [rng.gauss(0, 1) for _ in range(11)]
    other = [rng.gauss(0, 1) for _ in range(11)]
    whole = measured(rows, other, losses=rows)
    parts = [
        measured(rows[a:b], other[a:b], losses=rows[a:b]) for a, b in ((0, 3), (3, 3), (3, 10))
    ]
    merged = merge([*parts, measured(rows[10:], other[10:], losses=rows[10:])])
    assert figures(merged, paired) == pytest.approx(figures(whole, paired))


def test_kl_is_weighted_by_rows() -> None:
    one = measured([0.0], [0.0, 0.0], losses=[0.0] * 3, kl=1.0)
    other = measured([0.0], [], losses=[0.0], kl=5.0)
    without = measured([0.0], [0.0], losses=[0.0] * 2)
    assert figures(merge([one, other, without]), paired=False)["kl"] == pytest.approx(2.0)
    assert merge([without, without]).kl is None


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        merge([])


def test_intervals_of_pairs_are_those_of_scipy() -> None:
    draw = torch.Generator().manual_seed(4)
    chosen, rejected = torch.randn(2, 120, generator=draw) + torch.tensor([[0.4], [0.0]])
    rows = Measured(chosen, chosen, rejected, *[chosen] * 4)
    found = intervals(rows)
    margins = (chosen - rejected).double().numpy()
    for name, values in (("margins", margins), ("accuracies", (margins > 0).astype(float))):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
        ).confidence_interval
        width = theirs.high - theirs.low
        assert found[f"rewards/{name}_low"] == pytest.approx(theirs.low, abs=0.08 * width)
        assert found[f"rewards/{name}_high"] == pytest.approx(theirs.high, abs=0.08 * width)


@pytest.mark.parametrize("rewards", [[0.5], [0.5, math.nan]])
def test_what_cannot_be_resampled_has_no_interval(rewards: list[float]) -> None:
    values = torch.tensor(rewards)
    assert intervals(Measured(values, values, values * 0, *[values] * 4)) == {}

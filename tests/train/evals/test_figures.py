"""Figures and intervals, by hand and against scikit-learn; the gates that rest on them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from backprop_tui.core.gate import judge_gate
from backprop_tui.core.scores import Figure, PairLogps, right
from backprop_tui.train.evals.bootstrap import (
    bootstrap,
    mean,
    mean_difference,
    resampled_sums,
)
from backprop_tui.train.evals.figures import Ranking, of_answers, of_marked, of_pairs, of_texts
from backprop_tui.train.evals.generate import Text
from backprop_tui.train.evals.score import Score
from tests.train.test_bootstrap import perplexity


def by_name(found: list[Figure]) -> dict[str, Figure]:
    return {one.name: one for one in found}


def pairs(seed: int, n: int = 60) -> list[PairLogps]:
    chance = random.Random(seed)
    return [
        PairLogps(
            at, -chance.uniform(5, 50), -chance.uniform(5, 50), chance.randint(3, 20), at % 17 + 3
        )
        for at in range(n)
    ]


def test_figures_of_pairs_by_hand() -> None:
    tuned = [PairLogps(1, -10.0, -12.0, 5, 4), PairLogps(2, -9.0, -6.0, 3, 1)]
    base = [PairLogps(1, -12.0, -8.0, 5, 4), PairLogps(2, -9.0, -9.0, 3, 3)]
    found = by_name(of_pairs(tuned, base))
    # per token: -2 against -3 and -3 against -6; -2.4 against -2 and -3 against -3
    assert (found["accuracy"].tuned, found["accuracy"].base) == (1.0, 0.25)
    assert found["accuracy"].difference == 0.75
    assert (found["accuracy_sum"].tuned, found["accuracy_sum"].base) == (0.5, 0.25)
    assert found["margin"].tuned == pytest.approx(2.0)
    assert found["margin"].base == pytest.approx(-0.2)
    assert found["margin_sum"].tuned == pytest.approx(-0.5)
    assert found["loss"].tuned == pytest.approx(19 / 8)
    assert found["perplexity"].base == pytest.approx(math.exp(21 / 8))
    assert {one.n for one in found.values()} == {2}


def test_intervals_are_those_of_the_plain_bootstrap() -> None:
    tuned, base = pairs(1), pairs(2)
    found = by_name(of_pairs(tuned, base))
    ours = [right(one.margin_per_token) for one in tuned]
    theirs = [right(one.margin_per_token) for one in base]
    one = found["accuracy"]
    assert (one.tuned_low, one.tuned_high) == pytest.approx(bootstrap([ours], mean))
    assert (one.base_low, one.base_high) == pytest.approx(bootstrap([theirs], mean))
    assert (one.low, one.high) == pytest.approx(bootstrap([ours, theirs], mean_difference))
    logps, tokens = [one.chosen for one in tuned], [float(one.chosen_tokens) for one in tuned]
    one = found["perplexity"]
    assert (one.tuned_low, one.tuned_high) == pytest.approx(bootstrap([logps, tokens], perplexity))


def test_sums_are_resampled_alike_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [[one.chosen for one in pairs(3)], [one.rejected for one in pairs(3)]]
    whole = resampled_sums(columns, resamples=300)
    assert whole.shape == (300, 2)
    monkeypatch.setattr("backprop_tui.train.evals.bootstrap.AT_ONCE", 60 * 7)
    assert np.allclose(resampled_sums(columns, resamples=300), whole)
    with pytest.raises(ValueError, match="at least one"):
        resampled_sums([])


def test_a_model_by_itself_has_no_difference() -> None:
    for one in of_pairs(pairs(1), None):
        assert (one.base, one.difference, one.low) == (None, None, None)
        assert one.tuned_low <= one.tuned <= one.tuned_high


def test_marked_answers_rank_as_scikit_learn_says() -> None:
    chance = random.Random(0)
    labels = [chance.random() < 0.4 for _ in range(80)]
    tuned = [
        Score(at, (-chance.randint(1, 12) - 3.0 * (not labels[at]),), (2,)) for at in range(80)
    ]
    base = [Score(at, (-float(chance.randint(1, 12)),), (2,)) for at in range(80)]
    found = by_name(of_marked(tuned, base, labels))
    for name, side, value in (
        ("accuracy", tuned, found["accuracy"].tuned),
        ("accuracy", base, found["accuracy"].base),
        ("accuracy_sum", tuned, found["accuracy_sum"].tuned),
    ):
        wanted = roc_auc_score(labels, [one.logps[0] for one in side])
        assert value == pytest.approx(wanted), name
    assert found["accuracy"].n == 80
    good = [one.logps[0] for one, label in zip(tuned, labels, strict=True) if label]
    bad = [one.logps[0] for one, label in zip(tuned, labels, strict=True) if not label]
    assert found["margin_sum"].tuned == pytest.approx(np.mean(good) - np.mean(bad))
    assert found["margin"].tuned == pytest.approx((np.mean(good) - np.mean(bad)) / 2)
    assert found["loss"].n == len(good)
    assert found["loss"].tuned == pytest.approx(-np.mean(good) / 2)
    low, high = found["accuracy"].low, found["accuracy"].high
    assert low is not None
    assert high is not None
    assert low < (found["accuracy"].difference or 0) < high


def test_a_resample_of_a_ranking_is_the_ranking_of_the_resample() -> None:
    chance = np.random.default_rng(4)
    values, labels = chance.integers(0, 6, 30).astype(float), chance.random(30) < 0.5
    rows = chance.integers(0, 30, (5, 30))
    counts = np.stack([np.bincount(one, minlength=30) for one in rows]).astype(float)
    found = Ranking(list(values), list(labels)).of(counts)
    for one, got in zip(rows, found, strict=True):
        assert got == pytest.approx(roc_auc_score(labels[one], values[one]))
    only_good = Ranking([1.0, 2.0], [True, True]).of(np.ones((1, 2)))
    assert only_good.tolist() == [0.5]


def test_answers_of_one_mark_have_what_can_be_had() -> None:
    scores = [Score(1, (-4.0,), (2,)), Score(2, (-2.0,), (4,))]
    assert [one.name for one in of_marked(scores, None, [True, True])] == ["loss", "perplexity"]
    assert of_marked(scores, None, [False, False]) == []
    assert of_answers(scores, None)[0].tuned == 1.0


def texts(*words: str) -> list[Text]:
    return [Text(at, word, len(word.split()) + 1, True) for at, word in enumerate(words, 1)]


def test_figures_of_texts_by_hand() -> None:
    tuned = texts("It is 42.", "a blue car", "no no no no no no")
    base = texts("It is 41", "The red car", "yes")
    found = by_name(of_texts(tuned, base, {1: "so #### 42", 2: "Blue car!"}, r"\bcar\b"))
    one = found["exact_match"]
    assert (one.tuned, one.base, one.n) == (0.5, 0.0, 2)
    assert found["token_f1"].base == pytest.approx((0 + 0.5) / 2)
    assert (found["contains"].tuned, found["contains"].n) == (0.5, 2)
    one = found["final_number"]
    assert (one.tuned, one.base, one.difference, one.n) == (1.0, 0.0, 1.0, 1)
    assert found["regex"].n == 3
    assert found["regex"].tuned == pytest.approx(1 / 3)
    assert found["repetition"].tuned == pytest.approx((0 + 0 + 2 / 3) / 3)
    assert found["length"].tuned == pytest.approx((4 + 4 + 7) / 3)
    assert "exact_match" not in by_name(of_texts(tuned, None, {}, None))
    assert "regex" not in by_name(of_texts(tuned, None, {}, None))


def shifted(by: float, spread: float, n: int = 200) -> list[Figure]:
    """Answers of ten tokens: the base at a loss of 0.50, the tuned model that much above, row by
    row within the spread."""
    chance = random.Random(0)
    base = [PairLogps(at, -5.0 + chance.uniform(-1, 1), -7.0, 10, 10) for at in range(n)]
    moves = [chance.uniform(-spread, spread) for _ in range(n)]
    tuned = [
        PairLogps(one.number, one.chosen - 10 * (by + move - sum(moves) / n), -7.0, 10, 10)
        for one, move in zip(base, moves, strict=True)
    ]
    return of_pairs(tuned, base)


def matched(right_before: int, right_after: int, n: int = 200) -> list[Figure]:
    """How many of the answers are the reference, before and after."""
    sides = [
        [Text(at, "yes" if at < n_right else "no", 2, True) for at in range(n)]
        for n_right in (right_after, right_before)
    ]
    return of_texts(sides[0], sides[1], dict.fromkeys(range(n), "yes"), None)


def test_a_loss_of_a_hundredth_is_rejected_where_nothing_is_allowed() -> None:
    found = shifted(0.01, 0.02)
    assert by_name(found)["loss"].difference == pytest.approx(0.01, abs=1e-9)
    assert not judge_gate(found, "loss", 0.0).passed
    assert judge_gate(found, "loss", 0.02).passed


def test_a_better_loss_does_not_make_up_for_worse_answers() -> None:
    found = shifted(-0.05, 0.01) + matched(120, 80)
    assert by_name(found)["exact_match"].difference == pytest.approx(-0.2)
    assert judge_gate(found, "loss", 0.0).passed
    assert not judge_gate(found, "exact_match", 0.02).passed


def test_a_drop_within_the_interval_is_accepted() -> None:
    found = shifted(0.01, 0.4)
    loss = by_name(found)["loss"]
    assert loss.low is not None
    assert loss.high is not None
    assert loss.low < 0 < loss.high
    result = judge_gate(found, "loss", 0.0)
    assert result.passed
    assert "holds 0" in result.reason


def test_what_was_not_measured_is_rejected() -> None:
    result = judge_gate(shifted(-0.05, 0.01), "exact_match", 0.5)
    assert not result.passed
    assert result.regression is None

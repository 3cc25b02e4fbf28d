"""What training will really use: every auto, clamp and cadence decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backprop_tui.core.effective import (
    TrainRows,
    effective,
    estimated_rows,
    eval_cadence,
    total_steps,
)
from backprop_tui.core.facts import Facts, GpuFacts, ModelFacts
from backprop_tui.core.rows import Message, Pair
from backprop_tui.core.split import split
from tests.core.worlds import (
    CARD,
    LLAMA_8B,
    MARKS,
    NO_CARD,
    OLD_CARD,
    ONE_CARD,
    PAIRS,
    SMALL,
    facts,
    run_file,
)

OLD = GpuFacts(cards=(OLD_CARD,))
SECOND = GpuFacts(cards=(CARD, replace(OLD_CARD, index=1)))


@pytest.mark.parametrize(
    ("method", "asked", "used"),
    [("kto", 1, 2), ("kto", 2, 2), ("kto", 8, 8), ("simpo", 1, 1), ("orpo", 1, 1), ("sft", 1, 1)],
)
def test_trls_kto_alone_raises_a_batch_of_one(method: str, asked: int, used: int) -> None:
    run = run_file({"training.batch_size": asked, "engine": "trl"}, method)
    assert effective(run, facts(MARKS)).batch_size == used
    ours = run_file({"training.batch_size": asked}, method)
    assert effective(ours, facts(MARKS)).batch_size == asked


def test_full_fine_tuning_has_its_own_rate_where_one_is_published() -> None:
    assert effective(run_file(method="cpo"), facts()).learning_rate == 1e-4
    assert effective(run_file({"lora": None}, "cpo"), facts()).learning_rate == 5e-7


@pytest.mark.parametrize(
    ("asked", "gpu", "device"),
    [
        ("auto", ONE_CARD, "cuda"),
        ("auto", NO_CARD, "cpu"),
        ("auto", None, "cpu"),
        ("cpu", ONE_CARD, "cpu"),
        ("cuda", NO_CARD, "cuda"),  # refused by a rule, never silently a CPU run
    ],
)
def test_the_device(asked: str, gpu: GpuFacts | None, device: str) -> None:
    assert effective(run_file({"machine.device": asked}), facts(gpu=gpu)).device == device


@pytest.mark.parametrize(
    ("asked", "model", "gpu", "precision"),
    [
        ("auto", LLAMA_8B, ONE_CARD, "nf4"),
        ("auto", LLAMA_8B, NO_CARD, "fp32"),
        ("auto", replace(SMALL, parameters=1_000_000_000), ONE_CARD, "bf16"),
        ("auto", replace(SMALL, parameters=1_000_000_001), ONE_CARD, "nf4"),
        ("auto", SMALL, OLD, "fp16"),
        ("auto", None, ONE_CARD, "nf4"),
        ("int8", SMALL, ONE_CARD, "int8"),
        ("bf16", SMALL, NO_CARD, "bf16"),
    ],
)
def test_the_precision(asked: str, model: ModelFacts | None, gpu: GpuFacts, precision: str) -> None:
    run = run_file({"model.precision": asked})
    assert effective(run, facts(model=model, gpu=gpu)).precision == precision


def test_the_chosen_card_decides() -> None:
    run = run_file({"machine.card": 1})
    assert effective(run, facts(model=SMALL, gpu=SECOND, card=1)).precision == "fp16"


@pytest.mark.parametrize(
    ("asked", "gpu", "optimizer"),
    [
        ("auto", ONE_CARD, "paged_adamw_8bit"),
        ("auto", NO_CARD, "adamw"),
        ("adamw", ONE_CARD, "adamw"),
        ("adamw_8bit", ONE_CARD, "adamw_8bit"),
    ],
)
def test_the_optimizer(asked: str, gpu: GpuFacts, optimizer: str) -> None:
    run = run_file({"training.optimizer": asked})
    assert effective(run, facts(gpu=gpu)).optimizer == optimizer


@pytest.mark.parametrize(
    ("changes", "rows", "batch", "steps"),
    [
        ({}, 576, 2, 36),  # 288 batches, 8 to a step
        ({}, 577, 2, 37),  # a last step of one row
        ({}, 1, 2, 1),
        ({}, 0, 2, 0),
        ({"training.epochs": 3.0}, 576, 2, 108),
        ({"training.epochs": 0.5}, 576, 2, 18),
        ({"training.epochs": 0.001}, 576, 2, 1),
        ({"training.max_steps": 20}, 576, 2, 20),
        ({"training.max_steps": 20}, 0, 2, 20),
        ({"training.accumulation": 1}, 576, 4, 144),
    ],
)
def test_the_steps(changes: dict[str, Any], rows: int, batch: int, steps: int) -> None:
    assert total_steps(run_file(changes), rows, batch) == steps


@pytest.mark.parametrize(
    ("changes", "rows", "evaluate", "save"),
    [
        ({}, TrainRows(5760, 64), 36, 180),  # 360 steps
        ({}, TrainRows(5760, 0), 36, 180),
        ({}, TrainRows(320, 320), 20, 10),  # 20 steps, and 320 rows are 20 batches of 16
        ({}, TrainRows(16, 1), 1, 1),
        ({"training.eval_steps": 7, "training.save_steps": 9}, TrainRows(5760, 640), 7, 9),
        ({}, TrainRows(0, 0), 1, 1),
    ],
)
def test_how_often_it_measures_and_saves(
    changes: dict[str, Any], rows: TrainRows, evaluate: int, save: int
) -> None:
    plan = effective(run_file(changes), facts(), rows)
    assert (plan.eval_steps, plan.save_steps) == (evaluate, save)


@given(st.integers(1, 10**5), st.integers(0, 10**5), st.integers(1, 512))
def test_it_never_measures_more_rows_than_it_trains_on(
    steps: int, heldout: int, batch: int
) -> None:
    every = eval_cadence(steps, heldout, batch)
    assert heldout <= every * batch
    assert every >= 1
    assert steps // every <= 20  # ten a run; rounding can double it on a very short one


def test_the_rate_is_chosen_from_the_rows_that_train() -> None:
    run = run_file()
    assert effective(run, facts(), TrainRows(999, 1)).learning_rate == 2e-5
    assert effective(run, facts(), TrainRows(1000, 0)).learning_rate == 1e-5
    # 1,050 rows, of which 945 train.
    assert effective(run, facts(replace(PAIRS, kept=1050))).learning_rate == 2e-5


def test_the_balance_is_of_the_training_rows() -> None:
    rows = TrainRows(100, 10, desirable=90, undesirable=10)
    plan = effective(run_file(method="kto"), facts(MARKS), rows)
    assert plan.balance is not None
    assert plan.balance.undesirable_weight == pytest.approx(6.75)
    estimate = effective(
        run_file(method="kto"), facts(replace(MARKS, labels={True: 900, False: 100}))
    )
    assert estimate.balance is not None
    assert estimate.balance.undesirable_weight == pytest.approx(6.75)


def test_weights_are_left_alone_when_asked() -> None:
    run = run_file({"kto.rebalance": False, "kto.undesirable_weight": 2.0}, "kto")
    plan = effective(run, facts(MARKS), TrainRows(100, 10, desirable=90, undesirable=10))
    assert plan.balance is not None
    assert (plan.balance.desirable_weight, plan.balance.undesirable_weight) == (1.0, 2.0)
    assert plan.balance.changed is False
    assert plan.balance.ratio == pytest.approx(4.5)


@pytest.mark.parametrize("rows", [TrainRows(9, 1, desirable=9), TrainRows(9, 1, undesirable=9)])
def test_one_label_has_no_balance(rows: TrainRows) -> None:
    assert effective(run_file(method="kto"), facts(MARKS), rows).balance is None


@pytest.mark.parametrize(("asked", "used"), [(512, 512), (513, 512), (4096, 512), (16, 16)])
def test_the_length_stays_in_the_context(asked: int, used: int) -> None:
    run = run_file({"data.max_length": asked})
    assert effective(run, facts(model=SMALL)).max_length == used
    assert effective(run, facts(model=None)).max_length == asked


def test_before_anything_is_known() -> None:
    plan = effective(run_file(), Facts())
    assert (plan.steps, plan.device, plan.precision) == (0, "cpu", "fp32")
    assert estimated_rows(run_file(), Facts()) == TrainRows(0, 0)


@given(st.integers(1, 60), st.floats(0, 0.5))
def test_the_estimate_of_the_split_is_what_the_split_does(kept: int, heldout: float) -> None:
    run = run_file({"data.heldout": heldout})
    guess = estimated_rows(run, facts(replace(PAIRS, rows=kept, kept=kept)))
    rows = [
        Pair(
            n,
            (Message("user", f"p{n}"),),
            (Message("assistant", "a"),),
            (Message("assistant", "b"),),
        )
        for n in range(kept)
    ]
    train, held = split(rows, heldout, 0)
    assert (guess.train, guess.heldout) == (len(train), len(held))


@example(1, 1, 0.5)
@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 0.5))
def test_the_estimate_does_not_lose_a_label(good: int, bad: int, heldout: float) -> None:
    run = run_file({"data.heldout": heldout}, "kto")
    guess = estimated_rows(
        run, facts(replace(MARKS, kept=good + bad, labels={True: good, False: bad}))
    )
    assert guess.desirable >= 1
    assert guess.undesirable >= 1

"""Which rows make a batch, and when."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.runfile_io import change
from backprop_tui.train.engine.order import BatchOrder
from tests.conftest import pocket_run
from tests.train.engine.parity import build, rows_of, small_model

lengths = st.lists(st.integers(1, 500), max_size=60)


def batches(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(lengths, st.integers(1, 9), st.booleans())
def test_every_row_once_an_epoch(tokens: list[int], batch: int, grouped: bool) -> None:
    order = BatchOrder(tokens, batch, seed=1, grouped=grouped)
    for epoch in range(3):
        order.set_epoch(epoch)
        assert sorted(order) == list(range(len(tokens)))
        assert len(list(order)) == len(order)


@given(lengths, st.integers(1, 9), st.booleans())
def test_batch_with_most_tokens_comes_first_and_the_short_one_last(
    tokens: list[int], batch: int, grouped: bool
) -> None:
    """Where the card is too small the first step shows it."""
    found = batches(list(BatchOrder(tokens, batch, seed=1, grouped=grouped)), batch)
    sizes = [sum(tokens[row] for row in rows) for rows in found if len(rows) == batch]
    assert sizes[:1] == sorted(sizes)[-1:]
    assert all(len(rows) == batch for rows in found[:-1])


def test_batches_stay_together_and_come_in_another_order_each_epoch() -> None:
    order = BatchOrder(list(range(40)), 4, seed=1, grouped=False)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(batches(list(order), 4))
    assert epochs[0] != epochs[1] != epochs[2]
    for found in epochs:
        assert sorted(found) == sorted(epochs[0])


def test_same_seed_same_order_and_another_seed_another() -> None:
    """The seed decides which rows stand together, as well as when."""
    tokens = list(range(40))

    def order(seed: int) -> list[list[int]]:
        return batches(list(BatchOrder(tokens, 4, seed, grouped=False)), 4)

    assert order(1) == order(1)
    assert not {*map(frozenset, order(1))} & {*map(frozenset, order(2))}


def test_rows_are_shuffled_and_grouped_by_length_only_where_padding_costs() -> None:
    draw = random.Random(0)
    tokens = [draw.randrange(1000) for _ in range(400)]

    def spread(grouped: bool) -> float:
        found = batches(list(BatchOrder(tokens, 4, 1, grouped=grouped)), 4)
        widths = [max(t) - min(t) for rows in found if (t := [tokens[row] for row in rows])]
        return sum(widths) / len(widths)

    assert spread(True) < 20 < 400 < spread(False)


def test_no_rows_and_fewer_rows_than_a_batch() -> None:
    assert list(BatchOrder([], 4, 0, grouped=False)) == []
    assert sorted(BatchOrder([3, 5], 4, 0, grouped=True)) == [0, 1]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_trainer_reads_every_row_once_an_epoch_in_an_order_of_its_own(
    accumulation: int, tmp_path: Path
) -> None:
    """`set_epoch` has to reach the sampler through two libraries' data loaders."""
    rows = rows_of("simpo", 10)
    run = change(
        pocket_run("simpo", tmp_path / "run"),
        {
            "training.max_steps": None,
            "training.epochs": 3.0,
            "training.batch_size": 2,
            "training.accumulation": accumulation,
            "training.save_steps": 1000,
        },
    )
    trainer = build(run, rows, tmp_path, small_model())
    seen: list[tuple[int, ...]] = []
    step = trainer.training_step

    def watched(model: Any, inputs: Any, *rest: Any) -> Any:
        seen.append(inputs["batch"].rows)
        return step(model, inputs, *rest)

    trainer.training_step = watched
    trainer.train()
    epochs = [seen[start : start + 5] for start in range(0, 15, 5)]
    assert len(seen) == 15
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(10))
    assert epochs[0] != epochs[1] != epochs[2]
    heaviest = max(epochs[0], key=lambda found: sum(map(tokens_of(trainer), found)))
    assert seen[0] == heaviest


def tokens_of(trainer: Any) -> Any:
    return lambda row: trainer.train_dataset.group(row).packed_tokens

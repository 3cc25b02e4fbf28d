"""A try of the heaviest batch: the heaviest it is, and trainer and weights are as they were."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backprop_tui.core.events import Finished
from backprop_tui.train import preflight, trial
from backprop_tui.train.encoded import EncodedChat, EncodedPair
from backprop_tui.train.meter import TensorMeter
from backprop_tui.train.trial import Tried, heaviest, tried
from tests.conftest import pocket_run, run_training

HARD = {"training.accumulation": 2, "training.checkpointing": True, "lora.dropout": 0.3}


def state(trainer: Any) -> dict[str, Any]:
    """All that a try might leave changed."""
    import numpy as np
    import torch

    model = trainer.model
    numbers: Any = np.random.get_state()
    modules = sorted(name for name, one in model.named_modules() if one.training)
    return {
        "weights": [one.detach().view(torch.uint8).tolist() for one in model.parameters()],
        "gradients": [one.grad for one in model.parameters()],
        "training": modules,
        "optimizers": (trainer.optimizer, trainer.callback_handler.optimizer, alive()),
        "schedules": (trainer.lr_scheduler, trainer.callback_handler.lr_scheduler),
        "chance": (
            random.getstate(),
            numbers[1].tolist(),
            torch.get_rng_state().tolist(),
        ),
        "counts": [
            sorted(trial._plain_values(one).items(), key=str)
            for one in (trainer, *trainer.callback_handler.callbacks)
        ],
    }


def alive() -> int:
    """Optimizers that something still holds."""
    import torch

    gc.collect()
    return sum(isinstance(one, torch.optim.Optimizer) for one in gc.get_objects())


@pytest.mark.parametrize("method", ["kto", pytest.param("sft", marks=pytest.mark.slow)])
def test_a_try_leaves_no_trace(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, Any]] = []
    took: list[Tried] = []

    def watched(trainer: Any, *arguments: Any) -> Tried:
        found.append(state(trainer))
        took.append(tried(trainer, *arguments))
        found.append(state(trainer))
        return took[-1]

    monkeypatch.setattr(preflight, "tried", watched)
    monkeypatch.setattr(preflight, "meter_for", lambda *_args, **_named: TensorMeter())
    run = pocket_run(method, tmp_path / "run", {**HARD, "training.max_steps": 1})
    assert isinstance(run_training(run).ending, Finished)
    before, after = found
    added = {"current_gradient_accumulation_steps"}  # set anew for every step
    for one in (before, after):
        one["counts"][0] = [pair for pair in one["counts"][0] if pair[0] not in added]
    for name, value in before.items():
        assert after[name] == value, name
    # The adapter and two moments of each of its weights, float32.
    assert took[0].saved == pytest.approx(3 * took[0].learned, rel=0.01)
    assert took[0].step > 0
    assert took[0].measuring > 0


def test_an_update_changes_no_weight_whatever_the_gradient() -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    before = [one.detach().clone() for one in model.parameters()]
    model.weight.grad = torch.full((2, 3), float("nan"))
    model.bias.grad = torch.full((2,), float("inf"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, weight_decay=0.5)
    trainer = SimpleNamespace(args=SimpleNamespace(max_grad_norm=1.0), optimizer=optimizer)
    trial._update(trainer, model)
    assert all(map(torch.equal, before, model.parameters()))
    assert [one.grad for one in model.parameters()] == [None, None]
    assert len(optimizer.state) == 2


class Dataset(list[Any]):
    """Rows as TRL's trainers hold them."""

    def select(self, rows: list[int]) -> list[Any]:
        return [self[row] for row in rows]


def trainer_of(rows: list[Any], *, lean: bool) -> Any:
    """As far as choosing rows needs one."""
    dataset = Dataset(range(len(rows)))
    made = SimpleNamespace(
        args=SimpleNamespace(train_batch_size=2, eval_batch_size=2),
        train_dataset=dataset,
        eval_dataset=dataset,
        get_eval_dataloader=lambda picked: [list(picked)],
        data_collator=list,
        _get_train_sampler=lambda: iter([3, 1, 0, 2]),
    )
    if lean:
        made.lean = True
    return made


CHATS = [EncodedChat(n, [1] * size, [1] * size) for n, size in enumerate((5, 9, 2, 8, 1))]
PAIRS = [EncodedPair(n, [1], [1] * 2, [1] * size) for n, size in enumerate((5, 9, 2, 8, 1))]


def test_of_batches_that_are_drawn_the_longest_rows_stand_for_the_worst() -> None:
    found = heaviest(trainer_of(CHATS, lean=False), CHATS, training=True)
    assert (found.batch, found.rows) == ([1, 3], ((0, 9), (0, 8)))
    assert found.share == pytest.approx((25 / 5 * 2) / 17)


def test_the_lean_engine_trains_on_its_heaviest_batch_first() -> None:
    found = heaviest(trainer_of(PAIRS, lean=True), PAIRS, training=True)
    assert (found.batch, found.rows) == ([3, 1], ((1, 2, 8), (1, 2, 9)))


@pytest.mark.parametrize("lean", [True, False])
def test_held_out_rows_are_read_in_their_order(lean: bool) -> None:
    found = heaviest(trainer_of(CHATS, lean=lean), CHATS, training=False)
    assert (found.batch, found.rows) == ([0, 1], ((0, 5), (0, 9)))

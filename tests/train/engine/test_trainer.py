"""How rows fall into batches and parts changes neither losses, nor gradients, nor figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile_io import change
from backprop_tui.train.encoded import EncodedPair
from backprop_tui.train.engine import forward
from backprop_tui.train.engine.base import measure
from backprop_tui.train.engine.batch import Batch
from backprop_tui.train.engine.check import decide
from backprop_tui.train.engine.layout import Group
from backprop_tui.train.engine.metrics import figures, merge
from backprop_tui.train.engine.order import BatchOrder
from tests.conftest import pocket_run
from tests.train.engine.parity import (
    FirstGradients,
    build,
    fill_reference,
    relative,
    rows_of,
    shake,
    small_model,
    worst,
)

PREFERENCE = tuple(name for name in METHODS if name != "sft")
FEW_TOKENS = 60  # the rows have up to 70 each
PADDED = forward.Path(shared=False, lean=True)


def lean(method: str, folder: Path, changes: Mapping[str, Any] | None = None, **built: Any) -> Any:
    """The lean trainer of a small model whose adapter does something already."""
    run = change(pocket_run(method, folder / "run"), {"training.save_steps": 1000})
    run = change(run, dict(changes or {}))
    model = built.pop("base", None) or small_model()
    trainer = build(run, built.pop("rows", rows_of(method)), folder, model, **built)
    assert trainer.lean.path.shared
    assert trainer.lean.path.lean
    shake(trainer.model)
    fill_reference(trainer)
    # As the library does at the start of a training.
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def test_path_is_chosen_on_the_longest_row_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not stand in the heaviest batch, and a window shows only on rows longer than it."""
    first, second, *others = BatchOrder([1] * 6, 2, 0, grouped=False)
    sizes = {first: 40, second: 40, others[0]: 50, **dict.fromkeys(others[1:], 2)}
    rows = [EncodedPair(n, [5], [6] * sizes[n], [7]) for n in range(6)]
    compared: list[Group] = []

    def watched(found: Any, model: Any, groups: list[Group], **options: Any) -> Any:
        compared.extend(groups)
        return decide(found, model, groups, **options)

    monkeypatch.setattr("backprop_tui.train.engine.trainer.decide", watched)
    trainer = lean("simpo", tmp_path, {"training.batch_size": 2}, rows=rows)
    assert others[0] not in list(trainer._get_train_sampler())[:2]
    assert trainer.train_dataset.group(others[0]) in compared


class Stepped(NamedTuple):
    """What one batch gave."""

    loss: float
    gradients: dict[str, Tensor]
    figures: dict[str, float]
    batch: Batch


def step(trainer: Any, rows: range = range(8)) -> Stepped:
    """Loss, gradients and figures of one batch."""
    trainer.model.zero_grad()
    trainer.measured = []
    inputs = trainer.collator([(trainer.train_dataset, row) for row in rows])
    loss = float(trainer.training_step(trainer.model, inputs))
    named = trainer.model.named_parameters()
    gradients = {n: p.grad.clone() for n, p in named if p.grad is not None}
    paired = trainer.objective.data == "pairs"
    return Stepped(loss, gradients, figures(merge(trainer.measured), paired), inputs["batch"])


def assert_same(found: Stepped, right: Stepped, most: float = 2e-6) -> None:
    """Rewards against the base are small differences of large sums: by their absolute size."""
    assert found.loss == pytest.approx(right.loss, rel=most)
    assert worst(found.gradients, right.gradients) < most
    assert found.figures == pytest.approx(right.figures, rel=1e-6, abs=1e-4)
    assert all(gradient.norm() > 0 for gradient in right.gradients.values())


@pytest.mark.parametrize("method", PREFERENCE)
def test_batch_in_parts_is_the_batch(method: str, tmp_path: Path) -> None:
    trainer = lean(method, tmp_path)
    whole = step(trainer)
    trainer.collator.most = FEW_TOKENS
    parts = step(trainer)
    assert len(whole.batch.parts) == 1
    assert len(parts.batch.parts) >= 3
    assert_same(parts, whole)


@pytest.mark.parametrize("method", ["orpo", "kto", "ipo"])
def test_padded_rows_train_as_packed_ones_do(method: str, tmp_path: Path) -> None:
    trainer = lean(method, tmp_path)
    packed = step(trainer)
    for path in (PADDED, forward.OWN):
        trainer.lean.use(path)
        trainer.collator.shared = path.shared
        padded = step(trainer)
        assert not padded.batch.parts[0].spans
        assert_same(padded, packed, 5e-6)


def test_borrowed_answers_give_the_same_in_the_row_and_beside_it(tmp_path: Path) -> None:
    trainer = lean("kto", tmp_path)
    trainer.collator.cost = 1.0
    within = step(trainer)
    trainer.collator.cost = 100.0
    beside = step(trainer)
    assert (within.batch.answers, within.batch.borrowed) == (2, ())
    assert beside.batch.answers == 1
    assert len(beside.batch.borrowed) > 0
    assert_same(beside, within)
    assert within.figures["kl"] > 0


def test_kto_batch_of_one_trains(tmp_path: Path) -> None:
    """Its mismatched answer comes from the whole set, so it needs no second row."""
    changes = {"training.batch_size": 1, "training.max_steps": 8}
    trainer = lean("kto", tmp_path, changes)
    first = FirstGradients()
    trainer.add_callback(first)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert len(logs) == 8
    assert all(0 < log["loss"] < 1 and log["kl"] >= 0 for log in logs)
    assert any(log["kl"] > 0 for log in logs)
    assert all(gradient.norm() > 0 for gradient in first.found.values())


@pytest.mark.parametrize("method", ["simpo", "dpo"])
def test_two_batches_of_two_are_one_of_four(method: str, tmp_path: Path) -> None:
    """Pairs weigh the same however they are put together; the loss that is logged too."""
    found = []
    for size in (4, 2):
        changes = {
            "training.batch_size": size,
            "training.accumulation": 4 // size,
            "training.max_steps": 1,
        }
        trainer = lean(method, tmp_path / str(size), changes, rows=rows_of(method, 4))
        first = FirstGradients()
        trainer.add_callback(first)
        trainer.train()
        logged = {k: v for k, v in trainer.state.log_history[0].items() if "/" in k or k == "loss"}
        found.append((logged, first.found))
    (log, gradients), (log_of_two, gradients_of_two) = found
    assert log == pytest.approx(log_of_two, rel=1e-5)
    assert worst(gradients_of_two, gradients) < 5e-6


@pytest.mark.parametrize("method", ["orpo", "kto"])
def test_checkpointing_gives_the_same_gradients(method: str, tmp_path: Path) -> None:
    """every n-th layer is computed again; nothing else changes."""
    found = {}
    for every in (0, 1, 2, 4):
        changes: dict[str, Any] = {"training.max_steps": 1, "training.checkpointing": every > 0}
        if every:
            changes["training.checkpoint_every"] = every
        trainer = lean(method, tmp_path / str(every), changes, base=small_model(layers=4))
        trainer.collator.cost = 100.0  # for kto, whose choice depends on checkpointing
        first = FirstGradients()
        trainer.add_callback(first)
        calls = count_calls(trainer.model)
        trainer.train()
        loss = trainer.state.log_history[0]["loss"]
        found[every] = (loss, first.found, len(calls))
    loss, gradients, calls_without = found.pop(0)
    assert {every: calls - calls_without for every, (_, _, calls) in found.items()} == {
        1: 4,
        2: 2,
        4: 1,
    }
    for other, with_checkpoints, _ in found.values():
        assert other == pytest.approx(loss, rel=1e-6)
        assert worst(with_checkpoints, gradients) < 2e-6


def count_calls(model: Any) -> list[int]:
    """One entry for each time a decoder layer computes its attention."""
    calls: list[int] = []
    for name, module in model.named_modules():
        if name.endswith("self_attn"):
            module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("method", ["simpo", "kto"])
def test_held_out_figures_do_not_depend_on_how_rows_fall_into_batches(
    method: str, tmp_path: Path
) -> None:
    found = []
    for size in (1, 3, 8):
        trainer = lean(method, tmp_path / str(size), heldout=rows_of(method))
        trainer.args.per_device_eval_batch_size = size
        metrics = trainer.evaluate()
        found.append(
            {k: v for k, v in metrics.items() if "/" in k or k in ("eval_loss", "eval_kl")}
        )
    assert len(found[0]) >= 9
    assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-6, abs=1e-5)


def test_measured_base_is_the_model_without_its_adapter(tmp_path: Path) -> None:
    """However many rows are measured together, and whatever was trained meanwhile."""
    trainer = lean("dpo", tmp_path)
    rows = trainer.train_dataset
    together = measure(trainer, [(rows, row) for row in range(8)])
    one_by_one = torch.cat([measure(trainer, [(rows, row)]) for row in range(8)])
    assert relative(one_by_one, together) < 1e-6
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    layout = trainer.collator.layout([rows.group(row) for row in range(8)])
    with torch.no_grad():
        plain = forward.sums(trainer.model, layout).view(-1, 2)
    assert relative(together, plain) < 1e-6

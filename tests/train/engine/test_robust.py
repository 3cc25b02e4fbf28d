"""Rows that break other trainers: never NaN, and a sentence where a run cannot be."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file

from backprop_tui.core.events import Evaluated, Failed, Finished, Started, Step
from backprop_tui.core.runfile_io import change
from backprop_tui.train.encoded import EncodedLabelled, EncodedPair
from backprop_tui.train.engine.forward import OWN
from backprop_tui.train.engine.forward import Path as Way
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.engine.parity import build, rows_of
from tests.train.engine.test_trainer import PREFERENCE, lean, step

POCKET = Path("backprop_tui/demo/pocket")
LONG = "The rain in the garden falls on the leaves. " * 60
ODD_PAIRS = [
    {"prompt": LONG, "chosen": "Yes.", "rejected": "No."},
    {"prompt": "Is it?", "chosen": "Yes.", "rejected": LONG},
    {"prompt": "Is it?", "chosen": "", "rejected": "No."},
    {"prompt": "Is it?", "chosen": "Yes.", "rejected": "  "},
    {"prompt": "Is it?", "chosen": "Yes.", "rejected": "Yes."},
    {"prompt": "", "chosen": "Yes.", "rejected": "No."},
]


def run_on(rows: Sequence[dict[str, Any]], method: str, folder: Path, **changes: Any) -> DoneRun:
    """A short run on these rows, by the lean engine."""
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    run = change(
        pocket_run(method, folder / "run"),
        {
            "data.path": str(data),
            "data.max_length": 64,
            "data.heldout": 0.2,
            "training.save_steps": 1000,
            **{key.replace("__", "."): value for key, value in changes.items()},
        },
    )
    assert run.engine == "lean"
    return run_training(run)


@pytest.mark.parametrize("method", PREFERENCE)
def test_odd_rows_are_counted_or_trained_and_nothing_becomes_nan(
    method: str, tmp_path: Path
) -> None:
    plain = [
        {"prompt": f"Is {i} small?", "chosen": f"Yes, {i} is.", "rejected": "Who knows."}
        for i in range(12)
    ]
    done = run_on(ODD_PAIRS + plain, method, tmp_path)
    assert isinstance(done.ending, Finished), done.ending
    started = next(event for event in done.events if isinstance(event, Started))
    assert sum(started.dropped.values()) >= 4, started.dropped
    measured = [event for event in done.events if isinstance(event, Step | Evaluated)]
    assert sum(isinstance(event, Step) for event in measured) == 4
    assert any(isinstance(event, Evaluated) for event in measured)
    for event in measured:
        assert math.isfinite(event.loss)
        assert event.loss != 0.0
        assert event.margin is None or math.isfinite(event.margin)
    weights = load_file(done.folder / "adapter" / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert all((tensor != 0).any() for tensor in weights.values())


@pytest.mark.parametrize("method", PREFERENCE)
@pytest.mark.parametrize("way", [Way(True, True), Way(False, True), OWN], ids=str)
def test_rows_that_slip_through_give_finite_losses_and_gradients(
    method: str, way: Way, tmp_path: Path
) -> None:
    """The same rows straight into the engine, past everything that drops them beforehand."""
    if method == "kto":
        rows: list[Any] = [
            EncodedLabelled(0, [7, 8], [9, 10], True),
            EncodedLabelled(1, [7], [], False),
            EncodedLabelled(2, [7, 11], [], True),
            EncodedLabelled(3, [5] * 60, [12], True),
        ]
    else:
        rows = [
            EncodedPair(0, [7, 8], [9, 10], [9, 10]),
            EncodedPair(1, [7], [], [9, 10]),
            EncodedPair(2, [7], [9], []),
            EncodedPair(3, [5] * 60, [12], [13]),
        ]
    trainer = lean(method, tmp_path, rows=rows)
    trainer.lean.use(way)
    trainer.collator.shared = way.shared
    found = step(trainer, range(4))
    assert math.isfinite(found.loss)
    assert found.gradients
    assert all(gradient.isfinite().all() for gradient in found.gradients.values())
    assert all(math.isfinite(value) for value in found.figures.values())


@pytest.mark.parametrize("label", [True, False])
def test_kto_refuses_rows_of_one_label(label: bool, tmp_path: Path) -> None:
    """Its loss would be the same whatever is learned."""
    rows = [{"prompt": f"Is {i}?", "completion": f"It is {i}.", "label": label} for i in range(12)]
    done = run_on(rows, "kto", tmp_path)
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "kto-one-label"
    assert not done.folder.exists()


@pytest.mark.parametrize("batch", [1, 4])
def test_kto_batches_of_one_label_train(batch: int, tmp_path: Path) -> None:
    """Where one label is rare most batches have the other one alone."""
    rows = [
        {"prompt": f"Is {i}?", "completion": f"It is {i}.", "label": i % 9 != 0} for i in range(18)
    ]
    done = run_on(rows, "kto", tmp_path, training__batch_size=batch)
    assert isinstance(done.ending, Finished), done.ending
    steps = [event for event in done.events if isinstance(event, Step)]
    assert any(event.margin is None for event in steps)
    assert all(math.isfinite(event.loss) for event in steps)


@pytest.mark.parametrize("method", ["simpo", "kto"])
def test_token_outside_the_vocabulary_is_refused_by_name(method: str, tmp_path: Path) -> None:
    """A tokenizer that was given more tokens than the model."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(POCKET, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["gardenia"])
    tokenizer.save_pretrained(folder)
    rows = [
        {"prompt": f"Is {i} a flower?", "chosen": "A gardenia is.", "rejected": "Who knows."}
        for i in range(12)
    ]
    done = run_on(rows, method, tmp_path, model__id=str(folder))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "MODEL_TOKENIZER_MISMATCH"
    assert "'gardenia'" in done.ending.message
    assert "2,048" in done.ending.message
    # More tokens than the model has are no harm where no row uses them.
    rows = [{**row, "chosen": "A rose is."} for row in rows]
    shutil.rmtree(done.folder)
    assert isinstance(run_on(rows, method, tmp_path, model__id=str(folder)).ending, Finished)


@pytest.mark.parametrize("method", ["orpo", "kto"])
def test_quantised_base_moves_its_whole_adapter_at_a_small_rate(
    method: str, tmp_path: Path
) -> None:
    """nf4 on a CPU at rate 1e-6, the recommended one: in bf16 nearly all would be rounded away."""
    run = change(
        pocket_run(method, tmp_path / "run"),
        {
            "model.precision": "nf4",
            "training.learning_rate": 1e-6,
            "training.schedule": "constant",
            "training.warmup": 0.0,
            "training.max_steps": 3,
        },
    )
    trainer = build(run, rows_of(method), tmp_path)
    adapter = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert len(adapter) == 2 * 4 * 7
    assert {p.dtype for p in adapter.values()} == {torch.float32}
    assert all("lora" in name for name in adapter)
    before = {name: p.detach().clone() for name, p in adapter.items()}
    trainer.prepare()
    trainer.train()
    for name, parameter in adapter.items():
        moved = (parameter != before[name]).double().mean()
        assert moved > 0.99, (name, moved)


@pytest.mark.parametrize("method", ["orpo", "kto"])
def test_a_quantised_base_has_gradients_after_it_was_measured(method: str, tmp_path: Path) -> None:
    """bitsandbytes packs 4-bit weights anew in a forward without gradient, on a CPU with AVX-512
    bf16; the gradient would then not pass through them."""
    run = change(pocket_run(method, tmp_path / "run"), {"model.precision": "nf4"})
    trainer = build(run, rows_of(method), tmp_path)  # the self-check measures
    trainer.prepare()
    layers = [m for m in trainer.model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    layers = [layer for layer in layers if layer.quant_state is not None]
    assert layers
    for layer in layers:
        assert not getattr(layer.weight.quant_state, "packing_format_for_cpu", False)
        given = torch.randn(3, layer.in_features, dtype=torch.bfloat16, requires_grad=True)
        layer(given).sum().backward()
        weight = bitsandbytes.functional.dequantize_4bit(layer.weight, layer.weight.quant_state)
        torch.testing.assert_close(given.grad, weight.sum(0).expand(3, -1), rtol=0.05, atol=0.05)

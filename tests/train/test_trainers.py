"""Both engines behind one door: what TRL does wrong on its own must not reach a user."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.control import Control
from backprop_tui.core.effective import effective
from backprop_tui.core.events import Step
from backprop_tui.core.facts import Facts
from backprop_tui.core.rows import Labelled, Message, Pair
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.probe.model import probe_model
from backprop_tui.train.encoded import EncodedLabelled
from backprop_tui.train.engine.mismatch import mismatched
from backprop_tui.train.trainers import labelled_columns
from tests.conftest import DONE, DoneRun, pocket_run, run_training


def answer(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def question(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


PAIRS = [
    Pair(i, question(f"Is {i} small?"), answer(f"Yes, {i} is small."), answer("Who can say."))
    for i in range(6)
]
MARKS = [
    Labelled(i, question(f"Is {i} small?"), answer(f"Yes, {i} is."), i % 2 == 0) for i in range(6)
]


def build(run: RunFile, rows: list[Any], folder: Path, base: Any = None) -> tuple[Any, Any]:
    """The real trainer for a few rows, and its tokenizer."""
    from backprop_tui.train.batches import Encoder
    from backprop_tui.train.emit import EventCallback
    from backprop_tui.train.model import load_model, load_tokenizer
    from backprop_tui.train.trainers import TrainerInput, build_trainer

    facts = Facts(model=probe_model("pocket"))
    assert facts.model is not None
    plan = effective(run, facts)
    tokenizer = load_tokenizer(run, facts.model, trust_remote_code=False)
    model = base or load_model(run, plan, facts.model, trust_remote_code=False)
    encoded = Encoder(tokenizer, plan.max_length).encode(rows).rows
    callback = EventCallback(lambda _event: None, Control(), lambda: 0.0)
    trainer = build_trainer(
        TrainerInput(run, plan, model, tokenizer, encoded, [], folder / "checkpoints", callback)
    )
    return trainer, tokenizer


ENGINES = ("lean", "trl")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["orpo", "simpo"])
def test_pairs_reach_the_model_without_doubled_tokens(
    method: str, engine: str, tmp_path: Path
) -> None:
    run = pocket_run(method, tmp_path / "run", {"engine": engine})
    trainer, tokenizer = build(run, PAIRS, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    for ids in chosen_sides(batch):
        text = tokenizer.decode(ids)
        # One end of turn each for the question and the answer, and nothing after it.
        assert text.count(tokenizer.eos_token) == 2
        assert text.endswith("is small." + tokenizer.eos_token)


def chosen_sides(batch: Any) -> list[list[int]]:
    """Prompt and chosen answer of each pair of a batch, padding left out."""
    if "batch" not in batch:
        rows, masks = batch["chosen_input_ids"], batch["chosen_attention_mask"]
        return [ids[mask.bool()].tolist() for ids, mask in zip(rows, masks, strict=True)]
    (layout,) = batch["batch"].parts
    ids = layout.input_ids[0].tolist()
    return [ids[s.start : s.start + s.prompt + s.answers[0]] for s in layout.spans]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["orpo", "simpo"])
def test_prompt_that_fills_the_length_never_becomes_nan(
    method: str, engine: str, tmp_path: Path
) -> None:
    """On their own, TRL's trainers turn every adapter weight into NaN here, at loss 0.0."""
    data = tmp_path / "pairs.jsonl"
    long = "The rain in the garden falls on the leaves. " * 60
    rows = [{"prompt": long, "chosen": "Yes.", "rejected": "No."}] + [
        {"prompt": f"Is {i} small?", "chosen": f"Yes, {i} is.", "rejected": "Who knows."}
        for i in range(9)
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    run = change(
        pocket_run(method, tmp_path / "run", {"engine": engine}),
        {"data.path": str(data), "data.max_length": 64, "data.heldout": 0.0},
    )
    done = run_training(run)
    losses = [event.loss for event in done.events if isinstance(event, Step)]
    assert len(losses) == 4
    assert all(math.isfinite(loss) and loss != 0.0 for loss in losses)
    for name, tensor in adapter_tensors(done).items():
        assert tensor.isfinite().all(), name


@pytest.mark.parametrize("method", DONE)
def test_adapters_are_float32_and_all_of_them_move(
    method: str, done_runs: dict[str, DoneRun]
) -> None:
    import torch

    moved = 0
    for name, tensor in adapter_tensors(done_runs[method]).items():
        assert tensor.dtype == torch.float32, name
        if "lora_B" in name:  # starts at zero
            assert (tensor != 0).any(), name
            moved += 1
    assert moved > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("method", "rows"), [("kto", MARKS), ("simpo", PAIRS)])
def test_quantised_base_keeps_a_float32_adapter(
    method: str, rows: list[Any], engine: str, tmp_path: Path
) -> None:
    """TRL casts the adapter of an nf4 model to bf16, which rounds small steps away."""
    import torch

    run = pocket_run(method, tmp_path / "run", {"model.precision": "nf4", "engine": engine})
    trainer, _ = build(run, rows, tmp_path)
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained
    assert {parameter.dtype for parameter in trained.values()} == {torch.float32}


def test_kto_batches_of_trl_hold_both_labels_and_a_mismatched_answer(tmp_path: Path) -> None:
    run = pocket_run("kto", tmp_path / "run", {"engine": "trl"})
    trainer, tokenizer = build(run, MARKS, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch["label"].tolist()) == {True, False}
    matched = [tokenizer.decode(ids) for ids in batch["input_ids"]]
    mismatched = [tokenizer.decode(ids) for ids in batch["KL_input_ids"]]
    assert all(a != b for a, b in zip(matched, mismatched, strict=True))


def test_simpo_has_no_imitation_term(done_runs: dict[str, DoneRun]) -> None:
    """loss == -log sigma(margin - gamma) averaged; an NLL term would add several nats."""
    steps = [event for event in done_runs["simpo"].events if isinstance(event, Step)]
    first = steps[0]
    assert first.margin is not None
    simpo = done_runs["simpo"].run.simpo
    assert simpo is not None
    at_mean = math.log1p(math.exp(-(first.margin - simpo.gamma)))
    assert first.loss == pytest.approx(at_mean, abs=0.25)  # Jensen's gap over four pairs


def test_rewards_are_logged_for_every_preference_method(done_runs: dict[str, DoneRun]) -> None:
    for method in ("orpo", "simpo", "kto"):
        steps = [event for event in done_runs[method].events if isinstance(event, Step)]
        measured = [step for step in steps if step.margin is not None]
        assert measured, method
        for step in measured:
            assert step.reward_chosen is not None
            assert step.reward_rejected is not None
            assert step.margin == pytest.approx(step.reward_chosen - step.reward_rejected, abs=1e-4)


def adapters(trainer: Any) -> dict[str, Any]:
    """The trained tensors of a trainer by name."""
    return {name: p.detach() for name, p in trainer.model.named_parameters() if p.requires_grad}


def adapter_tensors(done: DoneRun) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(done.folder / "adapter" / "adapter_model.safetensors")
    return tensors


def test_both_engines_borrow_the_same_mismatched_answers() -> None:
    rows = [EncodedLabelled(i // 2, [i // 2], [i], i % 2 == 0) for i in range(6)]
    borrowed = mismatched(rows, 0)
    found = [row["KL_completion_ids"] for row in labelled_columns(rows, 0)]
    assert found == [rows[other].completion for other in borrowed]

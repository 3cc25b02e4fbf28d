"""The figures shown are the figures of the method, whatever the batches were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.events import Evaluated, Started, Step
from backprop_tui.core.rows import Pair
from backprop_tui.core.runfile_io import change
from backprop_tui.train import trainers
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.test_trainers import PAIRS, answer, build, question


def held_out(done: DoneRun) -> list[Evaluated]:
    return [event for event in done.events if isinstance(event, Evaluated)]


@pytest.mark.parametrize("engine", ["lean", "trl"])
@pytest.mark.parametrize("method", ["simpo", "orpo", "kto"])
def test_held_out_figures_do_not_depend_on_the_batch(
    method: str, engine: str, tmp_path: Path
) -> None:
    """Nothing is learned yet at step 0, so only the batching differs. 7 leaves a ragged end."""
    changes = {"engine": engine, "training.max_steps": 1, "data.heldout": 0.06}
    first, other = (
        run_training(
            pocket_run(method, tmp_path / str(n), {**changes, "training.batch_size": n})
        ).events
        for n in (3, 7)
    )
    a, b = (
        next(event for event in events if isinstance(event, Evaluated) and event.step == 0)
        for events in (first, other)
    )
    assert a.rows == b.rows > 7
    assert a.accuracy == pytest.approx(b.accuracy, abs=1e-6)
    for name in ("margin", "reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-4, abs=1e-6), name


def test_held_out_pairs_have_intervals(done_runs: dict[str, DoneRun]) -> None:
    for event in held_out(done_runs["orpo"]):
        assert event.margin is not None
        assert event.accuracy is not None
        assert event.margin_low is not None
        assert event.accuracy_low is not None
        assert event.margin_low < event.margin < (event.margin_high or 0)
        assert event.accuracy_low <= event.accuracy <= (event.accuracy_high or 0)
    assert all(event.margin_low is None for event in held_out(done_runs["kto"]))


def test_first_loss_of_orpo_is_the_paper_s(done_runs: dict[str, DoneRun]) -> None:
    """-log p(chosen) per token of the answer alone, plus beta times the odds-ratio term."""
    start = held_out(done_runs["orpo"])[0]
    run = done_runs["orpo"].run
    assert run.orpo is not None
    assert start.logp_chosen is not None
    preference = (start.loss + start.logp_chosen) / run.orpo.beta
    assert 0.5 < preference < 0.9  # -log sigma(log odds ratio) of a model without a preference


def test_kto_margin_is_chosen_minus_rejected_and_accuracy_ranks_rows(
    done_runs: dict[str, DoneRun],
) -> None:
    start, *_, end = held_out(done_runs["kto"])
    assert start.accuracy == pytest.approx(0.5)  # the policy is its own reference: all tie
    for event in (start, end):
        assert event.reward_chosen is not None
        assert event.reward_rejected is not None
        assert event.margin == pytest.approx(event.reward_chosen - event.reward_rejected)
    assert start.loss == pytest.approx(0.5)
    assert end.accuracy is not None
    assert 0 <= end.accuracy <= 1


def test_kto_weights_of_the_rows_left_reach_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32 good rows 24 are too long by themselves: 8 to 16 gives the good ones weight 2."""
    data = tmp_path / "marks.jsonl"
    long = "The rain falls on the leaves. " * 60
    rows = [{"prompt": f"Q{i}?", "completion": f"Yes {i}.", "label": True} for i in range(8)]
    rows += [{"prompt": f"L{i}?", "completion": long, "label": True} for i in range(24)]
    rows += [{"prompt": f"B{i}?", "completion": f"No {i}.", "label": False} for i in range(16)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    built: list[Any] = []
    original = trainers.build_trainer

    def watched(given: Any) -> Any:
        built.append(original(given))
        return built[-1]

    monkeypatch.setattr("backprop_tui.train.building.build_trainer", watched)
    changes = {"data.path": str(data), "data.max_length": 64, "data.heldout": 0.0}
    run_training(pocket_run("kto", tmp_path / "run", changes))
    assert built[0].knobs["desirable_weight"] == pytest.approx(2.0)
    assert built[0].knobs["undesirable_weight"] == 1.0


@pytest.mark.parametrize("engine", ["lean", "trl"])
def test_tokens_are_those_the_model_reads_without_padding(engine: str, tmp_path: Path) -> None:
    longer = Pair(9, question("Is it?"), answer("Yes, and more than once."), answer("No."))
    changes = {"training.batch_size": 7, "engine": engine}
    trainer, _ = build(pocket_run("simpo", tmp_path / "run", changes), [*PAIRS, longer], tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    callback = next(c for c in trainer.callback_handler.callbacks if hasattr(c, "count_tokens"))
    trainer.current_gradient_accumulation_steps = 1  # set by train()
    trainer.training_step(trainer.model, batch)
    trainer.log({"loss": 1.0})  # where the lean engine tells it
    assert callback.rows == 7
    if engine == "trl":
        sides = [batch[f"{side}_attention_mask"] for side in ("chosen", "rejected")]
        assert callback.tokens == sum(int(mask.sum()) for mask in sides)
        assert callback.tokens < sum(mask.numel() for mask in sides)
    else:  # a prompt is read once
        rows = trainer.train_dataset.rows
        read = sum(len(row.prompt) + len(row.chosen) + len(row.rejected) for row in rows)
        assert callback.tokens == read == batch["batch"].parts[0].input_ids.numel()


@pytest.mark.parametrize("method", ["simpo", "orpo"])
def test_the_adapter_s_own_dropout_stays_on(method: str, tmp_path: Path) -> None:
    import torch

    run = change(pocket_run(method, tmp_path / "run"), {"lora.dropout": 0.25})
    trainer, _ = build(run, PAIRS, tmp_path)
    rates = {m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert 0.25 in rates


def test_held_out_rows_that_are_too_long_are_counted_too(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    long = "The rain falls on the leaves. " * 60
    rows = [{"prompt": f"Q{i}?", "chosen": f"Yes {i}.", "rejected": "No."} for i in range(20)]
    rows += [{"prompt": f"L{i}?", "chosen": long, "rejected": "No."} for i in range(20)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    changes = {"data.path": str(data), "data.max_length": 64, "data.heldout": 0.5}
    done = run_training(pocket_run("simpo", tmp_path / "run", changes))
    started = next(event for event in done.events if isinstance(event, Started))
    assert started.heldout_rows < 20
    assert started.train_rows + started.heldout_rows + sum(started.dropped.values()) == 40


def test_steps_are_numbered_once(done_runs: dict[str, DoneRun]) -> None:
    for done in done_runs.values():
        steps = [event.step for event in done.events if isinstance(event, Step)]
        assert steps == sorted(set(steps))

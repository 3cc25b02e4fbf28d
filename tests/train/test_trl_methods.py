"""engine = "trl": our ids, TRL's losses, which are our objectives, and figures of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from backprop_tui.core.events import Evaluated, Finished, Step
from backprop_tui.core.methods import METHODS
from backprop_tui.core.rows import Pair
from backprop_tui.core.runfile_io import change
from backprop_tui.train.engine.objectives import OBJECTIVES, Result, Sides
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.test_trainers import MARKS, PAIRS, adapter_tensors, answer, build, question

OTHERS = ("dpo", "ipo", "cpo")
TRL = {"engine": "trl"}
# Answers of different lengths, so that means of rows and of batches differ.
MIXED = [*PAIRS, Pair(9, question("Is it?"), answer("Yes, and more than once."), answer("No."))]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DoneRun]:
    """One finished run of each other objective TRL has."""
    folder = tmp_path_factory.mktemp("others")
    return {name: run_training(pocket_run(name, folder / name, TRL)) for name in OTHERS}


def test_there_is_a_builder_for_every_method_trl_has() -> None:
    from backprop_tui.train.trl_trainers import BUILDERS

    assert BUILDERS.keys() == {name for name, method in METHODS.items() if method.trl}


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_goes_through_and_every_adapter_moves(name: str, others: dict[str, DoneRun]) -> None:
    done = others[name]
    assert isinstance(done.ending, Finished), done.ending
    steps = [event for event in done.events if isinstance(event, Step)]
    assert [step.step for step in steps] == [1, 2, 3, 4]
    for step in steps:
        assert math.isfinite(step.loss)
        assert step.margin is not None
        assert step.tokens > 0
    moved = [tensor for key, tensor in adapter_tensors(done).items() if "lora_B" in key]
    assert moved
    for tensor in moved:
        assert tensor.dtype == torch.float32
        assert (tensor != 0).any()


@pytest.mark.parametrize(("name", "loss"), [("dpo", math.log(2)), ("ipo", 25.0)])
def test_a_policy_that_is_its_own_reference_starts_where_methods_say(
    name: str, loss: float, others: dict[str, DoneRun]
) -> None:
    start = next(event for event in others[name].events if isinstance(event, Evaluated))
    assert start.step == 0
    assert start.loss == pytest.approx(loss, rel=1e-5)
    assert (start.margin, start.accuracy) == (0, 0.5)


def rows_of(trainer: Any) -> list[tuple[list[int], list[int], list[int]]]:
    """Each training row as prompt, chosen and rejected ids, whatever its columns."""
    found = []
    for row in trainer.train_dataset:
        if "prompt_ids" in row:
            found.append((row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]))
        else:
            prompt = row["prompt_input_ids"]
            sides = (row[f"{side}_input_ids"][len(prompt) :] for side in ("chosen", "rejected"))
            found.append((prompt, *sides))
    return found


def measured(trainer: Any, rows: Sequence[tuple[list[int], ...]]) -> list[tuple[Sides, Sides]]:
    """Log-probabilities and lengths of each pair, one answer at a time, without padding."""
    found = []
    for prompt, *answers in rows:
        sums = []
        for ids in answers:
            tokens = torch.tensor([[*prompt, *ids]])
            with torch.no_grad():
                logits = trainer.model(input_ids=tokens).logits[0, len(prompt) - 1 : -1]
            each = logits.double().log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
            sums.append(each.sum())
        lengths = [torch.tensor([float(len(ids))]) for ids in answers]
        found.append((Sides(*(one[None] for one in sums)), Sides(*lengths)))
    return found


def off(trainer: Any, rows: Any) -> list[tuple[Sides, Sides]]:
    with trainer.model.disable_adapter():
        return measured(trainer, rows)


def shaken(trainer: Any) -> None:
    """An adapter that has learned something."""
    draw = torch.Generator().manual_seed(7)
    for key, parameter in trainer.model.named_parameters():
        if "lora_B" in key:
            parameter.data.normal_(0, 0.05, generator=draw)


@pytest.mark.parametrize("name", ["orpo", "simpo", *OTHERS])
def test_trl_computes_our_objective_on_our_ids(name: str, tmp_path: Path) -> None:
    """Held-out figures of batches of 3 and a ragged end, against every answer by itself."""
    run = pocket_run(name, tmp_path / "run", {**TRL, "training.batch_size": 3})
    trainer, tokenizer = build(run, MIXED, tmp_path)
    shaken(trainer)
    rows = rows_of(trainer)
    assert len(rows) == len(MIXED) == 7
    for _prompt, *answers in rows:
        for ids in answers:
            assert ids.count(tokenizer.eos_token_id) == 1  # and nothing was added to the end
            assert ids[-1] == tokenizer.eos_token_id
    policy, base = measured(trainer, rows), off(trainer, rows)
    objective = OBJECTIVES[name]
    results: list[Result] = [
        objective.loss(sums, lengths, reference if objective.reference else None, run.knobs)
        for (sums, lengths), (reference, _) in zip(policy, base, strict=True)
    ]
    figures = trainer.evaluate(trainer.train_dataset)

    def mean(values: list[Any]) -> Any:
        return pytest.approx(float(sum(values) / len(values)), rel=1e-4, abs=1e-5)

    chosen = [float(result.chosen_rewards) for result in results]
    rejected = [float(result.rejected_rewards) for result in results]
    assert figures["eval_rewards/chosen"] == mean(chosen)
    assert figures["eval_rewards/rejected"] == mean(rejected)
    assert figures["eval_rewards/margins"] == mean(
        [a - b for a, b in zip(chosen, rejected, strict=True)]
    )
    assert figures["eval_rewards/accuracies"] == mean(
        [a > b for a, b in zip(chosen, rejected, strict=True)]
    )
    for side in ("chosen", "rejected"):
        logps = [getattr(sums, side).item() for sums, _ in policy]
        tokens = [getattr(lengths, side).item() for _, lengths in policy]
        per_token = [total / n for total, n in zip(logps, tokens, strict=True)]
        assert figures[f"eval_logps_sum/{side}"] == mean(logps)
        assert figures[f"eval_logps/{side}"] == mean(per_token)
    assert figures["eval_loss"] == mean([float(result.losses) for result in results])


def test_kto_tells_log_probabilities_per_token_and_summed(tmp_path: Path) -> None:
    run = pocket_run("kto", tmp_path / "run", {**TRL, "training.batch_size": 3})
    trainer, _ = build(run, MARKS, tmp_path)
    shaken(trainer)
    found: dict[str, list[float]] = {}
    for row in trainer.train_dataset:
        (sums, lengths), *_ = measured(trainer, [(row["prompt_ids"], *[row["completion_ids"]] * 2)])
        side = "chosen" if row["label"] else "rejected"
        found.setdefault(f"eval_logps_sum/{side}", []).append(float(sums.chosen))
        found.setdefault(f"eval_logps/{side}", []).append(float(sums.chosen / lengths.chosen))
    figures = trainer.evaluate(trainer.train_dataset)
    for key, values in found.items():
        assert figures[key] == pytest.approx(sum(values) / len(values), rel=1e-4), key
    assert len(found) == 4


@pytest.mark.parametrize("name", ["orpo", "simpo", "kto", *OTHERS])
def test_the_train_log_has_both_kinds_of_log_probability(name: str, tmp_path: Path) -> None:
    done = run_training(pocket_run(name, tmp_path / "run", {**TRL, "training.max_steps": 1}))
    logged = next(step for step in done.events if isinstance(step, Step))
    assert logged.logp_chosen is not None
    assert logged.logp_chosen_sum is not None
    # An answer has more than two tokens, and less log-probability the more it has.
    assert logged.logp_chosen_sum < 2 * logged.logp_chosen < 0


@pytest.mark.parametrize("name", OTHERS)
def test_a_quantised_base_keeps_a_float32_adapter(name: str, tmp_path: Path) -> None:
    run = change(pocket_run(name, tmp_path / "run", TRL), {"model.precision": "nf4"})
    trainer, _ = build(run, PAIRS, tmp_path)
    trained = [p.dtype for p in trainer.model.parameters() if p.requires_grad]
    assert set(trained) == {torch.float32}


@pytest.mark.parametrize("name", ["kto", "dpo", "simpo"])
def test_the_adapter_starts_from_the_run_s_seed(name: str, tmp_path: Path) -> None:
    rows: list[Any] = MARKS if name == "kto" else PAIRS
    firsts = []
    for n in range(2):
        torch.manual_seed(n)  # what happened before must not matter
        run = pocket_run(name, tmp_path / str(n), {**TRL, "training.seed": 3})
        trainer, _ = build(run, rows, tmp_path / str(n))
        firsts.append({k: p for k, p in trainer.model.named_parameters() if "lora_A" in k})
    assert firsts[0]
    assert all(torch.equal(firsts[0][key], firsts[1][key]) for key in firsts[0])

"""The memory estimate: adapters counted by hand, and every knob pushes the right way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backprop_tui.core.calibration import Calibration
from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.facts import Facts, GpuFacts, ModelFacts
from backprop_tui.core.memory import PARTS, Estimate, estimate, memory_at, not_modelled
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryAnswer, MemoryFacts
from backprop_tui.core.memory_rough import adapter_parameters
from backprop_tui.core.runfile import RunFile
from tests.core.exact import MODEL
from tests.core.worlds import CARD, GB, LLAMA_8B, MB, NO_CARD, SMALL, facts, run_file

# One Llama 3.1 8B block, inputs + outputs of each layer: q, k, v, o, then gate, up, down.
Q, K, V, O = 4096 + 4096, 4096 + 1024, 4096 + 1024, 4096 + 4096  # noqa: E741
MLP = 4096 + 14336


def needed(changes: dict[str, Any] | None = None, method: str = "orpo", **known: Any) -> Estimate:
    """The estimate of a run file in the usual world."""
    return estimated(run_file(changes, method), facts(**known))


def estimated(run: RunFile, world: Facts, free_ram: int | None = None) -> Estimate:
    found = estimate(run, world, effective(run, world), free_ram)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("lora", "model", "count"),
    [
        ({"rank": 16}, LLAMA_8B, 16 * 32 * (Q + K + V + O + 3 * MLP)),  # 41.9M, as peft prints
        ({"rank": 8}, LLAMA_8B, 8 * 32 * (Q + K + V + O + 3 * MLP)),
        ({"rank": 16, "targets": "attention"}, LLAMA_8B, 16 * 32 * (Q + K + V + O)),
        ({"rank": 4, "targets": ["q_proj", "v_proj"]}, LLAMA_8B, 4 * 32 * (Q + V)),
        ({"rank": 4, "targets": ["mlp.up_proj"]}, LLAMA_8B, 4 * 32 * MLP),
        ({"rank": 4}, SMALL, 4 * 4 * (4 * (192 + 192) + 3 * (192 + 512))),
    ],
)
def test_the_adapter_is_counted_exactly(
    lora: dict[str, Any], model: ModelFacts, count: int
) -> None:
    changes = {f"lora.{name}": value for name, value in lora.items()}
    assert adapter_parameters(run_file(changes), model) == count


def test_the_count_of_llama_8b_at_rank_16_is_the_published_one() -> None:
    assert adapter_parameters(run_file({"lora.rank": 16}), LLAMA_8B) == 41_943_040


def test_without_an_adapter_there_are_no_adapter_parameters() -> None:
    assert adapter_parameters(run_file({"lora": None}), LLAMA_8B) == 0


def test_the_parts_are_named_and_add_up() -> None:
    found = needed()
    assert tuple(found.parts) == PARTS
    assert found.needed == sum(found.parts.values())
    assert all(value > 0 for part, value in found.parts.items() if part != "reference")


@pytest.mark.parametrize("method", ["sft", "orpo", "simpo", "kto"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("training.batch_size", (2, 4, 8)),
        ("data.max_length", (256, 1024, 4096)),
        ("lora.rank", (4, 16, 64)),
    ],
)
def test_more_of_it_needs_more(method: str, key: str, values: tuple[int, ...]) -> None:
    sizes = [needed({key: value}, method).needed for value in values]
    assert sizes == sorted(set(sizes))


def test_narrower_weights_need_less() -> None:
    precisions = ("nf4", "int8", "bf16", "fp32")
    found = [needed({"model.precision": name}).parts["weights"] for name in precisions]
    assert found == sorted(set(found))
    assert needed({"model.precision": "fp16"}).parts["weights"] == found[2]


def test_an_8b_model_in_nf4_is_known_to_be_near_six_gigabytes() -> None:
    # bitsandbytes reports 5.6 GB for Llama 3.1 8B: 4-bit blocks, embeddings and head in bf16.
    weights = needed({"model.precision": "nf4"}).parts["weights"]
    assert 5.0 < weights / 2**30 < 6.2


def test_the_optimizer_keeps_two_numbers_a_trained_weight() -> None:
    trained = adapter_parameters(run_file(), LLAMA_8B)
    assert needed({"training.optimizer": "adamw"}).parts["optimizer"] == 8 * trained
    assert needed({"training.optimizer": "adamw_8bit"}).parts["optimizer"] == 2 * trained


def test_the_adapter_and_its_gradients_are_float32() -> None:
    found, trained = needed().parts, adapter_parameters(run_file(), LLAMA_8B)
    assert (found["adapter"], found["gradients"]) == (4 * trained, 4 * trained)


def test_activations_are_as_wide_as_the_precision() -> None:
    half, full = needed({"model.precision": "bf16"}), needed({"model.precision": "fp32"})
    assert full.parts["activations"] == 2 * half.parts["activations"]


def test_full_fine_tuning_needs_far_more_than_an_adapter() -> None:
    full, adapter = needed({"lora": None, "model.precision": "bf16"}), needed()
    assert full.parts["weights"] == 4 * LLAMA_8B.parameters  # type: ignore[operator]
    assert full.needed > 5 * adapter.needed


def test_checkpointing_trades_memory_for_time() -> None:
    assert needed({"training.checkpointing": True}).needed < (
        needed({"training.checkpointing": False}).needed
    )


def test_pairs_hold_two_sides_at_once() -> None:
    sft, simpo = needed(method="sft"), needed(method="simpo")
    assert simpo.parts["activations"] == 2 * sft.parts["activations"]
    assert needed({"engine": "trl"}, "simpo").parts["loss"] > sft.parts["loss"]


@pytest.mark.parametrize("method", ["orpo", "simpo", "kto", "dpo", "cpo"])
def test_the_lean_engine_holds_no_logits(method: str) -> None:
    lean, trl = needed(method=method).parts, needed({"engine": "trl"}, method).parts
    assert lean["loss"] < trl["loss"] / 10
    wider = needed(method=method, model=replace(LLAMA_8B, vocabulary=2 * 128256)).parts
    assert wider["loss"] == lean["loss"]
    assert lean["activations"] == trl["activations"]


def test_recomputing_fewer_layers_keeps_more_of_them() -> None:
    every = [needed({"training.checkpoint_every": n}).parts["activations"] for n in (1, 2, 4)]
    assert every == sorted(set(every))
    without = needed({"training.checkpointing": False}).parts["activations"]
    assert every[-1] < without


def test_a_limit_of_tokens_bounds_what_a_batch_holds() -> None:
    batch = {"training.batch_size": 64}
    limited = needed({**batch, "training.batch_tokens": 4096}).parts["activations"]
    assert limited == needed({"training.batch_size": 2}).parts["activations"]
    assert (
        needed({**batch, "training.batch_tokens": 1}).parts["activations"]
        == (
            needed({"training.batch_size": 1}).parts["activations"]  # a pair is never torn
        )
    )
    unbounded = needed({**batch, "training.batch_tokens": 4096, "engine": "trl"})
    assert unbounded.parts["activations"] == needed(batch).parts["activations"]


@pytest.mark.parametrize(
    "model",
    [
        None,
        replace(LLAMA_8B, parameters=None),
        replace(LLAMA_8B, layers=None),
        replace(LLAMA_8B, hidden=None),
    ],
)
def test_what_is_unknown_is_not_guessed(model: ModelFacts | None) -> None:
    run = run_file()
    assert estimate(run, facts(model=model), effective(run, facts(model=model))) is None


def test_what_is_there_is_the_free_memory_of_the_card() -> None:
    found = needed()
    assert (found.available, found.total) == (CARD.memory_free, CARD.memory_total)
    assert found.available is not None
    assert found.total is not None
    assert found.fits == (found.needed <= found.available)
    assert found.headroom == (found.available - found.needed) / found.total


@pytest.mark.parametrize(
    ("available", "fits", "headroom"), [(999, False, -0.001), (1000, True, 0.0), (None, None, None)]
)
def test_it_fits_up_to_the_last_byte(
    available: int | None, fits: bool | None, headroom: float | None
) -> None:
    found = Estimate({"weights": 1000}, available, 1000)
    assert (found.fits, found.headroom) == (fits, headroom)


def test_a_cpu_run_uses_ordinary_memory() -> None:
    world = facts(model=SMALL, gpu=NO_CARD)
    assert estimated(run_file(), world, 2**33).available == 2**33
    assert estimated(run_file(), world).fits is None


def test_a_card_that_does_not_tell_its_memory_has_no_verdict() -> None:
    silent = GpuFacts(cards=(replace(CARD, memory_free=None, memory_total=None),))
    found = needed(gpu=silent)
    assert (found.fits, found.headroom) == (None, None)


# The exact answer


def told(answer: MemoryAnswer, calibration: Calibration | None = None, **known: Any) -> Facts:
    """A world in which the usual plan was asked about."""
    there = facts(**{"model": MODEL, **known})
    asked = question(run_file(), there, effective(run_file(), there))
    assert asked is not None
    memory = MemoryFacts(answers={asked: answer}, calibration=calibration or Calibration())
    return replace(there, memory=memory)


ANSWER = MemoryAnswer(parts={"weights": 5 * GB, "loss": 3 * GB}, at="the loss")


def test_an_exact_answer_takes_the_place_of_the_rough_one() -> None:
    found = estimated(run_file(), told(ANSWER))
    assert not found.rough
    assert found.at == "the loss"
    assert tuple(found.parts) == PARTS
    assert (found.parts["weights"], found.parts["loss"], found.parts["gradients"]) == (
        (5 * GB, 3 * GB, 0)
    )


def test_another_plan_is_still_rough() -> None:
    found = estimated(run_file({"lora.rank": 8}), told(ANSWER))
    assert (found.rough, found.at) == (True, "")


def test_what_the_card_takes_beside_tensors_comes_from_the_calibration() -> None:
    learnt = Calibration(context=GB, slack=0.25, workspace=10 * MB, runs=3)
    found = estimated(run_file(), told(ANSWER, learnt))
    assert found.parts["overhead"] == GB + 10 * MB + 2 * GB
    on_cpu = estimated(run_file(), told(ANSWER, learnt, gpu=NO_CARD))
    assert on_cpu.parts["overhead"] == 650 * MB


def test_an_answer_that_could_not_be_had_is_no_estimate() -> None:
    there = told(MemoryAnswer(why="its config lacks what every model states"))
    run = run_file()
    assert estimate(run, there, effective(run, there)) is None
    assert not_modelled(run, there, effective(run, there)) == (
        "its config lacks what every model states"
    )


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"remote_code": True}, "it brings code of its own"),
        ({"quantisation": "gptq"}, "its weights are quantised with gptq"),
        ({"architecture": "LlavaForConditionalGeneration"}, "it reads images as well"),
        ({"architecture": "Qwen2VLForImageTextToText"}, "it reads images as well"),
        ({"quantisation": "bitsandbytes"}, ""),
        ({}, ""),
    ],
)
def test_nothing_is_said_of_what_was_not_modelled(known: dict[str, Any], reason: str) -> None:
    there = facts(model=replace(LLAMA_8B, **known))
    run = run_file()
    plan = effective(run, there)
    assert not_modelled(run, there, plan) == reason
    assert (estimate(run, there, plan) is None) == bool(reason)


def test_a_shorter_plan_needs_less() -> None:
    rows = TrainRows(100, 10)
    short, present = (memory_at(run_file(), facts(), rows, n) for n in (512, 1024))
    assert present == needed().needed
    assert short is not None
    assert short < present
    assert memory_at(run_file(), facts(model=None), rows, 512) is None

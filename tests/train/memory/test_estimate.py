"""The answer from a config alone: against real tensors, at any depth, and where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from backprop_tui.core.memory import PARTS
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.train.memory import estimate
from backprop_tui.train.memory.estimate import answer
from benchmarks.memory import MODELS, grid, real_peak

LLAMA = {**MODELS["llama"], "num_hidden_layers": 3, "vocab_size": 512}
NOTHING = MemoryAnswer().parts
EXPERTS = {
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "head_dim": 32,
}


def asked(config: dict[str, Any] | None = None, **changes: Any) -> MemoryQuestion:
    """A small llama under orpo."""
    plan: dict[str, Any] = {
        "config": json.dumps(LLAMA | (config or {})),
        "method": "orpo",
        "engine": "lean",
        "precision": "bf16",
        "lora": (8, "all-linear"),
        "checkpoint_every": 0,
        "optimizer": "adamw",
        "rows": ((40, 30, 20), (10, 20, 30)),
        "max_length": 128,
        "batch_tokens": None,
        "accumulates": False,
        "on_card": False,
    }
    return MemoryQuestion(**plan | changes)


def tensors(config: dict[str, Any] | None = None, **changes: Any) -> int:
    """Bytes at the peak."""
    found = answer(asked(config, **changes))
    assert found.parts is not None, found.why
    assert tuple(found.parts) == PARTS[:-1]
    assert found.tensors == sum(found.parts.values()) > 0
    return found.tensors


@pytest.mark.parametrize("number", [8, 21])
def test_the_prediction_is_what_the_allocator_gives_out(number: int) -> None:
    _, _, plan = list(grid())[number]
    assert answer(plan).tensors == pytest.approx(real_peak(plan), rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": None, "precision": "fp32", "accumulates": True},
        {"precision": "int8"},
        {"precision": "nf4", "optimizer": "paged_adamw_8bit"},
        {"method": "simpo", "engine": "trl"},
        {"batch_tokens": 90},
        {"config": EXPERTS},
        {"config": {"vocab_size": 50_000, "num_hidden_layers": 1}, "rows": ((90, 30, 20),)},
    ],
    ids=["every weight", "int8", "8-bit optimizer", "TRL", "in parts", "experts", "many words"],
)
def test_other_plans_too(changes: dict[str, Any]) -> None:
    plan = asked(**changes)
    real = real_peak(plan)
    assert answer(plan).tensors == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize(
    ("every", "lora"), [(0, (8, "all-linear")), (1, None), (2, (8, "attention"))]
)
def test_two_and_four_layers_tell_the_depth(
    every: int, lora: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = asked({"num_hidden_layers": 12}, checkpoint_every=every, lora=lora, precision="fp32")
    extrapolated = answer(plan)
    monkeypatch.setattr(estimate, "_alike", lambda *_: False)
    whole = answer(plan)
    assert extrapolated == whole


def noted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The depths that are rehearsed from now on."""
    depths: list[int] = []
    peaks = estimate._peaks

    def rehearsed(question: MemoryQuestion, raw: dict[str, Any], layers: int) -> Any:
        depths.append(layers)
        return peaks(question, raw, layers)

    monkeypatch.setattr(estimate, "_peaks", rehearsed)
    return depths


def test_only_a_few_layers_are_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    depths = noted(monkeypatch)
    assert tensors({"num_hidden_layers": 40}) > tensors({"num_hidden_layers": 20})
    assert depths == [2, 4, 2, 4]


def test_each_knob_moves_its_part() -> None:
    base = answer(asked()).parts
    assert base is not None
    wider = answer(asked(lora=(16, "all-linear"))).parts
    attention = answer(asked(lora=(8, "attention"))).parts
    assert wider is not None
    assert attention is not None
    assert wider["adapter"] == 2 * base["adapter"] > 2 * attention["adapter"] > 0
    assert wider["optimizer"] > base["optimizer"]
    nf4 = answer(asked(precision="nf4")).parts
    assert nf4 is not None
    assert base["quantisation"] == 0 < nf4["quantisation"] < nf4["weights"] < base["weights"]
    assert tensors(rows=((80, 60, 40),) * 2) > sum(base.values())
    assert tensors(checkpoint_every=1) < sum(base.values())


@pytest.mark.parametrize("method", ["sft", "orpo", "kto", "dpo", "rrhf"])
def test_methods_of_every_kind_have_an_answer_on_a_card(method: str) -> None:
    rows = ((40, 30), (10, 20)) if method in ("sft", "kto") else ((40, 30, 20), (10, 20, 30))
    assert tensors(method=method, rows=rows, on_card=True) > 0


def test_experts_are_counted_whether_active_or_not() -> None:
    few, many = (answer(asked(EXPERTS | {"num_experts": number})).parts for number in (4, 8))
    assert few is not None
    assert many is not None
    expert = 3 * 256 * 64 + 256  # gate, up, down, and its row of the router
    assert many["weights"] - few["weights"] == 3 * 4 * expert * 2  # layers, experts more, bf16


def test_a_tied_head_is_counted_once() -> None:
    head = 512 * 256 * 2  # bf16
    apart, tied = (answer(asked({"tie_word_embeddings": tied})).parts for tied in (False, True))
    assert apart is not None
    assert tied is not None
    assert apart["weights"] - tied["weights"] == head


def test_a_head_dimension_of_its_own_is_used() -> None:
    wide = answer(asked({"head_dim": 64})).parts
    usual = answer(asked({"head_dim": 32})).parts
    assert wide is not None
    assert usual is not None
    more = 3 * 32 * 256 * (8 + 2 + 2 + 8) * 2  # layers, numbers a head, hidden, heads, bf16
    assert wide["weights"] - usual["weights"] == pytest.approx(more, abs=256)  # its angles


def test_a_sliding_window_has_an_answer() -> None:
    config = {"model_type": "mistral", "sliding_window": 16}
    assert tensors(config) > 0


def test_layers_that_differ_are_rehearsed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = {
        **EXPERTS,
        "num_hidden_layers": 8,
        "mlp_only_layers": [0, 1, 2, 3],
        "intermediate_size": 512,
    }
    depths = noted(monkeypatch)
    tensors(mixed)
    assert depths == [8]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"hidden_size": None}, "does not give hidden_size"),
        ({"vocab_size": None}, "does not give vocab_size"),
        ({"num_hidden_layers": None}, "does not give num_hidden_layers"),
        ({"num_hidden_layers": 0}, "does not give num_hidden_layers"),
        ({"model_type": "nobody"}, "transformers does not read its config"),
        ({"vision_config": {"hidden_size": 8}}, "more than text"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised with gptq"),
        ({"num_attention_heads": 7}, "transformers does not read its config"),
        ({"num_hidden_layers": 10**9}, "from 1 to 1,000"),
        ({"vocab_size": -5}, "from 1 to 10,000,000"),
        ({"quantization_config": ["nf4"]}, "in no known way"),
        ({"quantization_config": {"load_in_4bit": True}}, "another 4-bit form"),
        ({"mamba_d_state": 16}, "recurrent layers"),
    ],
)
def test_what_was_not_modelled_has_no_answer(config: dict[str, Any], why: str) -> None:
    found = answer(asked(config))
    assert found.parts is NOTHING
    assert why in found.why


def test_files_that_hold_other_weights_than_the_config_makes_have_no_answer() -> None:
    made = estimate._counts(asked().config, 3)[0]
    assert answer(asked(parameters=made)).parts
    found = answer(replace(asked(), parameters=made * 2))
    assert found.parts is NOTHING
    assert f"its config makes {made:,} parameters, and its files have {made * 2:,}" in found.why


def test_a_checkpoint_that_is_stored_quantised_stays_so() -> None:
    stored = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    assert answer(asked(stored, precision="nf4")) == answer(asked(precision="int8"))


def test_a_model_that_may_not_share_its_prompts_takes_what_the_dearer_way_takes() -> None:
    unknown = {"model_type": "gpt_neox", "intermediate_size": 704}
    assert unknown["model_type"] not in estimate.SHARES
    rows = ((100, 8, 8),) * 4  # sharing saves nearly half
    shared = answer(asked(rows=rows))
    apart = answer(asked(unknown, rows=rows))
    assert shared.parts is not None
    assert apart.parts is not None
    assert apart.parts["activations"] > 1.3 * shared.parts["activations"]


def test_the_check_before_the_first_step_is_counted() -> None:
    large = {"vocab_size": 200_000, "num_hidden_layers": 1}
    found = answer(asked(large, rows=((90, 30, 20),), checkpoint_every=1))
    assert found.at == "the check before the first step"
    assert found.parts is not None
    # Logits of a row in bf16; of its answer's places in float32, and their exponentials.
    assert found.parts["loss"] == pytest.approx(200_000 * (120 * 2 + 30 * 8), rel=0.01)

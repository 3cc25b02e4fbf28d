"""Operations a token: counted on models whose matrices can be counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from backprop_tui.train.engine.speed import flops_per_token

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 70,
}
# A layer: q and o 16x16, k and v 16x8, three matrices of the MLP 16x40.
MATRICES = 3 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 40)


def llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(**SMALL))


def test_all_weights_trained() -> None:
    assert flops_per_token(llama()) == 6 * MATRICES


def test_a_tied_head_is_no_more_counted_than_one_of_its_own() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True))
    assert flops_per_token(model) == 6 * MATRICES


def test_under_an_adapter_the_base_needs_no_gradients_of_its_own() -> None:
    adapted = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    adapter = 3 * 2 * ((16 + 16) + (40 + 16))
    assert flops_per_token(adapted) == 4 * MATRICES + 6 * adapter


def test_an_adapter_on_the_head_is_left_out_with_it() -> None:
    config = LoraConfig(r=2, target_modules=["lm_head", "q_proj"])
    assert flops_per_token(get_peft_model(llama(), config)) == 4 * MATRICES + 6 * 3 * 2 * 32


def test_a_copy_that_is_trained_counts_and_its_original_does_not() -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["down_proj"])
    model = get_peft_model(llama(), config)
    saved = 3 * 16 * 40
    assert flops_per_token(model) == 4 * (MATRICES - saved) + 6 * saved + 6 * 3 * 2 * 32


def test_a_transposed_matrix_counts() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=70))
    assert flops_per_token(model) == 6 * 2 * (8 * 24 + 8 * 8 + 2 * 8 * 32)


def test_a_quantised_matrix_counts_as_the_matrix_it_stands_for() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(64, 32, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.to("cpu")
    layer(torch.zeros(1, 64))  # quantised by now
    assert layer.weight.numel() == 64 * 32 // 2
    assert flops_per_token(nn.Sequential(layer)) == 4 * 64 * 32


def test_a_mixture_of_experts_is_not_guessed() -> None:
    config = MixtralConfig(**SMALL, num_local_experts=4)
    assert flops_per_token(MixtralForCausalLM(config)) is None

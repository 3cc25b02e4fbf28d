"""Random causal models of many architectures, small enough to run in milliseconds, and rows for
them. Initial values are large, so that attention and positions matter to what comes out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from backprop_tui.train.engine.layout import Group

WORDS = 96
WINDOW = 7  # shorter than the rows below
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": WORDS,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
SLIDING = ["sliding_attention", "full_attention"]
# What an architecture needs beside SIZES.
MORE: dict[str, dict[str, Any]] = {
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": WINDOW},
    "gemma2": {
        "head_dim": 8,
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3_text": {
        "head_dim": 8,
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "layer_types": SLIDING,
    },
    "phi3": {"sliding_window": WINDOW},
    "mixtral": {**EXPERTS, "sliding_window": WINDOW},
    "qwen3_moe": {
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
    },
    "gpt_oss": {**EXPERTS, "head_dim": 8, "sliding_window": WINDOW},
    "phimoe": {**EXPERTS, "sliding_window": WINDOW},
    "mamba": {"state_size": 4},
    "lfm2": {"full_attn_idxs": [1]},
    "recurrent_gemma": {
        "head_dim": 8,
        "lru_width": 32,
        "attention_window_size": WINDOW,
        "block_types": ["recurrent", "attention"],
    },
    "llama4_text": {
        **EXPERTS,
        "head_dim": 8,
        "intermediate_size_mlp": 48,
        "attention_chunk_size": WINDOW,
    },
}


def tiny(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A model of this architecture, the same at each call, not in training mode."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **MORE.get(kind, {}), **changes})
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def some_groups(seed: int = 0) -> list[Group]:
    """Three prompts with answers of very different lengths, one of a single token."""
    draw = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [draw.randrange(3, WORDS) for _ in range(count)]

    return [
        Group(ids(9), (ids(8), ids(5))),
        Group(ids(1), (ids(12), ids(1))),
        Group(ids(15), (ids(2), ids(10))),
    ]


def plain_logprobs(model: Any, groups: Sequence[Group]) -> list[Tensor]:
    """Log-probability of each token of each answer, from the model's own logits, each answer
    read by itself. Nothing of the engine takes part."""
    found = []
    for group in groups:
        for answer in group.answers:
            ids = torch.tensor([group.prompt + answer])
            scored = model(input_ids=ids).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
            found.append(scored.gather(1, torch.tensor(answer)[:, None])[:, 0])
    return found

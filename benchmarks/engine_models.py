"""Llama-like models with random weights, built from a config alone: nothing is downloaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "nf4"]
SPREAD = 0.02  # standard deviation of every weight, as transformers starts a Llama


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide what a step costs; names as in LlamaConfig."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool = False

    @property
    def parameters(self) -> int:
        """Weights of all matrices that a token meets (the norms are too small to matter)."""
        head = self.hidden_size // self.num_attention_heads
        attention = 2 * self.hidden_size**2 + 2 * self.hidden_size * head * self.num_key_value_heads
        layer = attention + 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * layer + self.vocab_size * self.hidden_size


# hidden, intermediate, layers, heads, key-value heads, vocabulary, tied
TINY = Shape(64, 128, 2, 4, 2, 4_000)
SMALL = Shape(512, 1_408, 8, 8, 2, 32_000)
ONE_BILLION = Shape(2_048, 8_192, 16, 32, 8, 128_256, True)  # as Llama 3.2 1B
EIGHT_BILLION = Shape(4_096, 14_336, 32, 32, 8, 128_256)  # as Llama 3.1 8B


def random_model(shape: Shape, precision: Precision, device: str, seed: int = 0) -> Any:
    """The causal language model on the device, its weights the same for the same seed.

    Built without memory first and filled tensor by tensor, so that a quantised 8B never needs
    the room of its 16-bit weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(**asdict(shape), max_position_embeddings=8_192, use_cache=False)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    quantizer = _quantizer(config, dtype) if precision == "nf4" else None
    if quantizer:
        quantizer.preprocess_model(model=model, dtype=dtype, device_map=None)
    chance = torch.Generator(device).manual_seed(seed)
    for module in model.modules():
        for name, old in list(module.named_parameters(recurse=False)):
            if name == "weight" and old.dim() == 1:  # a norm's
                new = torch.ones(old.shape, dtype=dtype, device=device)
            else:
                # bitsandbytes keeps a matrix in the shape of its layer until it is quantised
                new = torch.empty(old.shape, dtype=dtype, device=device)
                new.normal_(0, SPREAD, generator=chance)
            module.register_parameter(name, _frozen(new, module, device, quantized=bool(quantizer)))
    # Position tables are computed, not learned: made anew, this time with memory behind them.
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=config).to(device)
    model.tie_weights()
    if device == "cuda":
        model.hf_device_map = {"": 0}  # as loading with a device map leaves it
    if quantizer:
        quantizer.postprocess_model(model)
        model.hf_quantizer = quantizer
    return model


def _quantizer(config: Any, dtype: Any) -> Any:
    """What from_pretrained would use for nf4, as the trainer loads it."""
    from transformers.quantizers import AutoHfQuantizer

    from backprop_tui.train.model import quantisation

    settings = quantisation("nf4", dtype)
    config.quantization_config = settings
    return AutoHfQuantizer.from_config(settings, pre_quantized=False)


def _frozen(weight: Any, module: Any, device: str, *, quantized: bool) -> Any:
    """The weight as the module holds it: quantised where the module is a 4-bit layer."""
    import torch

    if quantized:
        import bitsandbytes as bnb

        if isinstance(module, bnb.nn.Linear4bit):
            old = module.weight
            return bnb.nn.Params4bit(
                weight,
                requires_grad=False,
                quant_type=old.quant_type,
                compress_statistics=old.compress_statistics,
                quant_storage=old.quant_storage,
                module=module,
            ).to(device)
    return torch.nn.Parameter(weight, requires_grad=weight.is_floating_point())


def warm_adapter(model: Any, seed: int = 0) -> None:
    """Give the adapter's second matrices values: they start at zero, and then the gradient of the
    first ones is zero whatever the engine does. By name, so that two models get the same."""
    import torch

    for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
        if "lora_B" in name:
            chance = torch.Generator().manual_seed(seed + number)
            values = torch.randn(parameter.shape, generator=chance) / math.sqrt(parameter.shape[1])
            parameter.data.copy_(values * SPREAD)

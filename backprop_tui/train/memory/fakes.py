"""A model's config -> the model with its tensors swapped for fake ones, which have no storage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

import bitsandbytes as bnb
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

BLOCK = 64  # weights that share a scale in nf4
BLOCK_OF_SCALES = 256  # scales that share one of their own
# Sizes that the config has to tell: a library's default would be another model's. Two names each:
# as most architectures call them, and as GPT-2 does.
NEEDED = (
    (("num_hidden_layers", "n_layer"), 1000),
    (("hidden_size", "n_embd"), 200_000),
    (("vocab_size",), 10_000_000),
)
# What a config says of the code to run is not for it to say.
NOT_SIZES = ("model_type", "auto_map", "attn_implementation", "_attn_implementation")
RECURRENT = ("mamba_", "ssm_", "linear_", "rwkv", "lru_")  # beginnings of keys
# Keys of nested configs that read something else than text.
OTHER_INPUTS = ("vision_config", "audio_config", "speech_config", "encoder")


class CannotModel(Exception):
    """Why nothing can be said of a model from its config, in words."""


def config_of(raw: dict[str, Any], layers: int | None = None) -> Any:
    """The transformers configuration, with another number of layers where asked.

    Raises CannotModel: unknown, incomplete, or not a model of text alone.
    """
    from transformers import AutoConfig

    if found := [key for key in OTHER_INPUTS if raw.get(key)]:
        raise CannotModel(f"it reads more than text ({found[0]})")
    if any(key.startswith(RECURRENT) for key in raw) or "linear" in str(raw.get("layer_types")):
        raise CannotModel("its recurrent layers take other memory on a card than was modelled")
    for names, most in NEEDED:
        if not any(isinstance(raw.get(name), int) and 0 < raw[name] <= most for name in names):
            raise CannotModel(
                f"its config.json does not give {names[0]} as a number from 1 to {most:,}"
            )
    kind = str(raw.get("model_type", ""))
    try:
        config = AutoConfig.for_model(kind, **{k: v for k, v in raw.items() if k not in NOT_SIZES})
    except Exception as error:  # of any kind: a config is anybody's file
        raise CannotModel(
            f"transformers does not read its config ({in_one_line(error)})"
        ) from error
    config.use_cache = False
    if layers is not None:
        _shorten(config, layers)
    return config


def stored_precision(raw: dict[str, Any]) -> str | None:
    """The precision of a checkpoint that is stored quantised, None of any other. CannotModel."""
    quantised = raw.get("quantization_config")
    if quantised is None:
        return None
    if not isinstance(quantised, dict):
        raise CannotModel("its config.json says in no known way how it is quantised")
    method = quantised.get("quant_method", "bitsandbytes")
    if method != "bitsandbytes":
        raise CannotModel(f"its weights are quantised with {method}")
    if quantised.get("load_in_8bit"):
        return "int8"
    if quantised.get("bnb_4bit_use_double_quant") and quantised.get("bnb_4bit_quant_type") == "nf4":
        return "nf4"
    raise CannotModel("its weights are stored in another 4-bit form than nf4 with double scales")


def _shorten(config: Any, layers: int) -> None:
    """Fewer layers, and fewer entries in everything that has one a layer."""
    before = config.num_hidden_layers
    config.num_hidden_layers = layers
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == before:
            setattr(config, name, value[:layers])


def skeleton(config: Any, precision: str, *, trains_all: bool) -> Any:
    """The causal language model on the meta device, as `train/model.py` would load it.

    Raises CannotModel.
    """
    from transformers import AutoModelForCausalLM

    full = trains_all or precision == "fp32"
    dtype = torch.float32 if full else torch.bfloat16  # fp16 is as wide
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except Exception as error:  # of any kind: the model's own code
        raise CannotModel(f"it cannot be built from its config ({in_one_line(error)})") from error
    if precision in ("nf4", "int8"):
        _quantise(model, precision, dtype)
    return model


def _quantise(model: Any, precision: str, dtype: torch.dtype) -> None:
    """The layers that loading would quantise, by transformers' own rule."""
    from transformers.quantizers import AutoHfQuantizer

    from backprop_tui.train.model import quantisation

    quantizer = AutoHfQuantizer.from_config(quantisation(precision, dtype), pre_quantized=False)
    quantizer.preprocess_model(model=model, device_map={"": "cpu"})
    model.hf_quantizer = quantizer
    quantizer.postprocess_model(model)


def with_fakes(model: nn.Module, fakes: FakeTensorMode) -> None:
    """Swap every parameter and buffer for a fake one on the CPU; shared ones stay shared."""
    swapped: dict[int, tuple[Any, Any]] = {}  # the old one is kept, so that no id comes twice
    with fakes:
        for module in model.modules():
            for holder in (module._parameters, module._buffers):
                for name, tensor in holder.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in swapped:
                        swapped[id(tensor)] = _fake(module, name, tensor), tensor
                    holder[name] = swapped[id(tensor)][0]


def _fake(module: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name == "weight" and isinstance(module, bnb.nn.Linear4bit):
        return _four_bits(module)
    if name == "weight" and isinstance(module, bnb.nn.Linear8bitLt):
        return _eight_bits(module)
    made = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


def _four_bits(module: Any) -> torch.Tensor:
    """Two weights a byte, their scales of 8 bits, and the scales of those (arXiv:2305.14314)."""
    from bitsandbytes.functional import QuantState

    shape = torch.Size((module.out_features, module.in_features))
    blocks = math.ceil(shape.numel() / BLOCK)
    # Not a Params4bit: that packs anew when it is moved.
    weight = nn.Parameter(torch.empty(((shape.numel() + 1) // 2, 1), dtype=torch.uint8), False)
    scales = QuantState(
        absmax=torch.empty(math.ceil(blocks / BLOCK_OF_SCALES)),
        code=torch.empty(256),
        blocksize=BLOCK_OF_SCALES,
        dtype=torch.float32,
    )
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8),
        shape=shape,
        code=torch.empty(16),
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=module.compute_dtype,
        offset=torch.empty(()),
        state2=scales,
    )
    weight.quant_state = module.quant_state = state  # type: ignore[attr-defined]
    weight.bnb_quantized = True  # type: ignore[attr-defined]
    return weight


def _eight_bits(module: Any) -> torch.Tensor:
    """One byte a weight and one scale a row (arXiv:2208.07339)."""
    # Not an Int8Params: that packs anew when it is moved.
    weight: Any = nn.Parameter(
        torch.empty(module.weight.shape, dtype=torch.int8), requires_grad=False
    )
    weight.CB, weight.SCB = None, None
    module.state.threshold = 0.0  # which columns stay in 16 bits, only values tell
    module.state.CB, module.state.SCB = weight.data, torch.empty(module.out_features)
    return weight  # type: ignore[no-any-return]


def quantisation_state(model: nn.Module) -> Iterator[torch.Tensor]:
    """Scales and tables of quantised layers."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            state = module.quant_state
            yield from (state.absmax, state.code, state.offset)
            yield from (state.state2.absmax, state.state2.code)
        elif isinstance(module, bnb.nn.Linear8bitLt):
            yield module.weight.SCB if module.state.SCB is None else module.state.SCB


def in_one_line(error: BaseException) -> str:
    """What an error says, shortened."""
    return shorten(str(error) or type(error).__name__, 120, placeholder=" …")

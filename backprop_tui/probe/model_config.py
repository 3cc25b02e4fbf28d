"""What config.json says of a model, under the names different architectures give it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError

# Where a multimodal model keeps its language model.
NESTED = ("text_config", "llm_config", "language_config")
NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "vocabulary": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx"),
}


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the language model itself: a nested section over the outer values."""
    for key in NESTED:
        if isinstance(section := config.get(key), dict):
            return {**config, **section}
    return dict(config)


def dimensions(config: Mapping[str, Any], where: str) -> dict[str, int | None]:
    """Layers, sizes, heads, vocabulary and context, by the names of ModelFacts.

    None when the config is silent. Raises InputError when a value is no positive whole number.
    """
    found = {
        fact: next(
            (_whole(config[key], key, where) for key in keys if config.get(key) is not None), None
        )
        for fact, keys in NAMES.items()
    }
    if config.get("multi_query") is True and not config.get("new_decoder_architecture"):
        found["kv_heads"] = 1  # Falcon and BigCode: whatever else the config counts
    elif found["kv_heads"] is None:
        found["kv_heads"] = found["heads"]
    if found["intermediate"] is None and found["hidden"] and "n_embd" in config:
        found["intermediate"] = 4 * found["hidden"]  # GPT-2 leaves n_inner empty and means this
    return found


def architecture(config: Mapping[str, Any], where: str) -> str | None:
    """The model class the config names, or None when it gives only a model_type."""
    classes = config.get("architectures")
    if isinstance(classes, list) and classes and isinstance(classes[0], str):
        return classes[0]
    if isinstance(config.get("model_type"), str):
        return None
    raise InputError(
        f"{where}: config.json names neither model_type nor architectures: not a language model "
        "in the Hugging Face layout.",
        hint="Choose a folder saved with save_pretrained, or a hub id.",
        code="MODEL_BAD_CONFIG",
    )


def quantisation(config: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    """Method and settings of a model that is stored quantised; (None, None) when it is not."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None, None
    bitsandbytes = settings.get("load_in_4bit") or settings.get("load_in_8bit")
    method = settings.get("quant_method") or ("bitsandbytes" if bitsandbytes else "unknown")
    return str(method), settings


def needs_remote_code(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> bool:
    """Whether loading would run code shipped with the model.

    `auto_map` offers such code; transformers uses its own for every model type it knows.
    """
    maps = [value for c in (config, tokenizer) if isinstance(value := c.get("auto_map"), dict)]
    offered = {"AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"} & set().union(*maps)
    return bool(offered) and not _is_known(str(config.get("model_type", "")))


def _is_known(model_type: str) -> bool:
    """Whether the installed transformers has a causal language model of this type.

    Its table is read as text: importing it would load torch.
    """
    spec = find_spec("transformers")
    folders = spec.submodule_search_locations if spec else None
    if not folders or not model_type:
        return False
    try:
        source = Path(folders[0], "models", "auto", "modeling_auto.py").read_text("utf-8")
    except OSError:
        return False
    table = source.partition("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")[2].partition("\n)\n")[0]
    return f'("{model_type}",' in table


def _whole(value: Any, key: str, where: str) -> int:
    """A positive whole number; of a list (one per layer) the largest."""
    values = value if isinstance(value, list) else [value]
    if all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values):
        return int(max(values))
    raise InputError(
        f"{where}: config.json has {key} = {str(value)[:40]!r}; a whole number above 0 is needed.",
        hint="Download or save the model again.",
        code="MODEL_BAD_CONFIG",
    )

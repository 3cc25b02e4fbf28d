"""Model folders with real headers and almost no data, written by hand."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I32": 4, "BOOL": 1}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
# Name to dtype and shape: 50*8 + 8*24 + 50*8 = 992 parameters.
TENSORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "model.embed_tokens.weight": ("BF16", (50, 8)),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (8, 24)),
    "lm_head.weight": ("BF16", (50, 8)),
}


def safetensors_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """A whole safetensors file, its data all zero."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + WIDTH[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def model_files(
    config: Mapping[str, Any] = LLAMA,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = TENSORS,
) -> dict[str, bytes]:
    """The files of a complete model, by name."""
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors_bytes(tensors),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
    }


def write_model(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def cache_model(cache: Path, name: str, commit: str, files: Mapping[str, bytes]) -> Path:
    """A model as the hub's library leaves it in its cache; the snapshot folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    blobs = repository / "blobs"
    for folder in (snapshot, blobs, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for file, content in files.items():
        (blobs / f"blob-{file}").write_bytes(content)
        (snapshot / file).symlink_to(blobs / f"blob-{file}")
    return snapshot

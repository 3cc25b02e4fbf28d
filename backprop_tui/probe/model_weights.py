"""How many parameters a model has, counted from safetensors headers; no weights are loaded.

A safetensors file is 8 bytes (the header's length, little endian), a JSON header
{tensor: {dtype, shape, data_offsets}}, then the data. Only the header is read.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.text import plural, size
from backprop_tui.probe.model_files import ModelFiles, read_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
# Left by a trainer beside the weights; not weights.
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
FIRST_READ = 100_000  # bytes; most headers fit, so a hub file costs one request
LONGEST_HEADER = 100_000_000  # bytes, the limit of the format
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
}
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}
# Written by quantisers beside the packed weights.
QUANTISER_SUFFIXES = (
    *(".absmax", ".quant_map", ".SCB", ".weight_format", ".qzeros", ".scales", ".g_idx"),
    *("_scale", "_scales", "_scale_inv", "_zero_point", ".weight_shape", "_g_idx"),
)
HEADS = ("lm_head.weight", "embed_out.weight")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a header. bytes: of its data."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the headers tell. embedding: rows (vocabulary) and columns (hidden size)."""

    parameters: int
    bytes: int
    dtype: str | None
    tied: bool
    embedding: tuple[int, ...] | None


def read_weights(
    files: ModelFiles, *, tied: bool | None, quantisation: Mapping[str, Any] | None
) -> Weights:
    """Count the parameters of every weight file.

    tied: what the config says of the output head and the embedding; None when it is silent, and
    then a checkpoint without a head is tied. A tied head that is stored all the same counts once.
    Buffers and what quantisers store beside the weights do not count.
    """
    names = weight_files(files)
    if len(names) == 1:
        headers = [read_header(files, names[0])]
    else:  # on the hub each header is a request
        with ThreadPoolExecutor(8) as pool:
            headers = list(pool.map(lambda name: read_header(files, name), names))
    tensors = {name: tensor for header in headers for name, tensor in header.items()}
    head = [name for name in tensors if name.endswith(HEADS)]
    is_tied = tied if tied is not None else not head
    embedding = next((t.shape for name, t in tensors.items() if name.endswith(EMBEDDINGS)), None)
    if is_tied and embedding is not None:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in head}
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        counts[tensor.dtype] += _parameters(name, tensor, quantisation)
    main = max(counts, key=lambda dtype: counts[dtype], default="")
    return Weights(
        parameters=counts.total(),
        bytes=sum(tensor.bytes for tensor in tensors.values()),
        dtype=DTYPES.get(main),
        tied=is_tied,
        embedding=embedding if embedding is not None and len(embedding) == 2 else None,
    )


def weight_files(files: ModelFiles) -> tuple[str, ...]:
    """The safetensors files that make up the model; InputError when there are none."""
    if SINGLE in files.sizes:
        return (SINGLE,)
    if INDEX not in files.sizes:
        raise _no_weights(files)
    index = read_object(files, INDEX, "MODEL_BROKEN_WEIGHTS").get("weight_map")
    named = index.values() if isinstance(index, dict) else ()
    shards = sorted({name for name in named if isinstance(name, str)})
    if not shards:
        raise _broken(files, INDEX, "names no weight files")
    missing = [name for name in shards if name not in files.sizes]
    if missing:
        raise InputError(
            f"{files.where}: {len(missing)} of {plural(len(shards), 'weight file')} missing: "
            f"{_some(missing)}. {INDEX} needs all of them.",
            hint="Download the model again.",
            code="MODEL_NO_WEIGHTS",
        )
    return tuple(shards)


def read_header(files: ModelFiles, name: str) -> dict[str, Tensor]:
    """The tensors of one safetensors file. Raises InputError when it is damaged or cut short."""
    start = files.read(name, FIRST_READ)
    if start.startswith(b"version https://git-lfs"):
        raise _broken(files, name, "is a Git LFS pointer, not the weights: run git lfs pull")
    if len(start) < 8:
        raise _broken(files, name, f"is cut short: it has {plural(len(start), 'byte')}")
    (length,) = struct.unpack("<Q", start[:8])
    if not 2 <= length <= LONGEST_HEADER:
        raise _broken(files, name, "is not a safetensors file")
    if len(start) < 8 + length:
        start = files.read(name, 8 + length)
    if len(start) < 8 + length:
        raise _broken(files, name, "is cut short inside its header")
    try:
        entries = json.loads(start[8 : 8 + length])
        tensors = {key: _tensor(entries[key]) for key in entries if key != "__metadata__"}
        end = max((entries[key]["data_offsets"][1] for key in tensors), default=0)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _broken(files, name, "has a damaged header") from error
    expected, actual = 8 + length + end, files.sizes[name]
    if actual is not None and actual < expected:
        missing = f"{size(actual)} of {size(expected)} ({expected - actual:,} bytes missing)"
        raise _broken(files, name, f"is cut short: {missing}")
    return tensors


def _tensor(entry: Any) -> Tensor:
    """A header entry, checked; any fault is a ValueError, TypeError or KeyError."""
    first, last = entry["data_offsets"]
    tensor = Tensor(str(entry["dtype"]), tuple(entry["shape"]), last - first)
    if any(type(n) is not int or n < 0 for n in (first, last, tensor.bytes, *tensor.shape)):
        raise ValueError("negative or fractional size")
    width = BYTES.get(tensor.dtype)
    if width is not None and width * math.prod(tensor.shape) != tensor.bytes:
        raise ValueError("shape and data disagree")
    return tensor


def _parameters(name: str, tensor: Tensor, quantisation: Mapping[str, Any] | None) -> int:
    count = math.prod(tensor.shape)
    # Position tables and causal masks that older checkpoints carry along.
    is_mask = name.endswith(("attn.bias", "attention.bias")) and len(tensor.shape) == 4
    if is_mask or tensor.dtype == "BOOL" or name.endswith(("inv_freq", "masked_bias")):
        return 0
    if quantisation is None:
        return count
    if name.endswith(QUANTISER_SUFFIXES) or ".quant_state." in name or ".nested_" in name:
        return 0
    bits = quantisation.get("bits")
    bits = bits if isinstance(bits, int) and 1 <= bits <= 32 else 4
    if tensor.dtype == "I32":  # gptq, awq, compressed-tensors: 32 bits hold several weights
        return count * 32 // bits
    return count * 2 if tensor.dtype == "U8" else count  # nf4, mxfp4: two weights in a byte


def _no_weights(files: ModelFiles) -> InputError:
    """Why none of the files can be used as weights."""
    pickles = [
        name
        for name in files.sizes
        if name.endswith(PICKLE_SUFFIXES) and not name.startswith(NOT_WEIGHTS)
    ]
    others = [name for name in files.sizes if name.endswith((".safetensors", ".gguf"))]
    if pickles and not others:
        return InputError(
            f"{files.where} has only pickle weights ({_some(pickles)}). A pickle can run any code "
            "when it is loaded, so only safetensors are allowed.",
            hint="Convert them to safetensors if you trust where they come from (transformers: "
            "from_pretrained, then save_pretrained), or choose another model.",
            code="MODEL_PICKLE_ONLY",
        )
    found = f"; {_some(others)} cannot be trained as it is" if others else ""
    return InputError(
        f"{files.where} has no weights{found}. Allowed: {SINGLE}, or several files with {INDEX}.",
        hint="Choose a folder with safetensors weights in the Hugging Face layout.",
        code="MODEL_NO_WEIGHTS",
    )


def _broken(files: ModelFiles, name: str, fault: str) -> InputError:
    return InputError(
        f"{files.where}: {name} {fault}.",
        hint="Download or save the model again.",
        code="MODEL_BROKEN_WEIGHTS",
    )


def _some(names: list[str]) -> str:
    """The first names, sorted, and how many more."""
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

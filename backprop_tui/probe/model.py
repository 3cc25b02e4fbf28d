"""Facts of a language model from its config and safetensors headers.

Neither torch nor transformers is imported and no weights are loaded. A missing tokenizer or chat
template, or code the model brings along, are facts for the caller to judge; a model that cannot
be read at all is an InputError.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import backprop_tui
from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import ModelFacts
from backprop_tui.probe.model_cache import cached_snapshot
from backprop_tui.probe.model_config import (
    architecture,
    dimensions,
    language_config,
    needs_remote_code,
    quantisation,
)
from backprop_tui.probe.model_files import FolderFiles, ModelFiles, read_object
from backprop_tui.probe.model_weights import read_weights

POCKET = "pocket"
CHOICES = "Give a model folder, a hub id (owner/name), or pocket (bundled)."
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tekken.json"),
)


def probe_model(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> ModelFacts:
    """Facts of "pocket", a local folder, a cached hub model, or a hub model, in that order.

    revision: branch, tag or commit of a hub model; folders ignore it.
    trust_remote_code: the user accepts the model's own code, so `remote_code` is False.

    Raises InputError with one of the codes MODEL_NOT_FOUND, MODEL_UNREADABLE, MODEL_IS_ADAPTER,
    MODEL_NO_CONFIG, MODEL_BAD_CONFIG, MODEL_NO_WEIGHTS, MODEL_PICKLE_ONLY, MODEL_BROKEN_WEIGHTS,
    MODEL_GATED, MODEL_OFFLINE.
    """
    if name == POCKET:
        folder = Path(backprop_tui.__file__).parent / "demo" / "pocket"
        if not folder.is_dir():
            raise _not_found(f"The bundled model is missing from this installation: {folder}")
        return _facts(FolderFiles(folder), name, "pocket", trust_remote_code, path=folder)
    local = os.path.abspath(os.path.expanduser(name))
    if name and os.path.isdir(local):
        folder = Path(local)
        return _facts(FolderFiles(folder), name, "folder", trust_remote_code, path=folder)
    if name and os.path.exists(local):
        raise _not_found(f"{local} is a file; a model is a folder with config.json in it")
    if not name or _is_path(name):
        raise _not_found(f"There is no folder {local}" if name else "No model is named")
    return _probe_hub_id(name, revision, trust_remote_code)


def _probe_hub_id(name: str, revision: str | None, trust: bool) -> ModelFacts:
    """From the cache when the model is whole there, else from the hub."""
    cached: ModelFacts | None = None
    fault: InputError | None = None
    snapshot = cached_snapshot(name, revision)
    if snapshot is not None:
        try:
            cached = _facts(
                FolderFiles(snapshot), name, "cache", trust, path=snapshot, commit=snapshot.name
            )
        except InputError as error:
            # Perhaps only a part was downloaded: the hub may have the rest. What is damaged stays
            # so, as it would be loaded from here.
            if error.code not in ("MODEL_NO_WEIGHTS", "MODEL_PICKLE_ONLY"):
                raise
            fault = error
        if cached is not None and cached.tokenizer:
            return cached
    from backprop_tui.probe.model_hub import HubFiles  # 0.15 s, and only needed online

    try:
        files = HubFiles(name, revision)
        return _facts(files, name, "hub", trust, commit=files.commit)
    except InputError as error:
        if error.code != "MODEL_OFFLINE" or snapshot is None:
            raise
        if cached is not None:
            return cached
        assert fault is not None
        hint = "Download the model again when online, or choose another one."
        raise InputError(fault.message, hint=hint, code=fault.code) from error


def _facts(
    files: ModelFiles,
    name: str,
    source: Literal["folder", "cache", "hub", "pocket"],
    trust: bool,
    *,
    path: Path | None = None,
    commit: str | None = None,
) -> ModelFacts:
    outer = _config(files)
    config = language_config(outer)
    method, settings = quantisation(config)
    tied = config.get("tie_word_embeddings")
    size = dimensions(config, files.where)
    class_name = architecture(outer, files.where)
    weights = read_weights(
        files, tied=tied if isinstance(tied, bool) else None, quantisation=settings
    )
    rows, columns = weights.embedding or (None, None)
    tokenizer = _optional(files, "tokenizer_config.json")
    stated = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    return ModelFacts(
        name=name,
        source=source,
        path=str(path) if path else None,
        commit=commit,
        architecture=class_name,
        parameters=weights.parameters,
        weight_bytes=weights.bytes,
        # A quantised model computes in the type its config states, not in the one it is packed in.
        dtype=(stated or weights.dtype if method else weights.dtype or stated) or None,
        layers=size["layers"],
        hidden=size["hidden"] or columns,
        intermediate=size["intermediate"],
        heads=size["heads"],
        kv_heads=size["kv_heads"],
        vocabulary=size["vocabulary"] or rows,
        context=size["context"],
        tied_embeddings=weights.tied,
        quantisation=method,
        tokenizer=any(files.sizes.get(file) != 0 and file in files.sizes for file in TOKENIZERS),
        chat_template=_has_chat_template(files, tokenizer),
        config=json.dumps(outer, sort_keys=True),
        remote_code=not trust and needs_remote_code(outer, tokenizer),
    )


def _config(files: ModelFiles) -> dict[str, Any]:
    if "config.json" in files.sizes:
        return read_object(files, "config.json", "MODEL_BAD_CONFIG")
    if "adapter_config.json" in files.sizes:
        base = _optional(files, "adapter_config.json").get("base_model_name_or_path")
        raise InputError(
            f"{files.where} is a LoRA adapter, not a model: it has adapter_config.json and no "
            "config.json.",
            hint=f"Choose the model it was trained on{f': {base}' if base else ''}.",
            code="MODEL_IS_ADAPTER",
        )
    raise InputError(
        f"{files.where} has no config.json: it is no model in the Hugging Face layout.",
        hint="Choose a folder saved with save_pretrained, a hub id, or pocket (bundled).",
        code="MODEL_NO_CONFIG",
    )


def _has_chat_template(files: ModelFiles, tokenizer: Mapping[str, Any]) -> bool:
    if files.sizes.get("chat_template.jinja", 0) != 0 or tokenizer.get("chat_template"):
        return True
    return bool(_optional(files, "chat_template.json").get("chat_template"))


def _optional(files: ModelFiles, name: str) -> dict[str, Any]:
    """A JSON object that may be missing; a damaged one is MODEL_BAD_CONFIG."""
    return read_object(files, name, "MODEL_BAD_CONFIG") if name in files.sizes else {}


def _is_path(name: str) -> bool:
    """Whether the user meant a folder: nothing on the hub has such a name."""
    return (
        name.startswith((".", "/", "~"))
        or name.endswith("/")
        or "\\" in name
        or (name.count("/") > 1)
    )


def _not_found(what: str) -> InputError:
    return InputError(f"{what}.", hint=CHOICES, code="MODEL_NOT_FOUND")

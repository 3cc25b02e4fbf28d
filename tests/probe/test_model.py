"""Model facts from folders: what is read, and how a folder that is no model is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backprop_tui
from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import ModelFacts
from backprop_tui.probe.model import probe_model
from tests.models import LLAMA, TENSORS, model_files, safetensors_bytes, write_model

Files = dict[str, bytes]


def refused(name: object) -> InputError:
    with pytest.raises(InputError) as caught:
        probe_model(str(name))
    assert caught.value.hint, "every refusal says what to do"
    return caught.value


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


def test_every_fact_of_a_plain_folder(tmp_path: Path) -> None:
    write_model(tmp_path, model_files())
    found = probe_model(str(tmp_path))
    assert json.loads(found.config) == json.loads((tmp_path / "config.json").read_text())
    assert found == ModelFacts(
        name=str(tmp_path),
        source="folder",
        path=str(tmp_path),
        commit=None,
        architecture="LlamaForCausalLM",
        parameters=992,
        weight_bytes=2 * 992,
        dtype="bfloat16",
        layers=2,
        hidden=8,
        intermediate=24,
        heads=4,
        kv_heads=2,
        vocabulary=50,
        context=512,
        tied_embeddings=False,
        quantisation=None,
        tokenizer=True,
        chat_template=True,
        config=found.config,
        remote_code=False,
    )


def test_relative_and_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "owner" / "model", model_files())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("owner/model", "./owner/model", "owner/model/", "~/owner/model"):
        facts = probe_model(name)
        assert (facts.name, facts.source) == (name, "folder")
        assert facts.path == str(tmp_path / "owner" / "model")


def test_gpt2_names(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": 12,
        "n_embd": 8,
        "n_head": 4,
        "n_positions": 1024,
        "n_inner": None,
        "vocab_size": 50,
        "torch_dtype": "float16",
    }
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "wte.weight": ("F32", (50, 8)),
        "h.0.attn.bias": ("F32", (1, 1, 16, 16)),  # the causal mask: no parameters
        "h.0.attn.c_attn.bias": ("F32", (24,)),
    }
    facts = probe_model(str(write_model(tmp_path, model_files(config, tensors))))
    assert (facts.layers, facts.hidden, facts.heads, facts.kv_heads) == (12, 8, 4, 4)
    assert (facts.intermediate, facts.context) == (32, 1024)
    assert facts.parameters == 50 * 8 + 24
    assert facts.dtype == "float32"  # as stored, whatever the config says
    assert facts.tied_embeddings is True  # no head stored, the config is silent


@pytest.mark.parametrize(
    ("values", "kv_heads"),
    [
        ({"num_key_value_heads": None}, 4),
        ({"num_key_value_heads": None, "multi_query": True}, 1),
        ({"num_kv_heads": 4, "multi_query": True, "num_key_value_heads": None}, 1),
        ({"multi_query": True, "new_decoder_architecture": True}, 2),
    ],
)
def test_key_value_heads(tmp_path: Path, values: dict[str, Any], kv_heads: int) -> None:
    write_model(tmp_path, model_files(LLAMA | values))
    assert probe_model(str(tmp_path)).kv_heads == kv_heads


def test_nested_text_config(tmp_path: Path) -> None:
    inner = {key: LLAMA[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")}
    config = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "hidden_size": 999,
        "text_config": inner | {"max_position_embeddings": 4096},
    }
    facts = probe_model(str(write_model(tmp_path, model_files(config))))
    assert facts.architecture == "Gemma3ForConditionalGeneration"
    assert (facts.layers, facts.hidden, facts.context) == (2, 8, 4096)
    assert facts.vocabulary == 50  # from the embedding: the config does not say


@pytest.mark.parametrize(("tied", "parameters"), [(True, 592), (False, 992)])
def test_a_tied_head_counts_once(tmp_path: Path, tied: bool, parameters: int) -> None:
    config = LLAMA | {"tie_word_embeddings": tied}
    facts = probe_model(str(write_model(tmp_path, model_files(config))))
    assert (facts.tied_embeddings, facts.parameters) == (tied, parameters)
    assert facts.weight_bytes == 2 * parameters


def test_dtype_is_the_one_most_parameters_have(tmp_path: Path) -> None:
    tensors = TENSORS | {"model.norm.weight": ("F32", (8,))}
    assert probe_model(str(write_model(tmp_path, model_files(LLAMA, tensors)))).dtype == "bfloat16"


def test_quantised_models_count_their_real_parameters(tmp_path: Path) -> None:
    config = LLAMA | {"dtype": "bfloat16", "quantization_config": {"load_in_4bit": True}}
    tensors = TENSORS | {
        "model.layers.0.mlp.up_proj.weight": ("U8", (96, 1)),  # two of 8*24 in each byte
        "model.layers.0.mlp.up_proj.weight.absmax": ("F32", (3,)),
    }
    facts = probe_model(str(write_model(tmp_path / "nf4", model_files(config, tensors))))
    assert (facts.quantisation, facts.dtype) == ("bitsandbytes", "bfloat16")
    assert facts.parameters == 992
    config["quantization_config"] = {"quant_method": "gptq", "bits": 8}
    tensors = without_head() | {
        "model.layers.0.mlp.up_proj.qweight": ("I32", (2, 24)),  # 4 of 8 bits each
        "model.layers.0.mlp.up_proj.qzeros": ("I32", (1, 6)),
        "model.layers.0.mlp.up_proj.scales": ("F16", (1, 24)),
    }
    facts = probe_model(str(write_model(tmp_path / "gptq", model_files(config, tensors))))
    assert facts.quantisation == "gptq"
    assert facts.parameters == 50 * 8 + 8 * 24


def without_head() -> dict[str, tuple[str, tuple[int, ...]]]:
    return {"model.embed_tokens.weight": TENSORS["model.embed_tokens.weight"]}


def shards(*tensors: str) -> Files:
    """The plain model in one file per tensor, with an index; only `tensors` are written."""
    names = {tensor: f"model-{n}.safetensors" for n, tensor in enumerate(TENSORS, 1)}
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    files = without(model_files(), "model.safetensors")
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return files | {names[t]: safetensors_bytes({t: TENSORS[t]}) for t in tensors}


def test_shards_are_counted_together(tmp_path: Path) -> None:
    facts = probe_model(str(write_model(tmp_path, shards(*TENSORS))))
    assert (facts.parameters, facts.weight_bytes) == (992, 1984)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    error = refused(write_model(tmp_path, shards("lm_head.weight")))
    assert error.code == "MODEL_NO_WEIGHTS"
    assert "2 of 3 weight files missing: model-1.safetensors, model-2.safetensors" in error.message


@pytest.mark.parametrize(
    ("files", "tokenizer", "template"),
    [
        ({}, False, False),
        ({"tokenizer.json": b""}, False, False),
        ({"tokenizer.json": b"{}"}, True, False),
        ({"tokenizer.model": b"x"}, True, False),
        ({"tokenizer_config.json": b'{"chat_template": null}'}, False, False),
        ({"tokenizer_config.json": b'{"chat_template": [{"name": "a"}]}'}, False, True),
        ({"tokenizer.json": b"{}", "chat_template.jinja": b"x"}, True, True),
        ({"tokenizer.json": b"{}", "chat_template.jinja": b""}, True, False),
        ({"tokenizer.json": b"{}", "chat_template.json": b'{"chat_template": "x"}'}, True, True),
    ],
)
def test_tokenizer_and_template_are_facts(
    tmp_path: Path, files: Files, tokenizer: bool, template: bool
) -> None:
    bare = without(model_files(), "tokenizer.json", "tokenizer_config.json")
    facts = probe_model(str(write_model(tmp_path, bare | files)))
    assert (facts.tokenizer, facts.chat_template) == (tokenizer, template)


AUTO_MAP = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.X"}


@pytest.mark.parametrize(
    ("config", "trusted", "remote"),
    [
        ({"model_type": "my_model", "auto_map": AUTO_MAP}, False, True),
        ({"model_type": "my_model", "auto_map": AUTO_MAP}, True, False),
        ({"model_type": "llama", "auto_map": AUTO_MAP}, False, False),  # transformers knows it
        ({"model_type": "my_model", "auto_map": {"AutoModel": "modeling_x.X"}}, False, False),
        ({"model_type": "my_model", "auto_map": "nonsense"}, False, False),
    ],
)
def test_code_of_its_own(
    tmp_path: Path, config: dict[str, Any], trusted: bool, remote: bool
) -> None:
    write_model(tmp_path, model_files(LLAMA | config))
    assert probe_model(str(tmp_path), trust_remote_code=trusted).remote_code is remote


def changed(**files: bytes | None) -> Callable[[], Files]:
    """A complete model with these files replaced or, for None, removed; _ stands for a dot."""

    def build() -> Files:
        result: dict[str, bytes | None] = dict(model_files())
        result.update({name.replace("__", "."): content for name, content in files.items()})
        return {name: content for name, content in result.items() if content is not None}

    return build


def config(**values: object) -> bytes:
    return json.dumps(LLAMA | values).encode()


WEIGHTS = safetensors_bytes(TENSORS)
ADAPTER = b'{"peft_type": "LORA", "base_model_name_or_path": "owner/base"}'


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        (dict, "MODEL_NO_CONFIG", "has no config.json"),
        (changed(config__json=None), "MODEL_NO_CONFIG", "has no config.json"),
        (changed(config__json=b"{\n\n oops"), "MODEL_BAD_CONFIG", "not valid JSON (line 3)"),
        (changed(config__json=b"[]"), "MODEL_BAD_CONFIG", "holds a list"),
        (changed(config__json=b"\xff"), "MODEL_BAD_CONFIG", "not valid JSON"),
        (changed(config__json=b"{}"), "MODEL_BAD_CONFIG", "neither model_type nor architectures"),
        (
            changed(config__json=config(hidden_size="big")),
            "MODEL_BAD_CONFIG",
            "hidden_size = 'big'",
        ),
        (changed(config__json=config(vocab_size=-1)), "MODEL_BAD_CONFIG", "vocab_size = '-1'"),
        (changed(tokenizer_config__json=b"{"), "MODEL_BAD_CONFIG", "tokenizer_config.json"),
        (changed(model__safetensors=None), "MODEL_NO_WEIGHTS", "has no weights"),
        (
            changed(model__safetensors=None, x__gguf=b"x"),
            "MODEL_NO_WEIGHTS",
            "x.gguf cannot be trained",
        ),
        (
            changed(model__safetensors=None, pytorch_model__bin=b"x"),
            "MODEL_PICKLE_ONLY",
            "only pickle weights (pytorch_model.bin)",
        ),
        (
            changed(model__safetensors=None, training_args__bin=b"x", optimizer__pt=b"x"),
            "MODEL_NO_WEIGHTS",
            "has no weights",
        ),
        (changed(model__safetensors=b""), "MODEL_BROKEN_WEIGHTS", "has 0 bytes"),
        (changed(model__safetensors=WEIGHTS[:40]), "MODEL_BROKEN_WEIGHTS", "inside its header"),
        (changed(model__safetensors=WEIGHTS[:-5]), "MODEL_BROKEN_WEIGHTS", "5 bytes missing"),
        (changed(model__safetensors=b"PK" * 99), "MODEL_BROKEN_WEIGHTS", "not a safetensors file"),
        (
            changed(model__safetensors=WEIGHTS.replace(b"[50, 8]", b"[50, 9]")),
            "MODEL_BROKEN_WEIGHTS",
            "damaged header",
        ),
        (
            changed(model__safetensors=WEIGHTS.replace(b'"shape"', b'"shave"')),
            "MODEL_BROKEN_WEIGHTS",
            "damaged header",
        ),
        (
            changed(model__safetensors=b"version https://git-lfs.github.com/spec/v1\n"),
            "MODEL_BROKEN_WEIGHTS",
            "Git LFS pointer",
        ),
        (
            changed(model__safetensors=None, model__safetensors__index__json=b"{}"),
            "MODEL_BROKEN_WEIGHTS",
            "names no weight files",
        ),
        (
            changed(config__json=None, adapter_config__json=ADAPTER),
            "MODEL_IS_ADAPTER",
            "is a LoRA adapter",
        ),
    ],
)
def test_what_is_no_model_is_refused(
    tmp_path: Path, files: Callable[[], Files], code: str, says: str
) -> None:
    error = refused(write_model(tmp_path, files()))
    assert (error.code, says in error.message) == (code, True), error.message
    assert str(tmp_path) in error.message


def test_an_adapter_names_its_model(tmp_path: Path) -> None:
    error = refused(write_model(tmp_path, {"adapter_config.json": ADAPTER}))
    assert "owner/base" in error.hint


def test_pickle_beside_safetensors_is_ignored(tmp_path: Path) -> None:
    write_model(tmp_path, model_files() | {"pytorch_model.bin": b"x"})
    assert probe_model(str(tmp_path)).parameters == 992


def test_folders_and_dangling_links_are_no_files(tmp_path: Path) -> None:
    write_model(tmp_path, without(model_files(), "model.safetensors", "tokenizer.json"))
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    (tmp_path / "tokenizer.json").mkdir()
    assert refused(tmp_path).code == "MODEL_NO_WEIGHTS"
    (tmp_path / "gone").write_bytes(WEIGHTS)
    assert probe_model(str(tmp_path)).tokenizer is False


def test_a_shard_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    write_model(tmp_path, {"elsewhere.safetensors": WEIGHTS})
    index = {"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    files = without(model_files(), "model.safetensors")
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    assert refused(write_model(tmp_path / "model", files)).code == "MODEL_NO_WEIGHTS"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "", "a/"])
def test_no_such_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    error = refused(name)
    assert error.code == "MODEL_NOT_FOUND"
    assert "pocket" in error.hint


def test_a_file_is_no_model(tmp_path: Path) -> None:
    write_model(tmp_path, model_files())
    error = refused(tmp_path / "model.safetensors")
    assert error.code == "MODEL_NOT_FOUND"
    assert "is a file; a model is a folder" in error.message


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, model_files())

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("backprop_tui.probe.model_files.open", denied, raising=False)
    error = refused(tmp_path)
    assert error.code == "MODEL_UNREADABLE"
    assert f"{tmp_path}/config.json cannot be read: Permission denied" in error.message


def test_pocket_is_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder of that name lies around."""
    monkeypatch.chdir(write_model(tmp_path / "work", {}))
    write_model(tmp_path / "work" / "pocket", {})
    monkeypatch.setattr(backprop_tui, "__file__", str(tmp_path / "package" / "__init__.py"))
    assert "missing from this installation" in refused("pocket").message
    bundled = write_model(tmp_path / "package" / "demo" / "pocket", model_files())
    facts = probe_model("pocket")
    assert (facts.source, facts.name, facts.path) == ("pocket", "pocket", str(bundled))


def test_quick_and_without_torch(tmp_path: Path) -> None:
    write_model(tmp_path, model_files(LLAMA | {"auto_map": AUTO_MAP}))
    script = """
import json, sys, time
start = time.process_time()  # a busy machine must not decide
from backprop_tui.probe.model import probe_model
facts = probe_model(sys.argv[1])
heavy = [name for name in ("torch", "transformers", "numpy", "huggingface_hub", "pydantic")
         if name in sys.modules]
print(json.dumps([facts.parameters, heavy, time.process_time() - start]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    parameters, heavy, seconds = json.loads(done.stdout)
    assert (parameters, heavy) == (992, [])
    assert seconds < 0.2

"""Model facts from the hub and its local cache, against a hub on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub import COMMIT, Hub, Repository, serve_hub
from tests.models import LLAMA, TENSORS, cache_model, model_files, safetensors_bytes

OTHER = "f" * 40
TOKEN = "hf_not-for-any-screen"
Probe = Callable[..., dict[str, Any]]

SCRIPT = """
import json, sys
from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import to_json
from backprop_tui.probe.model import probe_model
try:
    print(json.dumps(to_json(probe_model(sys.argv[1], revision=sys.argv[2] or None))))
except InputError as error:
    print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))
"""
CACHED = """
import json
from dataclasses import asdict
from backprop_tui.probe.model_cache import cached_models
print(json.dumps([asdict(model) for model in cached_models()]))
"""

FILES = model_files()
BIG = LLAMA | {"tie_word_embeddings": True}
SHARDS = {name: safetensors_bytes({name: TENSORS[name]}) for name in TENSORS}
INDEX = {"weight_map": {name: f"{name}.safetensors" for name in TENSORS}}
SHARDED = {
    **{name: content for name, content in FILES.items() if name != "model.safetensors"},
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    **{f"{name}.safetensors": content for name, content in SHARDS.items()},
    "original/consolidated.00.pth": b"x",
}
HUGE = {"model.embed_tokens.weight": ("BF16", (2_000_000, 8))}  # 32 MB of weights
LONG_HEADER = {f"model.layers.{n}.mlp.down_proj.weight": ("BF16", (2, 2)) for n in range(2000)}

MODELS = {
    "owner/plain": Repository(FILES),
    "plain": Repository(FILES),
    "owner/sharded": Repository(SHARDED),
    "owner/huge": Repository(model_files(BIG, HUGE)),
    "owner/no-ranges": Repository(model_files(BIG, HUGE), ranges=False),
    "owner/long-header": Repository(model_files(LLAMA, LONG_HEADER)),
    "owner/pickle": Repository(
        {k: v for k, v in FILES.items() if k != "model.safetensors"} | {"model.bin": b"x"}
    ),
    "owner/cut": Repository(FILES | {"model.safetensors": FILES["model.safetensors"][:90]}),
    "owner/gated": Repository(FILES, file=(403, "GatedRepo")),
    "owner/terms": Repository(FILES, file=(401, "GatedRepo")),
    "owner/private": Repository(info=(401, "RepoNotFound")),
    "owner/forbidden": Repository(info=(403, "")),
    "owner/ill": Repository(info=(503, "")),
    "owner/slow-down": Repository(info=(429, "")),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serve_hub(MODELS) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Runs a script with an empty cache in `tmp_path`; its output, JSON, is the result."""

    def start(script: str, *arguments: str, **environment: str) -> Any:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        home = {"HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=clean | home | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return start


@pytest.fixture
def probe(run: Callable[..., Any], hub: Hub) -> Probe:
    """`probe_model` in a fresh process whose hub is the stub."""

    def start(name: str, revision: str = "", **environment: str) -> dict[str, Any]:
        hub.answers.clear()
        result: dict[str, Any] = run(
            SCRIPT, name, revision, HF_ENDPOINT=hub.endpoint, **environment
        )
        return result

    return start


@pytest.mark.parametrize("name", ["owner/plain", "plain"])
def test_a_hub_model_is_resolved_to_a_commit(probe: Probe, tmp_path: Path, name: str) -> None:
    facts = probe(name)
    assert (facts["source"], facts["commit"], facts["path"]) == ("hub", COMMIT, None)
    assert (facts["name"], facts["architecture"]) == (name, "LlamaForCausalLM")
    assert (facts["parameters"], facts["dtype"], facts["layers"]) == (992, "bfloat16", 2)
    assert (facts["tokenizer"], facts["chat_template"]) == (True, True)
    assert list(tmp_path.rglob("*config.json")) == [], "a look leaves nothing in the cache"


def test_a_revision_is_asked_for(probe: Probe, hub: Hub) -> None:
    assert probe("owner/plain", "v1")["commit"] == COMMIT
    assert hub.answers[0][0] == "/api/models/owner/plain/revision/v1"
    error = probe("owner/plain", "v9")
    assert error["code"] == "MODEL_NOT_FOUND"
    assert "no revision 'v9'" in error["message"]


def test_every_shard_is_counted(probe: Probe) -> None:
    assert probe("owner/sharded")["parameters"] == 992


@pytest.mark.parametrize("name", ["owner/huge", "owner/no-ranges"])
def test_weights_are_not_downloaded(probe: Probe, hub: Hub, name: str) -> None:
    assert probe(name)["parameters"] == 16_000_000
    time.sleep(0.1)  # the server notes an answer once it has been sent
    assert 0 < hub.sent < 16_000_000


def test_a_header_longer_than_the_first_read(probe: Probe) -> None:
    assert len(safetensors_bytes(LONG_HEADER)) > 200_000
    assert probe("owner/long-header")["parameters"] == 8000


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("owner/nothing", "MODEL_NOT_FOUND", "the hub has no such model (or it is private)"),
        ("owner/private", "MODEL_NOT_FOUND", "or it is private"),
        ("owner/gated", "MODEL_GATED", "accepted its terms"),
        ("owner/terms", "MODEL_GATED", "accepted its terms"),
        ("owner/forbidden", "MODEL_GATED", "refuses access (403)"),
        ("owner/ill", "MODEL_OFFLINE", "the hub answered 503"),
        ("owner/slow-down", "MODEL_OFFLINE", "the hub answered 429"),
        ("owner/pickle", "MODEL_PICKLE_ONLY", "owner/pickle has only pickle weights (model.bin)"),
        ("owner/cut", "MODEL_BROKEN_WEIGHTS", "cut short"),
        ("owner/what is this", "MODEL_NOT_FOUND", "nor a valid hub id"),
    ],
)
def test_refusals(probe: Probe, name: str, code: str, says: str) -> None:
    error = probe(name)
    assert (error["code"], says in error["message"]) == (code, True), error
    assert name in error["message"]
    assert error["hint"]


def test_offline_mode_is_respected(probe: Probe, hub: Hub) -> None:
    error = probe("owner/plain", HF_HUB_OFFLINE="1")
    assert error["code"] == "MODEL_OFFLINE"
    assert "offline mode is on (HF_HUB_OFFLINE)" in error["message"]
    assert "pocket" in error["hint"]
    assert hub.answers == []


def test_no_network_answers_quickly(run: Callable[..., Any]) -> None:
    start = time.monotonic()
    error = run(SCRIPT, "owner/plain", "", HF_ENDPOINT="http://127.0.0.1:9")
    assert error["code"] == "MODEL_OFFLINE"
    assert "the hub cannot be reached (ConnectError)" in error["message"]
    assert time.monotonic() - start < 3


def test_a_silent_hub_is_given_up_on(run: Callable[..., Any]) -> None:
    script = "import backprop_tui.probe.model_hub as hub; hub.TIMEOUT = 0.3" + SCRIPT
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts and never answers
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        error = run(script, "owner/plain", "", HF_ENDPOINT=endpoint)
    assert error["code"] == "MODEL_OFFLINE"
    assert "ReadTimeout" in error["message"]


def test_a_cached_model_needs_no_network(probe: Probe, hub: Hub, tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path / "hub", "owner/plain", OTHER, FILES)
    facts = probe("owner/plain")
    assert (facts["source"], facts["commit"]) == ("cache", OTHER)
    assert (facts["path"], facts["parameters"]) == (str(snapshot), 992)
    assert hub.answers == []


def test_another_revision_than_the_cached_one(probe: Probe, tmp_path: Path) -> None:
    cache_model(tmp_path / "hub", "owner/plain", OTHER, FILES)
    assert probe("owner/plain", OTHER)["source"] == "cache"
    facts = probe("owner/plain", "v1")
    assert (facts["source"], facts["commit"]) == ("hub", COMMIT)


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_partly_cached_model(probe: Probe, tmp_path: Path, missing: str) -> None:
    """The hub has the rest; offline, what is missing is said."""
    part = {name: content for name, content in FILES.items() if name != missing}
    cache_model(tmp_path / "hub", "owner/plain", OTHER, part)
    facts = probe("owner/plain")
    assert (facts["source"], facts["tokenizer"]) == ("hub", True)
    offline = probe("owner/plain", HF_HUB_OFFLINE="1")
    if missing == "tokenizer.json":
        assert (offline["source"], offline["tokenizer"]) == ("cache", False)
    else:
        assert offline["code"] == "MODEL_NO_WEIGHTS"
        assert "when online" in offline["hint"]


def test_a_damaged_cache_is_not_hidden_by_the_hub(probe: Probe, tmp_path: Path) -> None:
    cache_model(tmp_path / "hub", "owner/plain", OTHER, FILES | {"model.safetensors": b"x" * 20})
    assert probe("owner/plain")["code"] == "MODEL_BROKEN_WEIGHTS"


def test_a_cached_adapter(probe: Probe, tmp_path: Path) -> None:
    adapter = {"adapter_config.json": b'{"base_model_name_or_path": "owner/plain"}'}
    cache_model(tmp_path / "hub", "owner/adapter", OTHER, adapter)
    error = probe("owner/adapter")
    assert error["code"] == "MODEL_IS_ADAPTER"
    assert "owner/plain" in error["hint"]


def test_cached_models_are_listed_by_name(run: Callable[..., Any], tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    second = cache_model(cache, "Zoo/zebra", COMMIT, FILES)
    first = cache_model(cache, "owner/plain", OTHER, FILES | {"extra": bytes(1000)})
    cache_model(cache, "owner/empty", OTHER, {"README.md": b"no model"})
    (cache / "datasets--owner--plain" / "snapshots" / OTHER).mkdir(parents=True)
    size = sum(map(len, FILES.values()))
    assert run(CACHED) == [
        {"name": "owner/plain", "bytes": size + 1000, "commit": OTHER, "path": str(first)},
        {"name": "Zoo/zebra", "bytes": size, "commit": COMMIT, "path": str(second)},
    ]


def test_no_cache_is_no_models(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run(CACHED) == []
    (tmp_path / "hub").touch()
    assert run(CACHED) == []
    (tmp_path / "hub").unlink()
    (tmp_path / "hub").mkdir()
    assert run(CACHED) == []

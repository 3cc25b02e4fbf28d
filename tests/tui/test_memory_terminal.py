"""The whole program and the real figures: an 8B for orpo at max_length 4096 on a 12 GB card."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from backprop_tui.cli.run import DEMO
from tests.nvml import build_stub
from tests.tui.terminal import Terminal

POCKET = DEMO.with_name("pocket")
QUIT, F6 = "\x11", "\x1b[17~"
HIDDEN, INNER, KV, LAYERS, WORDS = 4096, 14336, 1024, 32, 128256
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": WORDS,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


def write_8b(folder: Path) -> Path:
    """A llama of eight billion parameters: its headers are real, its 16 GB are a hole in a file."""
    shapes = {"model.embed_tokens.weight": (WORDS, HIDDEN), "lm_head.weight": (WORDS, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in LAYER.items()}
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        start, end = end, end + 2 * rows * columns
        header[name] = {
            "dtype": "BF16", "shape": [rows, columns], "data_offsets": [start, end],
        }  # fmt: skip
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (POCKET / name).exists():
            shutil.copy(POCKET / name, folder / name)
    return folder


def write_long_pairs(path: Path) -> Path:
    """Pairs whose rows fill 4096 tokens; how long the answers are says nothing."""
    with path.open("w") as file:
        for n in range(120):
            sides = ("yes " * 400, "no " * 400)
            row = {"prompt": f"{n} " * 1500, "chosen": sides[0], "rejected": sides[1]}
            file.write(json.dumps(row) + "\n")
    return path


def exact(terminal: Terminal) -> None:
    """Until the child has computed the plan's own figure."""
    while "computing the exact figure" in terminal.text:
        assert terminal.read(), terminal.text


def test_an_8b_that_does_not_fit_twelve_gb_is_made_to_fit_by_one_key(tmp_path: Path) -> None:
    model = write_8b(tmp_path / "llama-8b")
    data = write_long_pairs(tmp_path / "pairs.jsonl")
    keys = {
        "method": "orpo",
        "model.id": model,
        "data.path": data,
        "data.max_length": 4096,
        "training.batch_size": 4,
        "training.accumulation": 4,
        "training.checkpointing": "true",
        "model.precision": "auto",
        "machine.device": "auto",
    }
    plan = [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]
    environment = build_stub(tmp_path, "one12")
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    terminal = Terminal(
        "backprop_tui", "demo", *plan, size=(36, 120), cwd=tmp_path, env=environment, seconds=60
    )
    terminal.until("RTX 3060")
    terminal.send("6")
    terminal.until("What fits, by max_length")
    terminal.until("does not fit: activations take")
    exact(terminal)
    terminal.until("✖ does not fit: activations take")
    terminal.until("would fit")
    terminal.until("f6\N{NO-BREAK SPACE}applies")
    terminal.send(F6)
    terminal.until("fits with")
    exact(terminal)
    terminal.until("✔ fits with")
    terminal.send(QUIT)
    terminal.until("Quit without saving?")
    terminal.send("y")
    assert terminal.finish() == 0
    assert "Traceback" not in terminal.raw

"""Run files and facts to judge, small and complete: a 7B model, a 16 GB card, 640 pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.facts import (
    DataFacts,
    Facts,
    Gpu,
    GpuFacts,
    GpuProcess,
    LengthBias,
    ModelFacts,
    Quantiles,
)
from backprop_tui.core.runfile import RunFile

MB, GB = 2**20, 2**30

CARD = Gpu(
    index=0,
    name="RTX 4060 Ti",
    memory_total=16 * GB,
    memory_used=GB // 2,
    memory_free=16 * GB - GB // 2,
    compute_capability=(8, 9),
    bf16=True,
    processes=(GpuProcess(pid=41, name="Xorg", memory=GB // 2),),
)
OLD_CARD = replace(CARD, name="Tesla P100", compute_capability=(6, 0), bf16=False)
ONE_CARD = GpuFacts(cards=(CARD,), driver="575.51", cuda="12.9")
NO_CARD = GpuFacts(problem="no NVIDIA driver")

LLAMA_8B = ModelFacts(
    name="meta-llama/Llama-3.1-8B-Instruct",
    source="cache",
    architecture="LlamaForCausalLM",
    parameters=8_030_261_248,
    layers=32,
    hidden=4096,
    intermediate=14336,
    heads=32,
    kv_heads=8,
    vocabulary=128256,
    context=131072,
)
SMALL = replace(
    LLAMA_8B,
    name="tiny",
    parameters=2_800_000,
    layers=4,
    hidden=192,
    intermediate=512,
    heads=4,
    kv_heads=4,
    vocabulary=4096,
    context=512,
)

PAIRS = DataFacts(
    name="pairs.jsonl",
    path="/data/pairs.jsonl",
    format="jsonl",
    shape="paired",
    layout="prompt, chosen, rejected",
    columns=("prompt", "chosen", "rejected"),
    rows=640,
    kept=640,
)
MARKS = replace(
    PAIRS,
    name="marks.jsonl",
    shape="unpaired",
    layout="prompt, completion, label",
    columns=("prompt", "completion", "label"),
    labels={True: 340, False: 300},
)
CHATS = replace(PAIRS, name="chats.jsonl", shape="sft", layout="messages", columns=("messages",))
UNKNOWN = replace(
    PAIRS, name="table.csv", shape="other", layout="", advice="Columns a, b: no text to train on."
)

# The least a run file names; everything else is a default.
PLAN: dict[str, Any] = {
    "method": "orpo",
    "model": {"id": "some/model"},
    "data": {"path": "some.jsonl"},
    "lora": {},
}


def run_file(changes: Mapping[str, Any] | None = None, method: str = "orpo") -> RunFile:
    """A valid run file of the method, with some keys changed."""
    return runfile_io.change(runfile_io.parse({**PLAN, "method": method}), dict(changes or {}))


def bias(longer: int, shorter: int, *, ratio: float = 1.0, p_value: float = 0.5) -> LengthBias:
    """A sample in which chosen is longer and shorter so many times."""
    return LengthBias(
        pairs=longer + shorter,
        chosen_longer=longer,
        chosen_shorter=shorter,
        equal=0,
        ratio=ratio,
        p_value=p_value,
    )


def lengths(p50: int, p90: int) -> Quantiles:
    """Token lengths of one side."""
    return Quantiles(p50=p50, p90=p90, p99=p90, max=p90, mean=float(p50))


def facts(
    data: DataFacts | None = PAIRS,
    model: ModelFacts | None = LLAMA_8B,
    gpu: GpuFacts | None = ONE_CARD,
    card: int = 0,
) -> Facts:
    """What is there, everything known and nothing to warn about."""
    return Facts(gpu=gpu, model=model, data=data, card=card)

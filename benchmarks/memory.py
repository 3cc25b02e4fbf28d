"""Predicted against real peak memory, on a CPU, over a grid of plans.

    python -m benchmarks.memory [--write] [--quick]

Predicted: `train/memory`, from the config alone, as the wizard and `check` say it. Real: the same
trainer on real tensors, built, checked and taking two optimizer steps: what the CPU allocator gave
out and took back (torch.profiler's memory events), and the model beside it. Rows differ in length,
so batches are packed or padded as the engine makes them. Every method x precision x checkpointing;
the three models and two lengths take turns. --quick: one run of each method.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from backprop_tui.core.memory_question import MemoryQuestion

RESULTS = Path(__file__).parent / "results"
DEEP = 10  # layers: more than are rehearsed
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": DEEP,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 8192,
    "tie_word_embeddings": False,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, "model_type": "llama"},
    "qwen3": {**SHAPE, "model_type": "qwen3", "head_dim": 64, "tie_word_embeddings": True},
    "gemma2": {
        **SHAPE,
        "model_type": "gemma2",
        "head_dim": 64,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * (DEEP // 2),
        "tie_word_embeddings": True,
    },
}
LLAMA_70B = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
METHODS = ("sft", "orpo", "simpo", "kto", "dpo")
CHECKPOINTING = {0: "off", 1: "on", 2: "every 2"}
# (prompt, answers) of the heaviest batch, tokens.
LENGTHS = {256: ((96, 160, 120), (130, 60, 90)), 768: ((400, 368, 200), (120, 300, 410))}
HEADER = "| model | method | precision | checkpointing | longest row | predicted | real | error |"


def grid(*, quick: bool = False) -> Iterator[tuple[str, int, MemoryQuestion]]:
    """Model, longest row and question of each run."""
    turns = zip(itertools.cycle(MODELS), itertools.cycle((256, 768, 768, 256)))
    settings = itertools.product(METHODS, ("bf16", "nf4"), CHECKPOINTING)
    for (method, precision, every), (model, longest) in zip(settings, turns, strict=False):
        if quick and (precision, every) != ("nf4", 1):
            continue
        rows: tuple[tuple[int, ...], ...] = LENGTHS[longest]
        if method in ("sft", "kto"):
            rows = tuple(row[:2] for row in rows)
        yield (
            model,
            longest,
            MemoryQuestion(
                config=json.dumps(MODELS[model]),
                method=method,
                engine="lean",
                precision=precision,
                lora=(8, "all-linear"),
                checkpoint_every=every,
                optimizer="adamw",
                rows=rows,
                max_length=longest,
                batch_tokens=None,
                accumulates=every == 1,
                on_card=False,
            ),
        )


def real_peak(asked: MemoryQuestion) -> int:
    """Bytes: the model, and the most that two steps of training hold beside it."""
    from torch.profiler import ProfilerActivity, profile

    from backprop_tui.train.memory.fakes import quantisation_state
    from backprop_tui.train.memory.stage import built

    model = _loaded(asked)
    there = [*model.parameters(), *model.buffers(), *quantisation_state(model)]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in there}
    gc.collect()
    with (
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched,
        built(asked, model, steps=2, accumulation=1 + asked.accumulates) as trainer,
    ):
        trainer.train()
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    changes = (int(event.nbytes()) for event in events)
    return int(sum(storages.values()) + max(itertools.accumulate(changes)))


def _loaded(asked: MemoryQuestion) -> Any:
    """A model with random weights, loaded from a folder as a run loads one."""
    import torch
    from transformers import AutoModelForCausalLM

    from backprop_tui.train.memory.fakes import config_of
    from backprop_tui.train.model import quantisation

    torch.manual_seed(0)
    dtype = torch.float32 if asked.precision == "fp32" else torch.bfloat16
    options: dict[str, Any] = {}
    if asked.precision in ("nf4", "int8"):
        options["quantization_config"] = quantisation(asked.precision, dtype)
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(json.loads(asked.config))
        made = AutoModelForCausalLM.from_config(config, dtype=dtype)
        made.save_pretrained(folder)
        del made
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    model.config.use_cache = False
    return model


def measured(*, quick: bool = False) -> Iterator[tuple[str, float]]:
    """A line of the table and its error, run by run."""
    from backprop_tui.train.memory.estimate import answer

    for model, longest, asked in grid(quick=quick):
        found, real = answer(asked), real_peak(asked)
        if found.parts is None:
            raise SystemExit(f"{model} {asked.method}: {found.why}")
        error = found.tensors / real - 1
        cells = (
            model,
            asked.method,
            asked.precision,
            CHECKPOINTING[asked.checkpoint_every],
            str(longest),
            f"{found.tensors / 2**20:.2f} MiB",
            f"{real / 2**20:.2f} MiB",
            f"{error:+.2%}".replace("%", " %"),
        )
        yield f"| {' | '.join(cells)} |", error


def largest() -> str:
    """What an answer for a 70B model costs: a new child process, nothing kept."""
    from backprop_tui.probe.memory import MemoryOracle

    _, _, first = next(grid())
    asked = replace(
        first,
        config=json.dumps(LLAMA_70B),
        method="orpo",
        precision="nf4",
        checkpoint_every=1,
        optimizer="paged_adamw_8bit",
        rows=((1024, 1024, 1024),),
        max_length=2048,
        accumulates=True,
        on_card=True,
    )
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        start = time.perf_counter()
        with MemoryOracle() as oracle:
            found = oracle.ask(asked)
        seconds = time.perf_counter() - start
    held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return (
        f"A 70B config (nf4, orpo, 2,048 tokens a side): {found.tensors / 2**30:.1f} GiB of "
        f"tensors, told in {seconds:.1f} s by a process of {held / 2**30:.2f} GiB."
    )


def main() -> None:
    """Print the table, the largest error, and what the answer for a large model costs."""
    parser = argparse.ArgumentParser(description="Predicted against real peak memory, on a CPU.")
    parser.add_argument("--write", action="store_true", help="keep it in benchmarks/results")
    parser.add_argument("--quick", action="store_true", help="one run a method")
    options = parser.parse_args()
    large = largest()
    print(large, "", sep="\n")
    lines = [HEADER, "|---|---|---|---|---|---|---|---|"]
    print(*lines, sep="\n")
    errors: list[float] = []
    for line, error in measured(quick=options.quick):
        print(line, flush=True)
        lines.append(line)
        errors.append(abs(error))
    worst = f"{len(errors)} runs, largest error {max(errors):.2%}".replace("%", " %")
    print(worst)
    if options.write:
        today = date.today().isoformat()
        said = f"Measured {today} on a CPU, `python -m benchmarks.memory --write`: {worst}."
        text = "\n".join((said, "", *lines, "", large, ""))
        (RESULTS / f"memory-{today}-cpu.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()

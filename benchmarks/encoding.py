"""Pairs to token ids: ours against how TRL's ORPO trainer prepares the same pairs.

The pairs are made here, the same each time. TRL's side is its trainer's own code in two
processes: the time of building the trainer on all pairs, less that of building it on two. Ours
is one call of `Encoder.encode` and the data set made of it. Each side runs in fresh processes,
alternating.

usage: python benchmarks/encoding.py [--rows 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MAX_LENGTH = 1024
PROCESSES = 2
SYLLABLES = (
    *("ra", "in", "ga", "den", "fal", "ls", "on", "gre", "en", "lea", "ves", "bre", "ad", "ba"),
    *("ked", "slo", "wly", "co", "ld", "ni", "ght", "hi", "lls", "ü", "漢"),
)


def main() -> None:
    """Print two rows of a Markdown table, and whether the tokens agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        seconds, tokens = (ours if options.side == "ours" else trl)(options.rows)
        options.out.write_text(json.dumps([seconds, tokens]))
        return
    times: dict[str, list[float]] = {"ours": [], "trl": []}
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        for _ in range(options.rounds):
            for side, spent in times.items():
                seconds, found[side] = measured(side, options.rows, out)
                spent.append(seconds)
    medians = {side: statistics.median(spent) for side, spent in times.items()}
    print("| what | measured | goal |\n|---|---|---|")
    print(
        f"| tokenising and guarding {options.rows:,} pairs | {medians['ours']:.1f} s, "
        f"{medians['trl'] / medians['ours']:.1f} times as fast as TRL's ORPO trainer with "
        f"{PROCESSES} processes ({medians['trl']:.1f} s) | 2 times |"
    )
    compare(found["ours"], found["trl"])


def measured(side: str, rows: int, out: Path) -> tuple[float, list[Any]]:
    """One side in a fresh process: its seconds, and each row's ids."""
    words = [sys.executable, __file__, "--side", side, "--rows", str(rows), "--out", str(out)]
    quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment = {**os.environ, **quiet, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds, tokens = json.loads(out.read_text())
    return seconds, tokens


def ours(n: int) -> tuple[float, list[Any]]:
    """Seconds, and prompt, chosen and rejected ids of each pair that is left."""
    from backprop_tui.train.batches import Encoder
    from backprop_tui.train.columns import paired_dataset

    rows = pairs(n)
    tokenizer = pocket_tokenizer()
    begun = time.perf_counter()
    encoding = Encoder(tokenizer, MAX_LENGTH).encode(rows)
    paired_dataset(encoding.rows)
    seconds = time.perf_counter() - begun
    assert len(encoding.rows) + encoding.dropped.total() == n
    return seconds, [[row.number, row.prompt, row.chosen, row.rejected] for row in encoding.rows]


def trl(n: int) -> tuple[float, list[Any]]:
    """The same from TRL."""
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from backprop_tui.probe.model import probe_model

    disable_progress_bars()
    tokenizer = pocket_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(probe_model("pocket").path)

    def build(rows: list[Any]) -> tuple[float, Any]:
        columns = [
            {
                "number": row.number,
                **{
                    name: [{"role": m.role, "content": m.content} for m in getattr(row, name)]
                    for name in ("prompt", "chosen", "rejected")
                },
            }
            for row in rows
        ]
        given = Dataset.from_list(columns)
        with tempfile.TemporaryDirectory() as folder:
            arguments = ORPOConfig(
                output_dir=folder,
                max_length=MAX_LENGTH,
                dataset_num_proc=PROCESSES,
                use_cpu=True,
                bf16=False,
                report_to=[],
                disable_tqdm=True,
            )
            begun = time.perf_counter()
            trainer = ORPOTrainer(
                model=model, args=arguments, train_dataset=given, processing_class=tokenizer
            )
            return time.perf_counter() - begun, trainer.train_dataset

    few, _ = build(pairs(PROCESSES))
    seconds, prepared = build(pairs(n))
    found = []
    for row in prepared:
        sides = [
            [
                i
                for i, label in zip(row[f"{side}_input_ids"], row[f"{side}_labels"], strict=True)
                if label != -100
            ]
            for side in ("chosen", "rejected")
        ]
        prompt = len(row["chosen_input_ids"]) - len(sides[0])
        found.append([row["number"], row["chosen_input_ids"][:prompt], *sides])
    return seconds - few, found


def pocket_tokenizer() -> Any:
    """The pocket model's."""
    from transformers import AutoTokenizer

    from backprop_tui.probe.model import probe_model

    return AutoTokenizer.from_pretrained(probe_model("pocket").path)


def pairs(n: int) -> list[Any]:
    """Pairs of some 500 of the pocket model's tokens; one in five has earlier turns, and the
    prompt of one in fifty is too long."""
    from backprop_tui.core.rows import Message, Pair

    chance = random.Random(0)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(20_000)]
    often = [1 / (place + 1) for place in range(len(words))]
    heap = chance.choices(words, often, k=200_000)

    def text(mean: int) -> str:
        length = max(1, round(chance.lognormvariate(0, 0.6) * mean))
        start = chance.randrange(len(heap) - length)
        return " ".join(heap[start : start + length]) + "."

    made = []
    for number in range(n):
        turns = [Message("user", text(30 if number % 50 else 600))]
        if number % 5 == 0:
            turns = [Message("system", text(10)), *turns, Message("assistant", text(40))]
            turns.append(Message("user", text(20)))
        chosen, rejected = ((Message("assistant", text(40)),) for _ in range(2))
        made.append(Pair(number, tuple(turns), chosen, rejected))
    return made


def compare(ours: list[Any], trl: list[Any]) -> None:
    """Say on how many pairs the ids are the same, and what is different about the others."""
    kept = {number: row for number, *row in ours}
    same = too_long = other = 0
    for number, *row in trl:
        if kept.get(number) == row:
            same += 1
        elif len(row[0]) + max(map(len, row[1:])) >= MAX_LENGTH:
            too_long += 1  # TRL cut the answer; here the prompt was cut, or the pair dropped
        else:
            other += 1
    print(
        f"\nThe same ids for {same:,} of {len(trl):,} pairs; {too_long:,} are too long, where TRL "
        f"cuts the answer; {other:,} differ otherwise."
    )
    if other:
        raise SystemExit("The tokens differ where TRL is right.")


if __name__ == "__main__":
    main()

"""The figures for large data sets: first facts of a JSONL, and a scan of it against `datasets`.

usage: python benchmarks/data_scale.py [--rows 1000000] [--rounds 3]

A million rows are 1 GB; twice that is needed on disk for the cache of `datasets`. Every figure
is of a fresh process, its imports included; the two sides of the ratio take turns.
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

WORDS = 44  # of an answer; a prompt has half as many, so that a row is 1 KB

FIRST_FACTS = """
from backprop_tui.probe.data import DataSource, describe, glance
facts = describe(glance(DataSource({path!r})))
print(facts.rows, facts.exact)
"""
SCAN = """
from backprop_tui.probe.data import DataSource, describe, scan
facts = describe(scan(DataSource({path!r})))
print(facts.rows, facts.exact)
"""
DATASETS = """
import datasets
print(len(datasets.load_dataset("json", data_files={path!r}, split="train", cache_dir={cache!r})))
"""


def main() -> None:
    """Measure and print rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "pairs.jsonl"
        write(path, options.rows)
        size = f"{options.rows:,} rows, {path.stat().st_size / 1e9:.2f} GB"
        first_facts(path, options.rows, options.rounds, size)
        scan(path, options.rows, options.rounds, size)


def write(path: Path, rows: int) -> None:
    """Pairs of words; each row its own."""
    chance = random.Random(0)
    # Slices of one long text: quick to make, and no two rows alike.
    words = [f"word{chance.randrange(5000)}" for _ in range(200_000)]
    with path.open("w") as file:
        for i in range(rows):
            row = {
                name: f"{i} " + " ".join(words[at : at + WORDS // (2 if name == "prompt" else 1)])
                for name in ("prompt", "chosen", "rejected")
                for at in (chance.randrange(len(words) - WORDS),)
            }
            file.write(json.dumps(row) + "\n")


def first_facts(path: Path, rows: int, rounds: int, size: str) -> None:
    """Wall time and peak memory of the first look."""
    times, memory = [], 0
    for _ in range(rounds + 1):
        seconds, peak, said = run(FIRST_FACTS.format(path=str(path)))
        times.append(seconds)
        memory = max(memory, peak)
    off = abs(int(said.split()[0]) / rows - 1)
    print(
        f"| first facts ({size}) | {statistics.median(times[1:]):.2f} s, {memory >> 20} MB, "
        f"row count off by {off:.2%} | 1.5 s, 300 MB |"
    )


def scan(path: Path, rows: int, rounds: int, size: str) -> None:
    """The exact scan against `datasets` with a cold cache, in turn."""
    ours, theirs, memory = [], [], 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=path.parent) as cache:
            code = DATASETS.format(path=str(path), cache=cache)
            seconds, _, said = run(code, HF_HUB_OFFLINE="1")
        assert int(said) == rows
        theirs.append(seconds)
        seconds, peak, said = run(SCAN.format(path=str(path)))
        assert said.split() == [str(rows), "True"]
        ours.append(seconds)
        memory = max(memory, peak)
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(
        f"| exact scan ({size}) | {statistics.median(ours):.2f} s, {memory >> 20} MB a process; "
        f"`datasets` {statistics.median(theirs):.2f} s: {ratio:.1f} times as fast | 3 times |"
    )


def run(code: str, **environment: str) -> tuple[float, int, str]:
    """(wall seconds, largest resident size of it or a child in bytes, what it printed)."""
    report = (
        "\nimport resource, sys\n"
        "peak = max(resource.getrusage(who).ru_maxrss for who in "
        "(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))\n"
        "print(peak * 1024, file=sys.stderr)"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    seconds = time.perf_counter() - begun
    return seconds, int(done.stderr.split()[-1]), done.stdout.strip()


if __name__ == "__main__":
    main()

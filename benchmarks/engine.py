"""The lean engine against stock TRL on a CPU: pairs per second and peak bytes, as ratios.

usage: python -m benchmarks.engine [--quick] [--methods orpo,kto] [--vocab 32k] [--profiles short]
           [--rounds 2] [--steps 0] [--threads N] [--clock wall] [--json PATH] [--write]
       python -m benchmarks.engine --profile METHOD

Both engines train models with random weights and the same rows, in one process, batch by batch in
turn, so that whatever else the machine does hits both. The first pass over the rows warms up and
is watched for its peak of tensor bytes; the medians are of the passes after it. A pass is an
epoch: the lean engine's reference log-probabilities, measured once for a whole run, are counted
in every one. For kto a batch of four pairs is their eight answers.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import engine_machine
from benchmarks.engine_data import MAX_LENGTH, PROFILES, padding, sample
from benchmarks.engine_goals import Measured, compare, memory_table, speed_table
from benchmarks.engine_models import SMALL, TINY, Shape
from benchmarks.engine_sides import Setting, Side, rows_for

METHODS = ("orpo", "simpo", "kto", "dpo")
SMALLER, LARGE = "32k", "128k"
VOCABULARIES = {SMALLER: 32_000, LARGE: 128_000}
# Free memory that stock needs for four pairs at the large vocabulary.
ROOM = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows and settings that are measured together. both: also without checkpointing. most: timed
    rounds, where a step takes very long."""

    profile: str
    batch: int
    batches: int
    vocabulary: str = SMALLER
    both: bool = False
    most: int = 100


CELLS = (
    Cell("ultrafeedback", 4, 1, both=True),
    Cell("ultrafeedback", 1, 3),
    Cell("long-prompt", 4, 1),
    Cell("short", 4, 3, both=True),
    Cell("ultrafeedback", 4, 1, LARGE, most=1),
)
QUICK = (Cell("short", 4, 1, both=True),)


def main() -> None:
    """Measure, print, and write what was asked for."""
    options = arguments()
    engine_machine.quiet()
    import torch

    torch.set_num_threads(options.threads)
    if options.profile:
        profile(options.profile)
        return
    begun = time.perf_counter()
    found = [
        one
        for cell in (QUICK if options.quick else CELLS)
        if cell.profile in options.profiles and cell.vocabulary in options.vocab
        for method in options.methods
        for one in measure(cell, method, options)
    ]
    report(found, options, time.perf_counter() - begun)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--methods", default=list(METHODS), type=engine_machine.listed)
    parser.add_argument("--vocab", default=list(VOCABULARIES), type=engine_machine.listed)
    parser.add_argument("--profiles", default=list(PROFILES), type=engine_machine.listed)
    parser.add_argument("--rounds", type=int, default=2, help="timed; 0: peak bytes alone")
    parser.add_argument("--steps", type=int, default=0, help="batches a pass; 0: as many as need")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: where others use the machine"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results")
    parser.add_argument("--profile", choices=METHODS, help="where one lean step spends its time")
    return parser.parse_args()


def measure(cell: Cell, method: str, options: argparse.Namespace) -> list[Measured]:
    """Each engine at each setting of one cell."""
    shape = TINY if options.quick else replace(SMALL, vocab_size=VOCABULARIES[cell.vocabulary])
    batch, batches = cell.batch, options.steps or cell.batches
    most = 256 if options.quick else MAX_LENGTH
    lengths = sample(PROFILES[cell.profile](most), batch, batch * batches)
    on = [(engine, True) for engine in ("trl", "lean")]
    settings = [
        Setting(engine, method, shape, batch, checkpointing, max_length=most)
        for engine, checkpointing in on + ([(name, False) for name, _ in on] if cell.both else [])
    ]
    blank = [
        Measured(
            method, shape.vocab_size, cell.profile, cell.batch, one.engine, one.checkpointing, 0
        )
        for one in settings
    ]
    if cell.vocabulary == LARGE and not options.quick and free_memory() < ROOM:
        print(f"{method}, {cell.vocabulary}: left out, less than {ROOM >> 30} GiB are free")
        return []
    say(f"{method}, {cell.vocabulary}, {cell.profile}, batch {batch}", lengths, batch)
    rows = rows_for(method, lengths, shape.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(setting, rows, Path(folder)) for setting in settings]
        peaks = [side.watched_epoch() for side in sides]
        rounds = [interleaved(sides, options.clock) for _ in range(min(options.rounds, cell.most))]
        for side in sides:
            side.release()
    found = []
    for i, one in enumerate(blank):
        times = tuple(spent[i] for spent in rounds)
        speed = len(lengths) / statistics.median(times) if times else 0.0
        before, peak = peaks[i]
        found.append(
            replace(
                one,
                pairs=len(lengths),
                seconds=times,
                pairs_per_second=speed,
                before=before,
                peak=peak,
            )
        )
        print(f"  {settings[i].name}: {speed:.3g} pairs/s, {peak / 2**20:,.0f} MiB", flush=True)
    return found


def interleaved(sides: list[Side], clock: str) -> list[float]:
    """Seconds of one pass of each side, a batch of each in turn."""
    spent = [0.0] * len(sides)
    passes: list[Iterator[tuple[float, float]]] = [side.epoch() for side in sides]
    for turn in itertools.zip_longest(*passes, fillvalue=(0.0, 0.0)):
        for i, (wall, cpu) in enumerate(turn):
            spent[i] += wall if clock == "wall" else cpu
    return spent


def say(what: str, lengths: Any, batch: int) -> None:
    """What is being measured, and the padding it has: what the ratio can be explained with."""
    print(f"{what}: {len(lengths)} pairs, {padding(lengths, batch):.2f}x tokens padded", flush=True)


def free_memory() -> int:
    """Bytes."""
    import psutil

    return int(psutil.virtual_memory().available)


def report(found: list[Measured], options: argparse.Namespace, seconds: float) -> None:
    """Tables, and files where they were asked for."""
    import json

    from backprop_tui.core.runfile import RunFile

    compared = compare(found, default=RunFile().training.checkpointing)
    machine = engine_machine.machine()
    met = [one.as_json() for one in compared]
    text = "\n".join(
        [
            "# The lean engine against stock TRL, on a CPU",
            "",
            f"{engine_machine.today()}. {engine_machine.words(machine)}. "
            f"{options.rounds} rounds, {options.clock} clock, {seconds / 60:.0f} minutes.",
            "`python -m benchmarks.engine` makes this page; it says there what is compared.",
            "",
            "## Speed",
            "",
            speed_table(compared),
            "",
            "## Peak bytes of tensors",
            "",
            memory_table(compared),
            "",
        ]
    )
    print(f"\n{text}")
    values = {
        "date": engine_machine.today(),
        "machine": machine,
        "rounds": options.rounds,
        "clock": options.clock,
        "quick": options.quick,
        "compared": met,
    }
    if options.json:
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.write:
        engine_machine.write(f"engine-{engine_machine.today()}-cpu", text, values)


def profile(method: str, shape: Shape = SMALL) -> None:
    """The operations that one lean step spends its time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    lengths = sample(PROFILES["ultrafeedback"](MAX_LENGTH), 4, 8)
    setting = Setting("lean", method, shape, 4)
    with tempfile.TemporaryDirectory() as folder:
        side = Side(setting, rows_for(method, lengths, shape.vocab_size), Path(folder))
        list(side.epoch())
        with recorded(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
            list(side.epoch())
    for by_shape, limit in ((False, 20), (True, 25)):
        table = record.key_averages(group_by_input_shape=by_shape)
        options = {"sort_by": "self_cpu_time_total", "max_name_column_width": 40}
        print(table.table(row_limit=limit, max_shapes_column_width=60, **options))


if __name__ == "__main__":
    main()

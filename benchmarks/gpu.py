"""The lean engine against stock TRL on a CUDA card: memory, speed and gradients, as ratios.

usage: python -m benchmarks.gpu [--minutes 10] [--methods orpo,dpo] [--models 8b-nf4,1b-bf16]
           [--batch 4] [--batches 3] [--card-gib 16] [--json PATH] [--write]
       python -m benchmarks.gpu --memory [--minutes 10] [--write]
       python -m benchmarks.gpu [--memory] --tiny --cpu

With --memory: what is said of a plan's memory against what the card really reserves.

Models have the sizes of Llama 3.1 8B and 3.2 1B and random weights, so nothing is downloaded.
What matters most comes first; what the minutes do not suffice for is left out, and said. Running
out of memory is a result. Files are written after every cell, so an end from outside loses little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import engine_machine
from benchmarks.engine_cells import Base, Budget, check_gradients, measure
from benchmarks.engine_data import MAX_LENGTH, PROFILES, sample
from benchmarks.engine_models import EIGHT_BILLION, ONE_BILLION, TINY
from benchmarks.engine_outcomes import Outcome, table
from benchmarks.engine_sides import Setting

MODELS = {
    "8b-nf4": (EIGHT_BILLION, "nf4"),
    "1b-bf16": (ONE_BILLION, "bf16"),
}
TINY_MODELS = {"8b-nf4": (replace(TINY, num_hidden_layers=1), "nf4"), "1b-bf16": (TINY, "fp32")}
METHODS = ("orpo", "dpo", "kto", "simpo")  # the most important first
ENGINES = ("lean", "trl")
FIRST_MODEL = 0.65  # of the minutes: the rest is for the others
NO_CARD = 2  # exit code


def main() -> None:
    """Measure what there is time for."""
    options = arguments()
    engine_machine.quiet()
    # Bytes that lie between blocks in use count as taken: keep them few.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    if not options.cpu and not torch.cuda.is_available():
        print("No CUDA card that torch can use: nothing was measured.", file=sys.stderr)
        raise SystemExit(NO_CARD)
    if options.card_gib and not options.cpu:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.card_gib * 2**30 / total))
    budget = Budget(options.minutes * 60)
    if options.memory:
        from benchmarks import gpu_memory

        cells = gpu_memory.measure(options, budget)
        print(f"\n{gpu_memory.page(cells, options, budget)}")
        return
    found: list[Outcome] = []
    for number, name in enumerate(options.models):
        until = FIRST_MODEL if number == 0 and len(options.models) > 1 else 1.0
        measure_model(name, options, budget, until, found)
    print(f"\n{page(found, options, budget)}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--methods", type=engine_machine.listed)
    parser.add_argument("--models", default=list(MODELS), type=engine_machine.listed)
    parser.add_argument("--batch", type=int, default=4, help="pairs; kto: both answers of each")
    parser.add_argument("--batches", type=int, default=3, help="of a pass")
    parser.add_argument("--card-gib", type=float, help="use no more of the card, as if smaller")
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--memory", action="store_true", help="predicted against reserved")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--cpu", action="store_true", help="without a card; no memory figures")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results")
    options = parser.parse_args()
    if options.methods is None:
        options.methods = ["sft", *METHODS] if options.memory else list(METHODS)
    return options


def measure_model(
    name: str, options: argparse.Namespace, budget: Budget, until: float, found: list[Outcome]
) -> None:
    """Every method and engine on one model, which is built once."""
    shape, precision = (TINY_MODELS if options.tiny else MODELS)[name]
    if not budget.allows(f"{name}: building it", until):
        return
    most = 96 if options.tiny else MAX_LENGTH
    setting = Setting(
        engine="lean",
        method="orpo",
        shape=shape,
        batch=options.batch,
        checkpointing=not options.no_checkpointing,
        precision=precision,  # type: ignore[arg-type]
        device="cpu" if options.cpu else "cuda",
        max_length=most,
    )
    with budget.timed(f"{name}: building it"):
        base = Base(setting)
        base.get()
    lengths = sample(
        PROFILES["ultrafeedback"](most), options.batch, options.batch * options.batches
    )
    with tempfile.TemporaryDirectory() as folder:
        for method in options.methods:
            for engine in ENGINES:
                if budget.allows(f"{name}: {method}, {engine}", until):
                    one = replace(setting, engine=engine, method=method)
                    with budget.timed(f"{name}: {method}, {engine}"):
                        found.append(measure(name, one, base, lengths, Path(folder)))
                    save(found, options, budget)
            if budget.allows(f"{name}: {method}, gradients", until):
                with budget.timed(f"{name}: {method}, gradients"):
                    one = replace(setting, method=method)
                    found.append(check_gradients(name, one, base, lengths[:2], Path(folder)))
                save(found, options, budget)
    base.drop()


def page(found: list[Outcome], options: argparse.Namespace, budget: Budget) -> str:
    """Everything measured so far, as Markdown."""
    limit = f" No more than {options.card_gib:g} GiB of it were used." if options.card_gib else ""
    skipped = "".join(f"\n- {text}" for text in budget.skipped)
    return (
        "# The lean engine against stock TRL, on a card\n\n"
        f"{engine_machine.today()}. {engine_machine.words(engine_machine.machine())}.{limit} "
        f"Batch {options.batch}, checkpointing {'off' if options.no_checkpointing else 'on'}, "
        f"{budget.spent / 60:.1f} minutes. `python -m benchmarks.gpu` makes this page.\n\n"
        f"{table(found)}\n" + (f"\nLeft out:\n{skipped}\n" if skipped else "")
    )


def save(found: list[Outcome], options: argparse.Namespace, budget: Budget) -> None:
    """Write what there is."""
    values = {
        "date": engine_machine.today(),
        "machine": engine_machine.machine(),
        "batch": options.batch,
        "checkpointing": not options.no_checkpointing,
        "card_gib": options.card_gib,
        "tiny": options.tiny,
        "skipped": budget.skipped,
        "outcomes": [asdict(one) for one in found],
    }
    if options.json:
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.write:
        card = engine_machine.slug(values["machine"].get("card", "cpu"))
        size = f"-{options.card_gib:g}gib" if options.card_gib else ""
        name = f"gpu-{engine_machine.today()}-{card}{size}"
        engine_machine.write(name, page(found, options, budget), values)


if __name__ == "__main__":
    main()

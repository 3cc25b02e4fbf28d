"""What 30 % of labels turned round do: the pocket model trained on both sets, measured on one.

usage: python -m benchmarks.labelflip [--steps 180] [--rate 1e-3] [--rows 0] [--json PATH] [--write]

The files are `ultrafeedback_str_train.jsonl`, its twin `…_labelflip30.jsonl` with 300 of 1,000
pairs turned round, and `…_eval.jsonl` with 200 other prompts, in ../shared/data. Both runs have the
same settings and the same seed. The difference of their accuracies is resampled over the same
examples, and reported whatever it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import engine_machine

DATA = Path(__file__).parents[2] / "shared" / "data"
CLEAN, FLIPPED = "ultrafeedback_str_train.jsonl", "ultrafeedback_str_labelflip30.jsonl"
EVAL = "ultrafeedback_str_eval.jsonl"
METRICS = ("accuracy", "accuracy_sum", "margin", "margin_sum")


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of the run on clean labels, of the one on turned labels, of the untrained model;
    difference: clean - flipped, with its 95 % interval over n examples."""

    name: str
    clean: float
    flipped: float
    base: float
    difference: float
    low: float
    high: float
    n: int


def main() -> None:
    """Train both, measure, print, and write what was asked for."""
    options = arguments()
    if not DATA.is_dir():
        print("the shared data is not here: nothing was measured")
        return
    engine_machine.quiet()
    import torch

    torch.set_num_threads(1)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(Path(folder), steps=options.steps, rate=options.rate, rows=options.rows)
    report(found, options, time.perf_counter() - begun)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=180, help="of 8 pairs each")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--rows", type=int, default=0, help="of each file; 0: all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results")
    return parser.parse_args()


def compared(folder: Path, *, steps: int, rate: float, rows: int = 0) -> list[Compared]:
    """Both runs, made in the folder, and every metric of the two."""
    from backprop_tui.core.scores import right
    from backprop_tui.probe.data import DataSource
    from backprop_tui.train.evals.bootstrap import bootstrap, mean_difference
    from backprop_tui.train.evals.evaluate import Asked, evaluate
    from backprop_tui.train.evals.score import as_pair
    from backprop_tui.train.evals.subject import run_subject

    measured = DataSource(str(some(folder, EVAL, rows)))
    results = {}
    for name in (CLEAN, FLIPPED):
        run = trained(folder / Path(name).stem, some(folder, name, rows), steps, rate)
        results[name] = evaluate(run_subject(run), measured, Asked())
    clean, flipped = ({one.name: one for one in results[name].figures} for name in results)
    scores = [results[name].scores["tuned"] for name in (CLEAN, FLIPPED)]
    same = [number for number in scores[0] if number in scores[1]]
    pairs = [[as_pair(side[number]) for number in same] for side in scores]
    found = []
    for name in METRICS:
        way = "margin" if name.endswith("_sum") else "margin_per_token"
        values = [[float(getattr(one, way)) for one in side] for side in pairs]
        if name.startswith("accuracy"):
            values = [[right(one) for one in side] for side in values]
        low, high = bootstrap(values, mean_difference)
        ours, theirs = clean[name].tuned, flipped[name].tuned
        found.append(
            Compared(
                name, ours, theirs, clean[name].base or 0.0, ours - theirs, low, high, len(same)
            )
        )
    return found


def some(folder: Path, name: str, rows: int) -> Path:
    """The file, or its first rows as a file of their own."""
    if not rows:
        return DATA / name
    lines = (DATA / name).read_text(encoding="utf-8").splitlines(keepends=True)[:rows]
    (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder / name


def trained(output: Path, data: Path, steps: int, rate: float) -> Path:
    """The pocket model tuned on a file; its run folder."""
    from backprop_tui.core import runfile_io
    from backprop_tui.core.control import Control
    from backprop_tui.core.events import Finished
    from backprop_tui.train.runner import train

    run = runfile_io.parse(
        {
            "method": "simpo",
            "output": str(output),
            "model": {"id": "pocket", "precision": "fp32"},
            "data": {
                "path": str(data),
                "max_length": 256,
                "cut_answers": True,
                "heldout": 0.0,
            },
            "lora": {"rank": 16},
            "training": {
                "learning_rate": rate,
                "lr_clamp": False,
                "max_steps": steps,
                "batch_size": 8,
                "accumulation": 1,
                "checkpointing": False,
            },
            "machine": {"device": "cpu"},
        }
    )
    ending = train(run, lambda _event: None, Control())
    if not isinstance(ending, Finished):
        raise SystemExit(f"{data.name}: {ending.message}")
    return output


def report(found: list[Compared], options: argparse.Namespace, seconds: float) -> None:
    """A table, and files where they were asked for."""
    machine = engine_machine.machine()
    lines = [
        "# 30 % of the labels turned round: what the tuned model prefers afterwards",
        "",
        f"{engine_machine.today()}. {engine_machine.words(machine)}. {options.steps} steps of 8 "
        f"pairs at {options.rate:g}, {seconds / 60:.0f} minutes.",
        "`python -m benchmarks.labelflip` makes this page; it says there what is compared.",
        "",
        "| metric | untrained | clean | 30 % turned | clean - turned | 95 % interval | pairs |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.base:.3f} | {one.clean:.3f} | {one.flipped:.3f} "
            f"| {one.difference:+.3f} | {one.low:+.3f} to {one.high:+.3f} | {one.n} |"
            for one in found
        ),
        "",
        words(found[0]),
        "",
    ]
    text = "\n".join(lines)
    print(f"\n{text}")
    values: dict[str, Any] = {
        "date": engine_machine.today(),
        "machine": machine,
        "steps": options.steps,
        "rows": options.rows,
        "compared": [asdict(one) for one in found],
    }
    if options.json:
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.write:
        engine_machine.write(f"labelflip-{engine_machine.today()}-cpu", text, values)


def words(one: Compared) -> str:
    """What the interval of the difference says."""
    moved = f"{100 * one.difference:+.1f} points of accuracy per token on {one.n} pairs"
    if one.low <= 0 <= one.high:
        return f"Clean against turned labels: {moved}; the interval holds 0, so nothing is shown."
    better = "clean" if one.difference > 0 else "turned"
    return f"Clean against turned labels: {moved}; the {better} labels are ahead beyond chance."


if __name__ == "__main__":
    main()

"""Scoring pairs for an evaluation: against two plain rows a pair, and against training's memory.

usage: python -m benchmarks.evaluation [--quick] [--batches 2,8] [--rounds 3] [--pairs 1000]
           [--threads N] [--json PATH] [--write]

Speed: one model with random weights and the same pairs, with the lengths of UltraFeedback, scored
in turn batch by batch: by `eval`'s own Scorer, and the plain way, where each answer brings its
prompt, rows are padded and the model's logits go through log_softmax. The ratio is of medians over
rounds, with the batches of the run file's default (2 pairs) and of 8.

Memory: the peak bytes of tensors while `--pairs` pairs are scored, with as many tokens at once as
training read, against the peak while a LoRA is trained on the same rows with checkpointing on,
which is the most that saves.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import engine_machine
from benchmarks.engine_data import MAX_LENGTH, PROFILES, sample
from benchmarks.engine_models import TINY, Shape, random_model

FASTER, SMALLER = 1.5, 1.0  # goals
FAST = Shape(256, 704, 4, 4, 2, 16_000)
MIDDLE = Shape(128, 352, 4, 4, 2, 4_000)  # for the bytes of a thousand pairs
LONGEST = 256  # tokens of a side there
BATCHES = ["2", "8"]  # pairs
TRAINED = 24  # pairs whose training is watched, drawn to be like all of them
CLOSE = 1e-3  # nats a pair may differ by between the two ways


@dataclass(frozen=True, slots=True)
class Speed:
    """Pairs a second of both ways, batches of `batch` pairs."""

    batch: int
    pairs: int
    shared: float
    plain: float

    @property
    def faster(self) -> float:
        """Shared for each plain."""
        return self.shared / self.plain


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak bytes of tensors, weights included. tokens: read at once while scoring."""

    pairs: int
    batch: int
    tokens: int
    training: int
    scoring: int

    @property
    def smaller(self) -> float:
        """Scoring for each byte of training."""
        return self.scoring / self.training


def main() -> None:
    """Measure, print, and write what was asked for."""
    options = arguments()
    engine_machine.quiet()
    import torch

    torch.set_num_threads(options.threads)
    begun = time.perf_counter()
    speeds = [speed(int(batch), options) for batch in options.batches]
    report(speeds, memory(options), options, time.perf_counter() - begun)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--batches", default=BATCHES, type=engine_machine.listed, help="pairs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000, help="scored for the peak of bytes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results")
    return parser.parse_args()


def items_of(rows: Any, shape: Shape) -> list[Any]:
    """Random token ids with these lengths."""
    from backprop_tui.train.evals.material import of_encoded
    from benchmarks.engine_data import pairs

    return of_encoded(pairs(rows, shape.vocab_size))


def scorer_of(model: Any, items: Sequence[Any], most: int) -> Any:
    """`eval`'s own."""
    from backprop_tui.train.evals.score import Scorer

    class Tokenizer:
        pad_token_id = 0

    return Scorer(model, Tokenizer(), items, most=most, half=False)


def speed(batch: int, options: argparse.Namespace) -> Speed:
    """Both ways on one model, in turn."""
    shape = TINY if options.quick else FAST
    most = 256 if options.quick else MAX_LENGTH
    rows = sample(PROFILES["ultrafeedback"](most), batch, max(8, 2 * batch))
    items = items_of(rows, shape)
    model = random_model(shape, "fp32", "cpu").eval()
    batches = [list(range(at, at + batch)) for at in range(0, len(items), batch)]
    scorer = scorer_of(model, items, MAX_LENGTH * batch)
    found: dict[str, list[float]] = {"shared": [], "plain": []}
    ways: dict[str, Callable[[list[int]], list[float]]] = {
        "shared": lambda places: [sum(one.logps) for one in scorer.score(places)],
        "plain": lambda places: plain(model, [items[at] for at in places]),
    }
    for round_ in range(options.rounds + 1):
        spent = dict.fromkeys(ways, 0.0)
        for places in batches:
            values = {}
            for name, way in ways.items():
                begun = time.perf_counter()
                values[name] = way(places)
                spent[name] += time.perf_counter() - begun
            for ours, theirs in zip(values["shared"], values["plain"], strict=True):
                if abs(ours - theirs) > CLOSE * max(1.0, abs(theirs) / 1000):
                    raise SystemExit(f"the two ways differ: {ours} and {theirs}")
        if round_:  # the first one warms up
            for name, seconds in spent.items():
                found[name].append(len(items) / seconds)
    scorer.close()
    done = Speed(batch, len(items), *(statistics.median(found[name]) for name in ways))
    print(f"batches of {batch}: {done.shared:.3g} against {done.plain:.3g} pairs/s", flush=True)
    return done


def plain(model: Any, items: Sequence[Any]) -> list[float]:
    """Two padded rows a pair, all logits kept: chosen + rejected of each."""
    import torch

    rows = [(one.group.prompt, answer) for one in items for answer in one.group.answers]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for at, (prompt, answer) in enumerate(rows):
        n = len(prompt) + len(answer)
        ids[at, :n] = torch.tensor(prompt + answer)
        mask[at, :n] = 1
        labels[at, len(prompt) : n] = ids[at, len(prompt) : n]
    with torch.no_grad():
        logps = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        wanted = labels[:, 1:]
        each = logps.gather(2, wanted.clamp_min(0)[..., None])[..., 0]
        sums = (each * (wanted >= 0)).sum(1)
    return [float(both) for both in sums.view(-1, 2).sum(1)]


def memory(options: argparse.Namespace) -> Memory:
    """The peak of a training on some rows, and of scoring many with as many tokens at once."""
    from backprop_tui.train.memory.peak import PeakBytes
    from benchmarks.engine_sides import Setting, Side, rows_for

    shape = TINY if options.quick else MIDDLE
    most = 256 if options.quick else LONGEST
    lengths = PROFILES["ultrafeedback"](most)
    rows = list(itertools.islice(itertools.cycle(lengths), options.pairs))
    batch = 2  # the run file's default
    setting = Setting("lean", "simpo", shape, batch, checkpointing=True, max_length=most)
    with tempfile.TemporaryDirectory() as folder:
        trained = rows_for("simpo", alike(rows, batch), shape.vocab_size)
        side = Side(setting, trained, Path(folder))
        _, training = side.watched_epoch()
        tokens = max(
            sum(side.trainer.train_dataset.group(at).packed_tokens for at in places)
            for places in chunked(list(side.trainer._get_train_sampler()), batch)
        )
        side.release()
    items = items_of(rows, shape)
    model = random_model(shape, "fp32", "cpu").eval()
    watch = PeakBytes()
    watch.hold(*model.parameters(), *model.buffers())
    scorer = scorer_of(model, items, tokens)
    with watch:
        for places in scorer.batches():
            scorer.score(places)
    scorer.close()
    found = Memory(len(items), batch, tokens, training, watch.peak)
    print(f"bytes: {found.scoring:,} of scoring, {found.training:,} of training", flush=True)
    return found


def alike(rows: Sequence[Any], batch: int) -> list[Any]:
    """Some rows that stand for all of them."""
    return sample(rows, batch, min(TRAINED, len(rows)))


def chunked(places: list[int], size: int) -> Iterator[list[int]]:
    """Batches of them."""
    return (places[at : at + size] for at in range(0, len(places), size))


def report(
    speeds: Sequence[Speed], bytes_: Memory, options: argparse.Namespace, seconds: float
) -> None:
    """Tables, and files where they were asked for."""
    machine = engine_machine.machine()
    text = "\n".join(
        [
            "# Scoring pairs for an evaluation",
            "",
            f"{engine_machine.today()}. {engine_machine.words(machine)}. {options.rounds} rounds, "
            f"{seconds / 60:.0f} minutes.",
            "`python -m benchmarks.evaluation` makes this page; it says there what is compared.",
            "",
            "| pairs a batch | shared prompt, pairs/s | two plain rows, pairs/s | ratio | goal |",
            "|---|---|---|---|---|",
            *(
                f"| {one.batch} | {one.shared:.3g} | {one.plain:.3g} | {one.faster:.2f} "
                f"| {FASTER} |"
                for one in speeds
            ),
            "",
            "| | peak MiB of tensors |",
            "|---|---|",
            f"| training, batches of {bytes_.batch} pairs, checkpointing on "
            f"| {bytes_.training / 2**20:.1f} |",
            f"| scoring {bytes_.pairs:,} pairs, {bytes_.tokens:,} tokens at once "
            f"| {bytes_.scoring / 2**20:.1f} |",
            f"| ratio, goal at most {SMALLER:g} | {bytes_.smaller:.2f} |",
            "",
        ]
    )
    print(f"\n{text}")
    values = {
        "date": engine_machine.today(),
        "machine": machine,
        "rounds": options.rounds,
        "quick": options.quick,
        "speed": [{**asdict(one), "faster": one.faster} for one in speeds],
        "memory": {**asdict(bytes_), "smaller": bytes_.smaller},
    }
    if options.json:
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.write:
        engine_machine.write(f"evaluation-{engine_machine.today()}-cpu", text, values)


if __name__ == "__main__":
    main()

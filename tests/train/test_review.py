"""Verdicts on purpose-made runs of the bundled model, two seeds each."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import backprop_tui
from backprop_tui.core.events import Event, Started
from backprop_tui.core.history import History
from backprop_tui.core.reading import read_run
from backprop_tui.core.rows import Message, Pair
from backprop_tui.core.split import split
from backprop_tui.core.verdict import verdict
from backprop_tui.train.encoded import (
    EncodedChat,
    EncodedLabelled,
    EncodedPair,
    chosen_shorter,
)
from tests.conftest import pocket_run, run_training

DEMO = Path(backprop_tui.__file__).parent / "demo" / "pairs.jsonl"
ROWS, HELDOUT, RATE = 80, 0.5, 1e-3
Row = dict[str, str]


def clean(rng: random.Random, _seed: int) -> list[Row]:
    """The bundled pairs, as many with the shorter answer chosen as with the longer one: of all of
    them seven in ten have the shorter one, which a few held-out rows cannot tell from quality."""
    read: list[Row] = [json.loads(line) for line in DEMO.read_text().splitlines()]
    pairs = list({pair["prompt"]: pair for pair in read}.values())
    shorter = [len(pair["chosen"]) < len(pair["rejected"]) for pair in pairs]
    sides = [
        [pair for pair, is_so in zip(pairs, shorter, strict=True) if is_so == side]
        for side in (True, False)
    ]
    return [pair for side in sides for pair in rng.sample(side, ROWS // 2)]


def shuffled(rng: random.Random, seed: int) -> list[Row]:
    """The sides of half of the rows are swapped: of exactly half of those trained on and of those
    held out, else one side is the chosen one more often, and that can be learned."""
    rows = clean(rng, seed)
    pairs = [
        Pair(
            n,
            (Message("user", row["prompt"]),),
            (Message("assistant", row["chosen"]),),
            (Message("assistant", row["rejected"]),),
        )
        for n, row in enumerate(rows)
    ]
    swapped = {pair.number for part in split(pairs, HELDOUT, seed) for pair in part[::2]}
    return [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if n in swapped else row
        for n, row in enumerate(rows)
    ]


def short(rng: random.Random, seed: int) -> list[Row]:
    """Both sides are sentences from one pool: one chosen, three rejected."""
    rows = clean(rng, seed)
    pool = [text.strip(" .") + "." for row in rows for text in row["rejected"].split(". ")]
    return [
        {
            "prompt": row["prompt"],
            "chosen": rng.choice(pool),
            "rejected": " ".join(rng.sample(pool, 3)),
        }
        for row in rows
    ]


def trained(folder: Path, rows: list[Row], seed: int, **changes: Any) -> History:
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = pocket_run(
        changes.pop("method", "dpo"),
        folder / "run",
        {
            "data.path": str(data),
            "data.heldout": HELDOUT,
            "lora.rank": 8,
            "training.learning_rate": RATE,
            "training.max_steps": 26,
            "training.eval_steps": 13,
            "training.save_steps": 26,
            "training.seed": seed,
            **changes,
        },
    )
    history = History()
    for event in run_training(plan).events:
        history.add(event)
    return history


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("rows", "changes", "kind", "words"),
    [
        (clean, {}, "learned", "held-out rows follow"),
        (shuffled, {}, "margin-inflation", "margin inflation"),
        (clean, {"training.learning_rate": 100 * RATE}, "diverged", "the run has diverged"),
        (short, {}, "brevity", None),
    ],
)
def test_the_verdict_on_a_run_made_for_it(
    tmp_path: Path, rows: Any, changes: dict[str, Any], kind: str, words: str | None, seed: int
) -> None:
    history = trained(tmp_path, rows(random.Random(seed), seed), seed, **changes)
    found = verdict(history)
    assert found.kind == kind, found.sentence
    if words:  # the monitor says the same
        assert words in found.sentence
        assert words in read_run(history)
    else:
        assert history.started is not None
        assert history.started.chosen_shorter == 1.0


def test_three_steps_are_too_short(tmp_path: Path) -> None:
    history = trained(tmp_path, clean(random.Random(0), 0), 0, **{"training.max_steps": 3})
    assert verdict(history).kind == "too-short"


def pair(chosen: int, rejected: int) -> EncodedPair:
    return EncodedPair(1, [0], [0] * chosen, [0] * rejected)


def marked(length: int, label: bool) -> EncodedLabelled:
    return EncodedLabelled(1, [0], [0] * length, label)


def test_how_often_the_shorter_answer_is_the_chosen_one() -> None:
    assert chosen_shorter([pair(1, 2), pair(2, 2), pair(3, 2), pair(1, 9)]) == 2.5 / 4
    # Good ones of 2 and 4 tokens against bad ones of 2, 3 and 5: 2.5 and 1 of 3 are shorter.
    rows = [marked(2, True), marked(4, True), *(marked(n, False) for n in (5, 2, 3))]
    assert chosen_shorter(rows) == pytest.approx(3.5 / 6)
    assert chosen_shorter([marked(2, True)]) is None
    assert chosen_shorter([EncodedChat(1, [0], [0])]) is None
    assert chosen_shorter([]) is None


def test_it_is_told_when_a_run_begins(done_runs: dict[str, Any]) -> None:
    def told(events: list[Event]) -> float | None:
        return next(event.chosen_shorter for event in events if isinstance(event, Started))

    found = {method: told(done.events) for method, done in done_runs.items()}
    assert found["sft"] is None
    assert found["simpo"] == found["orpo"] != 0.5
    assert found["kto"] is not None

"""Events as plain lines: what a person reads without a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.events import (
    Amended,
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    GpuSampled,
    Paused,
    Preparing,
    Probed,
    Resumed,
    Saved,
    Started,
    Step,
    Warned,
)
from backprop_tui.core.lines import LINES_A_RUN, line

STEP = Step(t=1.0, step=1, steps=10, epoch=0.1, loss=1.31326, learning_rate=1e-6)
STARTED = Started(
    t=0.5,
    method="simpo",
    model="pocket",
    data="pairs.jsonl",
    device="cpu",
    output="/runs/a",
    steps=1,
    train_rows=1_200,
    heldout_rows=1_000,
    dropped={},
    trainable=49_152,
    parameters=2_800_000,
    learning_rate=1e-6,
    seed=0,
)
FINISHED = Finished(
    t=9.0, step=7, stopped=False, seconds=65.2, memory_peak=None, path="/runs/a", replay=""
)

LINES: list[tuple[Event, str | None]] = [
    (Preparing(t=0.0, stage="loading the model"), "loading the model …"),
    (
        STARTED,
        "training pocket with simpo on cpu: 1,200 rows, 1,000 held out, 1 step, rate 1e-06, "
        "49.2K parameters trained, 2.8M in the model",
    ),
    (STEP, "step     1  train     loss 1.3133"),
    (
        replace(STEP, margin=0.25, accuracy=0.75, tokens_per_second=1234.5, memory=640 * 2**20),
        "step     1  train     loss 1.3133  margin +0.2500  accuracy 75 %  1,234 tokens/s  640 MB",
    ),
    (
        Evaluated(t=2.0, step=5, rows=10, loss=1.2, margin=-0.125, accuracy=0.5),
        "step     5  held-out  loss 1.2000  margin -0.1250  accuracy 50 %",
    ),
    (GpuSampled(t=1.0, utilisation=90), None),
    (
        Probed(t=1.0, estimate=6 * 2**30, peak=7 * 2**30, free=8 * 2**30, seconds=1.9),
        "tried the heaviest batch: 7.0 GB at the peak, 6.0 GB estimated, 8.0 GB free; 1.9 s a step",
    ),
    (
        Probed(t=1.0, estimate=None, peak=7 * 2**30, free=None, seconds=None),
        "tried the heaviest batch: 7.0 GB at the peak",
    ),
    (
        Warned(t=0.1, code="simpo-lr-clamped", message="Too fast.", source="the README"),
        "warning  Too fast. (source: the README) [simpo-lr-clamped]",
    ),
    (Warned(t=0.1, code="rows-cut", message="2 rows cut."), "warning  2 rows cut. [rows-cut]"),
    (
        Saved(t=3.0, step=5, path="/runs/a/adapter", kind="adapter"),
        "step     5  saved     adapter /runs/a/adapter",
    ),
    (FINISHED, "finished at step 7 after 1:05"),
    (replace(FINISHED, stopped=True), "stopped and saved at step 7 after 1:05"),
    (
        replace(FINISHED, stopped=True, step=0, path=""),
        "stopped before the first step; nothing to save",
    ),
    (
        replace(FINISHED, stopped=True, why="two hours are over"),
        "stopped and saved at step 7 after 1:05: two hours are over",
    ),
    (
        replace(FINISHED, stopped=True, step=0, path="", why="two hours are over"),
        "stopped before the first step: two hours are over; nothing to save",
    ),
    (Paused(t=4.0, step=5, why="the card is hot"), "step     5  paused    the card is hot"),
    (Continued(t=5.0, step=5), "step     5  going on"),
    (
        Amended(t=5.0, step=5, why="out of memory", changes={"training.batch_size": "2", "a": "8"}),
        "step 5: the plan was changed to training.batch_size = 2, a = 8: out of memory",
    ),
    (
        Resumed(t=5.0, step=4, checkpoint="checkpoints/checkpoint-4"),
        "resumed after step 4, from checkpoints/checkpoint-4",
    ),
    (
        Resumed(t=5.0, step=0, checkpoint=""),
        "resumed from the beginning: nothing had been saved",
    ),
    (Failed(t=1.0, code="RUN_FAILED", message="no memory", hint="", log=""), "failed: no memory"),
]


@pytest.mark.parametrize(("event", "words"), LINES)
def test_what_a_line_says(event: Event, words: str | None) -> None:
    assert line(event) == words


def test_a_loss_read_back_from_null_is_said() -> None:
    nothing = replace(STEP, loss=None)  # type: ignore[arg-type]
    assert line(nothing) == "step     1  train     loss not a number"


@pytest.mark.parametrize("steps", [1, 7, 20, 21, 400, 1000])
def test_a_run_of_any_length_prints_its_first_its_last_and_a_few_steps(steps: int) -> None:
    printed = [n for n in range(1, steps + 1) if line(replace(STEP, step=n, steps=steps))]
    assert {1, steps} <= set(printed)
    assert len(printed) <= 2 * LINES_A_RUN
    assert len(printed) >= min(steps, LINES_A_RUN)

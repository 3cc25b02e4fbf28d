"""A plan that does not fit: what is lowered, in which order, and that a step keeps its rows."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.lowering import Lowered, lowered
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import parse

ROWS = TrainRows(100, 0)


def plan(method: str = "orpo", engine: str = "lean", **training: Any) -> RunFile:
    return parse({"method": method, "engine": engine, "training": training})


def less(run: RunFile) -> Lowered | None:
    return lowered(run, effective(run, Facts(), ROWS))


@pytest.mark.parametrize("training", [{"checkpointing": False}, {"checkpoint_every": 4}])
def test_every_layer_is_recomputed_first(training: dict[str, Any]) -> None:
    found = less(plan(batch_size=4, **training))
    assert found is not None
    after = found.run.training
    assert (after.checkpointing, after.checkpoint_every, after.batch_size) == (True, 1, 4)
    assert dict(found.changes) == {
        "training.checkpointing": True,
        "training.checkpoint_every": 1,
    }


@pytest.mark.parametrize(
    ("batch", "accumulation", "after"),
    [(8, 2, (4, 4)), (6, 1, (3, 2)), (9, 2, (3, 6)), (5, 4, (1, 20))],
)
def test_then_the_batch_and_a_step_has_the_same_rows(
    batch: int, accumulation: int, after: tuple[int, int]
) -> None:
    found = less(plan(batch_size=batch, accumulation=accumulation))
    assert found is not None
    training = found.run.training
    assert (training.batch_size, training.accumulation) == after
    assert after[0] * after[1] == batch * accumulation
    assert f"batches of {after[0]} are added up {after[1]} times" in found.words


def test_nothing_is_left_at_the_smallest_batch() -> None:
    assert less(plan(batch_size=1)) is None
    assert less(plan("kto", "trl", batch_size=2)) is None  # of TRL's kto
    assert less(plan("kto", "trl", batch_size=3)) is None
    assert less(plan("kto", "lean", batch_size=2)) is not None

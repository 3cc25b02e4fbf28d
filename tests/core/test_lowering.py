"""A plan that does not fit: what is lowered, in which order, and that a step keeps its rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.effective import TrainRows, effective
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.lowering import SHORTEST, Lowered, amended, lowered
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import parse

ROWS = TrainRows(100, 0)


def asked(found: Lowered | None) -> dict[str, Any]:
    return dict(found.changes) if found else {}


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


# --- While it trains: the batch first, for it trains the same and takes no longer


def least(run: RunFile, facts: Facts | None = None) -> Lowered | None:
    return amended(run, effective(run, facts or Facts(), ROWS))


def long_rows(max_length: int, *, shorten: bool = True, **data: Any) -> RunFile:
    """A plan of which only the rows can be made smaller."""
    plain = {"batch_size": 1, "checkpointing": True, "checkpoint_every": 1}
    return parse(
        {
            "method": "orpo",
            "training": plain,
            "data": {"max_length": max_length, **data},
            "guards": {"shorten_rows": shorten},
        }
    )


def test_the_order_while_it_trains() -> None:
    run = parse(
        {
            "method": "orpo",
            "training": {"batch_size": 6, "accumulation": 2, "checkpoint_every": 4},
            "data": {"max_length": 200},
            "guards": {"shorten_rows": True},
        }
    )
    steps = []
    while (found := least(run)) is not None:
        steps.append(asked(found))
        run = found.run
    assert steps == [
        {"training.batch_size": 3, "training.accumulation": 4},
        {"training.batch_size": 1, "training.accumulation": 12},
        {"training.checkpointing": True, "training.checkpoint_every": 1},
        {"data.max_length": 128, "data.cut_answers": True},
    ]


@pytest.mark.parametrize(("engine", "floor"), [("trl", 2), ("lean", 1)])
def test_a_batch_of_trls_kto_keeps_two_rows(engine: str, floor: int) -> None:
    run = plan("kto", engine, batch_size=2 * floor, checkpointing=False)
    found = least(run)
    assert found is not None
    assert found.run.training.batch_size == floor
    assert asked(least(found.run)) == {
        "training.checkpointing": True,
        "training.checkpoint_every": 1,
    }


@given(
    st.sampled_from(["orpo", "simpo", "kto", "sft"]),
    st.sampled_from(["lean", "trl"]),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 4096),
    st.booleans(),
)
def test_it_always_ends_and_a_step_always_has_the_same_rows(
    method: str, engine: str, batch: int, accumulation: int, max_length: int, shorten: bool
) -> None:
    run = parse(
        {
            "method": method,
            "engine": engine,
            "training": {"batch_size": batch, "accumulation": accumulation, "checkpoint_every": 2},
            "data": {"max_length": max_length},
            "guards": {"shorten_rows": shorten},
        }
    )
    rows = effective(run, Facts(), ROWS).batch_size * accumulation
    for _ in range(100):
        found = least(run)
        if found is None:
            break
        before, run = run, found.run
        now = effective(run, Facts(), ROWS)
        assert now.batch_size * now.accumulation == rows
        assert run.data.max_length == before.data.max_length or shorten
    else:
        raise AssertionError("it never ends")
    assert run.training.checkpoint_every == 1
    assert run.data.max_length == max_length or run.data.max_length >= SHORTEST


@pytest.mark.parametrize(
    ("before", "after"),
    [(4096, 3072), (1024, 768), (768, 576), (1000, 704), (171, 128), (129, 128), (128, None)],
)
def test_rows_are_cut_by_a_quarter_to_lengths_that_kernels_like(
    before: int, after: int | None
) -> None:
    found = least(long_rows(before))
    assert asked(found) == ({"data.max_length": after, "data.cut_answers": True} if after else {})


def test_what_shorter_rows_mean_is_said() -> None:
    found = least(long_rows(1024))
    assert found is not None
    assert found.words == (
        "rows are cut to 768 tokens, before it were 1,024: the prompt first, and an answer that "
        "is too long by itself"
    )


def test_the_context_of_the_model_is_what_is_shortened() -> None:
    facts = Facts(model=ModelFacts(name="short", source="folder", context=512))
    assert asked(least(long_rows(4096), facts)) == {
        "data.max_length": 384,
        "data.cut_answers": True,
    }


def test_rows_are_shortened_only_where_it_is_allowed() -> None:
    assert least(long_rows(1024, shorten=False)) is None
    assert less(long_rows(1024)) is None  # and never before step 1

"""The question about a plan: all that the bytes depend on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backprop_tui.core.effective import effective
from backprop_tui.core.facts import DataFacts, Facts, Quantiles
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryQuestion
from tests.core.exact import MODEL
from tests.core.worlds import LLAMA_8B, MARKS, NO_CARD, PAIRS, facts, run_file


def asked(
    changes: dict[str, Any] | None = None, method: str = "orpo", **known: Any
) -> MemoryQuestion:
    run, there = run_file(changes, method), facts(**{"model": MODEL, **known})
    found = question(run, there, effective(run, there))
    assert found is not None
    return found


def tokens(longest: int, common: int) -> Quantiles:
    return Quantiles(p50=1, p90=1, p99=common, max=longest, mean=1.0)


def measured(data: DataFacts = PAIRS, **lengths: tuple[int, int]) -> DataFacts:
    """Data whose longest row, and all but one in 100, have so many tokens."""
    return replace(data, tokens={side: tokens(*both) for side, both in lengths.items()})


KNOWN = measured(prompt=(100, 40), chosen=(300, 200), rejected=(400, 150), row=(450, 230))


@pytest.mark.parametrize(
    "changes",
    [
        {"training.learning_rate": 1e-4},
        {"training.epochs": 3.0},
        {"training.seed": 7},
        {"lora.alpha": 64.0},
        {"orpo.beta": 0.3},
        {"output": "elsewhere"},
        {"training.accumulation": 4},
        {"model.precision": "nf4"},  # what "auto" means here
        {"training.optimizer": "paged_adamw_8bit"},
    ],
)
def test_what_takes_no_memory_does_not_make_another_question(changes: dict[str, Any]) -> None:
    assert asked(changes) == asked()
    assert hash(asked(changes)) == hash(asked())


@pytest.mark.parametrize(
    "changes",
    [
        {"model.precision": "bf16"},
        {"lora.rank": 8},
        {"lora.targets": "attention"},
        {"lora.targets": ["q_proj"]},
        {"lora": None},
        {"training.batch_size": 3},
        {"training.accumulation": 1},
        {"training.checkpointing": False},
        {"training.checkpoint_every": 2},
        {"training.optimizer": "adamw"},
        {"training.batch_tokens": 4096},
        {"data.max_length": 512},
        {"engine": "trl"},
        {"machine.device": "cpu"},
        {"method": "simpo"},
    ],
)
def test_what_takes_memory_makes_another_question(changes: dict[str, Any]) -> None:
    assert asked(changes) != asked()
    assert hash(asked(changes))  # a list of layers among them


def test_checkpointing_that_is_off_has_no_number_of_layers() -> None:
    off = {"training.checkpointing": False}
    assert asked({**off, "training.checkpoint_every": 4}) == asked(off)
    assert asked(off).checkpoint_every == 0


def test_sft_is_always_trained_by_trl() -> None:
    assert asked(method="sft").engine == "trl"
    assert asked({"engine": "trl"}, "sft") == asked(method="sft")


def test_a_cpu_run_is_told_apart() -> None:
    assert asked().on_card
    assert not asked(gpu=NO_CARD).on_card
    assert asked(gpu=NO_CARD).precision == "fp32"


@pytest.mark.parametrize("model", [None, LLAMA_8B])
def test_a_model_without_a_config_cannot_be_asked_about(model: Any) -> None:
    run, there = run_file(), Facts(model=model)
    assert question(run, there, effective(run, there)) is None


# The heaviest batch


@pytest.mark.parametrize(
    ("method", "data", "rows"),
    [
        # A template writes around texts, and lengths are rounded up.
        ("orpo", KNOWN, ((96, 304, 400), (96, 304, 400), (64, 208, 160))),
        ("sft", KNOWN, ((144, 304), (144, 304), (64, 208))),
        (
            "kto",
            measured(MARKS, prompt=(10, 9), completion=(90, 70), row=(95, 75)),
            ((32, 96), (32, 96), (32, 80)),
        ),
        ("orpo", PAIRS, ((1, 1023, 1023),) * 3),  # nothing is known: up to max_length
        ("sft", None, ((1, 1023),) * 3),
    ],
)
def test_two_rows_are_the_longest_and_the_others_common(
    method: str, data: DataFacts | None, rows: tuple[tuple[int, ...], ...]
) -> None:
    assert asked({"training.batch_size": 3}, method, data=data).rows == rows


@pytest.mark.parametrize("length", [1, 2, 64, 300, 449, 450, 4096])
@pytest.mark.parametrize("method", ["orpo", "sft", "kto"])
def test_no_row_is_longer_than_the_plan_allows(length: int, method: str) -> None:
    for data in (KNOWN, None):
        changes = {"data.max_length": length, "training.batch_size": 4}
        for prompt, *answers in asked(changes, method, data=data).rows:
            assert min(prompt, *answers) >= 1
            assert prompt + max(answers) <= max(length, 2)  # a token to read, one to train on
            assert data is None or prompt + max(answers) <= 496


def test_a_batch_is_as_large_as_it_really_will_be() -> None:
    one = {"training.batch_size": 1}
    assert len(asked(one, "kto", data=MARKS).rows) == 1
    assert len(asked({**one, "engine": "trl"}, "kto", data=MARKS).rows) == 2

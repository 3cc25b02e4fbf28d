"""Exact answers made up for tests: a maximum of straight lines in the tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from backprop_tui.core.effective import TrainRows
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory_question import MemoryAnswer, MemoryFacts, MemoryQuestion
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.what_fits import wanted
from tests.core.worlds import GB, LLAMA_8B, MB

MODEL = replace(LLAMA_8B, config='{"model_type": "llama"}')  # one that can be asked about
WEIGHTS = {"nf4": 5 * GB, "int8": 9 * GB, "bf16": 15 * GB, "fp16": 15 * GB, "fp32": 30 * GB}


def answer(asked: MemoryQuestion) -> MemoryAnswer:
    """As the real one: more of anything never takes less."""
    tokens = sum(map(sum, asked.rows))
    kept = asked.checkpoint_every or 8
    return MemoryAnswer(
        parts={
            "weights": WEIGHTS[asked.precision] * (1 if asked.lora else 2),
            "activations": tokens * kept * MB // 4,
            "loss": max(64 * MB, tokens * MB // 2 - 512 * MB),
        },
        at="backward",
    )


def answered(
    run: RunFile,
    facts: Facts,
    rows: TrainRows | None = None,
    *,
    most: int = 500,
    ask: Callable[[MemoryQuestion], MemoryAnswer] = answer,
) -> Facts:
    """The facts once so many of the wanted questions are answered, one at a time."""
    for _ in range(most):
        asked = next(iter(wanted(run, facts, rows)), None)
        if asked is None:
            break
        facts = told(facts, asked, ask(asked))
    return facts


def told(facts: Facts, asked: MemoryQuestion, found: MemoryAnswer) -> Facts:
    """The facts with one more answer."""
    answers = {**facts.memory.answers, asked: found}
    memory = MemoryFacts(answers=answers, calibration=facts.memory.calibration)
    return replace(facts, memory=memory)

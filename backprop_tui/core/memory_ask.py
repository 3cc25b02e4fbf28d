"""A plan -> the question that the exact memory estimate answers."""

from __future__ import annotations

from backprop_tui.core.effective import Effective
from backprop_tui.core.facts import DataFacts, Facts
from backprop_tui.core.memory_question import MemoryQuestion, Row
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import RunFile

# Two rows of a batch as long as the longest of all, the others as long as all but one in 100.
LONGEST = 2
# By the natural shape of a method, the sides of a data set that each of its answers may come from.
ANSWERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "paired": (("chosen",), ("rejected",)),
    "sft": (("completion", "chosen"),),
    "unpaired": (("completion", "chosen", "rejected"),),
}
MARKUP = 32  # tokens that a chat template puts around the texts, about
STEP = 16  # tokens


def question(run: RunFile, facts: Facts, plan: Effective) -> MemoryQuestion | None:
    """What to ask about a plan; None while the model is unknown."""
    model = facts.model
    if model is None or not model.config:
        return None
    lora = None
    if run.lora is not None:
        targets = run.lora.targets
        lora = (run.lora.rank, targets if isinstance(targets, str) else tuple(targets))
    training = run.training
    return MemoryQuestion(
        config=model.config,
        method=run.method,
        engine=run.engine if run.method != "sft" else "trl",
        precision=plan.precision,
        lora=lora,
        checkpoint_every=training.checkpoint_every if training.checkpointing else 0,
        optimizer=plan.optimizer,
        rows=heaviest(run, facts.data, plan),
        max_length=plan.max_length,
        batch_tokens=training.batch_tokens,
        accumulates=plan.accumulation > 1,
        on_card=plan.device == "cuda",
        parameters=model.parameters,
    )


def heaviest(run: RunFile, data: DataFacts | None, plan: Effective) -> tuple[Row, ...]:
    """Token counts of the heaviest batch, longest row first.

    From the lengths in the data; where they are not known, as long as max_length allows.
    """
    longest = _row(run, data, plan, "max")
    common = _row(run, data, plan, "p99")
    return tuple(longest if n < LONGEST else common for n in range(plan.batch_size))


def _row(run: RunFile, data: DataFacts | None, plan: Effective, of: str) -> Row:
    """One row, each part as long as the longest (max) or as all but one in 100 (p99)."""
    tokens = data.tokens if data is not None and data.tokens else {}
    answers_of = ANSWERS[METHODS[run.method].shapes[0]]
    limit = plan.max_length

    def length(*sides: str) -> int:
        found = [getattr(tokens[side], of) for side in sides if side in tokens]
        return max(found, default=limit)

    # Lengths are of the texts alone. Rounded up, plans that differ by little share an answer.
    whole = min(limit, _rounded(length("row") + MARKUP))
    answers = [min(_rounded(length(*names)), whole - 1) for names in answers_of]
    prompt = min(_rounded(length("prompt") + MARKUP), whole - max(answers))
    return (max(prompt, 1), *(max(answer, 1) for answer in answers))


def _rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP

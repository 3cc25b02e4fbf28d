"""A run's held-out pairs, scored: measured once, then read from its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backprop_tui.core.errors import InputError
from backprop_tui.core.scores import PairLogps
from backprop_tui.train.evals.material import encoded, read_heldout
from backprop_tui.train.evals.passes import Evaluation, never, quiet
from backprop_tui.train.evals.score import as_pair
from backprop_tui.train.evals.subject import run_subject
from backprop_tui.train.evals.weights import tokenizer_of


def heldout_pairs(
    folder: Path,
    *,
    base: bool = False,
    say: Callable[[str], None] = quiet,
    stopping: Callable[[], bool] = never,
    trust_remote_code: bool = False,
) -> tuple[PairLogps, ...]:
    """Scores of a finished run's held-out pairs by its tuned model, or by the frozen base.

    They are kept in RUN/evals/heldout and read from there when they are of this very adapter, base
    and data. say: told what is going on. stopping: asked between batches; Stopped is raised once
    it says True, and what was scored stays. Rows whose score is no finite number are left out.

    InputError: RUN_OWNED, RUN_NOTHING_LEARNED, EVAL_BASE_CHANGED, EVAL_DATA_CHANGED,
    EVAL_NO_HELDOUT, EVAL_NO_PAIRS, EVAL_NO_ROWS.
    """
    subject = run_subject(folder, trust_remote_code=trust_remote_code)
    read = read_heldout(subject.run, folder)
    tokenizer = tokenizer_of(subject, trust_remote_code=trust_remote_code)
    material = encoded(
        read,
        tokenizer,
        max_length=subject.plan.max_length,
        cut_answers=subject.run.data.cut_answers,
    )
    if material.kind != "pairs":
        raise InputError(
            f"{folder}: its held-out rows are {material.kind}, not pairs of answers.",
            hint="backprop-tui eval says what can be measured of them",
            code="EVAL_NO_PAIRS",
        )
    with Evaluation(
        subject, material, tokenizer, say, stopping=stopping, trust_remote_code=trust_remote_code
    ) as evaluation:
        scores = evaluation.scores("base" if base else "tuned")
    return tuple(as_pair(score) for score in scores.values())

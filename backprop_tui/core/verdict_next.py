"""What to try after a verdict, each with its source. Pure."""

from __future__ import annotations

from backprop_tui.core.methods import (
    KTO_PAPER,
    METHODS,
    ORPO_PAPER,
    RDPO_PAPER,
    SIMPO_PAPER,
    Method,
)
from backprop_tui.core.rates import is_over_limit
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.symptoms import ENOUGH
from backprop_tui.core.text import rate
from backprop_tui.core.verdict_seen import Kind, Seen, Try

REVIEW = "docs/review.md"
SIMPO_README = "SimPO repository, README"
OVEROPTIMISED = "Rafailov et al., arXiv:2406.02900"
DISPLACED = "Razin et al., arXiv:2410.08847"
LENGTHS = "Singhal et al., arXiv:2310.03716"
LORA_LEARNS = "Biderman et al., arXiv:2405.09673"
COMMON_RANK = 8  # the lower one of the decisive comparison
MORE_ROWS = Try("Hold out 100 rows or more (data.heldout): fewer make the interval wide.", REVIEW)
MEASURE = Try(
    "Look at what it writes before you believe the figures, which are of given answers: "
    "backprop-tui try, or eval --generate.",
    LENGTHS,
)


def what_next(kind: Kind, run: Seen, plan: RunFile | None) -> tuple[Try, ...]:
    """What to try, the most promising first."""
    lower = _lower_rate(run)
    match kind:
        case "learned":
            return (MEASURE, *_rank(plan))
        case "margin-inflation" | "memorising":
            return (
                Try("Keep the best weights: training.keep_best = true.", OVEROPTIMISED),
                *_rank(plan),
                lower,
                Try("Train on more rows, or fewer times on these.", OVEROPTIMISED),
                *(
                    []
                    if run.method in ("sft", "kto")
                    else [
                        Try(
                            "Look at the labels (backprop-tui data FILE); noise suits kto better.",
                            KTO_PAPER,
                        )
                    ]
                ),
            )
        case "brevity" | "verbosity":
            side = "shorter" if kind == "brevity" else "longer"
            return (
                Try(
                    f"Balance the lengths: add pairs whose chosen answer is not the {side}, or "
                    "hold out a set of pairs equally long.",
                    LENGTHS,
                ),
                *(
                    []
                    if run.method == "simpo"
                    else [Try("Use simpo, which divides by length.", SIMPO_PAPER)]
                ),
                *(
                    [Try("Or rdpo, which learns less from longer chosen answers.", RDPO_PAPER)]
                    if kind == "verbosity" and run.method != "rdpo"
                    else []
                ),
                MEASURE,
            )
        case "chosen-collapsing":
            beta = [Try(f"Raise {run.method}.beta.", SIMPO_README)] if _has_beta(run) else []
            return (
                lower,
                *beta,
                Try("Remove pairs whose two answers are nearly alike.", DISPLACED),
                *(
                    []
                    if run.method == "orpo"
                    else [Try("Use orpo, whose loss also imitates the chosen answer.", ORPO_PAPER)]
                ),
            )
        case "diverged":
            return (
                lower,
                Try("Warm up longer: training.warmup = 0.1.", SIMPO_PAPER),
                Try("Throw these weights away, or go back to a checkpoint before it.", REVIEW),
            )
        case "too-short":
            return (
                Try(
                    f"Train at least {ENOUGH} steps: raise training.epochs, or lower "
                    "training.accumulation. Of a foreign log: logging_steps = 1.",
                    REVIEW,
                ),
            )
        case "not-learned":
            return (
                Try(
                    "Raise training.learning_rate threefold, or train longer: what has not moved "
                    "may only be slow.",
                    _rate_source(run),
                ),
                Try(
                    "Look at the labels: sides that are swapped or random cannot be learned "
                    "(backprop-tui data FILE).",
                    KTO_PAPER,
                ),
            )
        case "unproven":
            return (MORE_ROWS, Try("Train longer, with evaluations between.", REVIEW))


def _lower_rate(run: Seen) -> Try:
    started = run.history.started
    used = f" (it was {rate(started.learning_rate)})" if started else ""
    known = _entry(run)
    source = _rate_source(run)
    if known and started and is_over_limit(known.name, started.learning_rate):
        source = SIMPO_README if run.method == "simpo" else KTO_PAPER
    return Try(f"Lower training.learning_rate threefold to tenfold{used}.", source)


def _rate_source(run: Seen) -> str:
    known = _entry(run)
    return (known.source if known else "") or SIMPO_README


def _has_beta(run: Seen) -> bool:
    known = _entry(run)
    return known is not None and any(knob.name == "beta" for knob in known.knobs)


def _entry(run: Seen) -> Method | None:
    return next((entry for name, entry in METHODS.items() if name == run.method), None)


def _rank(plan: RunFile | None) -> list[Try]:
    if plan is None or plan.lora is None or plan.lora.rank <= COMMON_RANK:
        return []
    return [
        Try(
            f"Repeat it with lora.rank = {COMMON_RANK} (backprop-tui ablate does, and tells): for "
            "equal held-out figures with a lower train margin, prefer the lower rank.",
            LORA_LEARNS,
        )
    ]

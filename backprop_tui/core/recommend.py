"""Which method the data calls for, and the evidence (methods.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.facts import DataFacts, Facts
from backprop_tui.core.methods import KTO_PAPER, ORPO_PAPER, SIMPO_PAPER, MethodName
from backprop_tui.core.text import count, percent, plural

LENGTH_P_VALUE = 0.01  # two-sided sign test
LENGTH_SHARE = 0.60  # share of unequal pairs on one side: well away from one half
FEW_ROWS = 100
TIGHT_HEADROOM = 0.15  # share of the card left free by the plan, under which memory is tight


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence, with the user's own figures, and where the rule comes from."""

    text: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """method is None when nothing can be trained on this data."""

    method: MethodName | None
    reasons: tuple[Reason, ...]
    runner_up: MethodName | None = None
    runner_up_when: str = ""  # what would change the choice


def recommend(facts: Facts, headroom: float | None = None) -> Recommendation:
    """Facts -> the method to use, why, and the runner-up.

    headroom: share of the card's memory the present plan leaves free, when known.
    """
    data = facts.data
    if data is None:
        return Recommendation(None, (Reason("No data has been chosen yet."),))
    if data.kept == 0:
        return Recommendation(None, (_nothing_to_train(data),))
    if data.shape == "other":
        return Recommendation(None, (Reason(data.advice or "The columns were not recognised."),))
    if data.shape == "sft":
        return Recommendation(
            "sft",
            (
                Reason(
                    f"{plural(data.kept, 'row')} of {data.layout} carry answers but no sign of "
                    "which answer is better, so there is nothing to prefer."
                ),
                *_few(data),
            ),
        )
    if data.shape == "unpaired":
        return _unpaired(data)
    return _paired(facts, data, headroom)


def _unpaired(data: DataFacts) -> Recommendation:
    labels = data.labels or {}
    good, bad = labels.get(True, 0), labels.get(False, 0)
    reasons = [
        Reason(
            f"Each answer is marked by itself: {count(good)} good, {count(bad)} bad. "
            "KTO learns from such marks without pairs.",
            KTO_PAPER,
        )
    ]
    if not good or not bad:
        present = "good" if good else "bad"
        return Recommendation(
            None,
            (
                Reason(
                    f"All {count(data.kept)} answers are marked {present}. KTO needs both marks: "
                    "with one alone its loss has no direction.",
                    KTO_PAPER,
                ),
            ),
            runner_up="sft" if good else None,
            runner_up_when="you imitate the good answers instead: leave out the label column",
        )
    return Recommendation("kto", (*reasons, *_few(data)))


def _paired(facts: Facts, data: DataFacts, headroom: float | None) -> Recommendation:
    for_simpo = _for_simpo(facts, data, headroom)
    model = facts.model
    base = model is not None and not model.chat_template
    if for_simpo and not base:
        return Recommendation(
            "simpo",
            (*for_simpo, *_few(data)),
            runner_up="orpo",
            runner_up_when="the base model never saw supervised fine-tuning: "
            "ORPO imitates and prefers at once",
        )
    reasons = [
        Reason(
            f"{plural(data.kept, 'pair')}: ORPO carries the imitation term itself, so it needs no "
            "SFT stage before it, and it is gentle on the model.",
            ORPO_PAPER,
        )
    ]
    if base and model is not None:
        reasons.insert(
            0,
            Reason(
                f"{model.name} has no chat template of its own, so it is most likely a base model "
                "that never saw instructions: before simpo, supervised fine-tuning (sft) should "
                "come first.",
                SIMPO_PAPER,
            ),
        )
    bias = data.length_bias
    if bias and not _length_separates(data):
        unequal = bias.chosen_longer + bias.chosen_shorter
        reasons.append(
            Reason(
                f"Length does not tell the sides apart: chosen is longer in "
                f"{count(bias.chosen_longer)} and shorter in {count(bias.chosen_shorter)} of "
                f"{count(unequal)} unequal pairs (sign test p {_p(bias.p_value)}).",
                SIMPO_PAPER,
            )
        )
    if base:
        when = " ".join(
            ["supervised fine-tuning has come first.", *(reason.text for reason in for_simpo)]
        )
    else:
        when = "the model is already instruction-tuned and memory is tight"
    return Recommendation(
        "orpo",
        (*reasons, *_few(data)),
        runner_up="simpo",
        runner_up_when=when.removesuffix("."),
    )


def _for_simpo(facts: Facts, data: DataFacts, headroom: float | None) -> list[Reason]:
    """What in the data and on the machine speaks for simpo."""
    bias = data.length_bias
    reasons: list[Reason] = []
    if bias and _length_separates(data):
        side = "longer" if bias.chosen_longer > bias.chosen_shorter else "shorter"
        n = max(bias.chosen_longer, bias.chosen_shorter)
        unequal = bias.chosen_longer + bias.chosen_shorter
        reasons.append(
            Reason(
                f"Chosen answers are {side} in {count(n)} of {count(unequal)} unequal pairs "
                f"({percent(n / unequal)}, sign test p {_p(bias.p_value)}). Summed probabilities "
                "would learn length; SimPO divides by it.",
                SIMPO_PAPER,
            )
        )
    if headroom is not None and headroom < TIGHT_HEADROOM:
        place = "memory" if facts.gpu is not None and facts.gpu_card is None else "card"
        left = (
            f"leaves {percent(headroom)} of the {place}"
            if headroom >= 0
            else f"needs {percent(-headroom)} of the {place} more than is free"
        )
        reasons.append(
            Reason(
                f"Memory is tight: the plan {left}. "
                "SimPO keeps neither a reference nor an imitation term.",
                SIMPO_PAPER,
            )
        )
    return reasons


def _length_separates(data: DataFacts) -> bool:
    bias = data.length_bias
    if bias is None:
        return False
    unequal = bias.chosen_longer + bias.chosen_shorter
    larger = max(bias.chosen_longer, bias.chosen_shorter)
    return unequal > 0 and bias.p_value < LENGTH_P_VALUE and larger / unequal >= LENGTH_SHARE


def _nothing_to_train(data: DataFacts) -> Reason:
    if data.shape == "other":
        return Reason(data.advice or "The columns were not recognised.")
    worst = ", ".join(f"{count(n)} {reason}" for reason, n in data.dropped.items())
    return Reason(f"None of {plural(data.rows, 'row')} can be trained: {worst or 'no rows'}.")


def _few(data: DataFacts) -> tuple[Reason, ...]:
    if data.kept >= FEW_ROWS:
        return ()
    return (
        Reason(f"Only {plural(data.kept, 'row')}: expect the model to memorise, not to learn."),
    )


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"

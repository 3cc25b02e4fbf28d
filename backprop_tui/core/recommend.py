"""Which method the data calls for, the evidence, and how sure that is (methods.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backprop_tui.core import evidence
from backprop_tui.core.evidence import FEW_ROWS, TIGHT_HEADROOM, Reason
from backprop_tui.core.facts import DataFacts, Facts
from backprop_tui.core.findings import LENGTH_P_VALUE, LENGTH_SHARE, length_separates
from backprop_tui.core.methods import KTO_PAPER, ORPO_PAPER, SIMPO_PAPER, MethodName
from backprop_tui.core.text import count, percent, plural

PLAIN_SHARE = 0.75  # of unequal pairs on one side: length alone makes the choice clear
LEANING_SHARE = 0.55  # ... and from here on it leans
PAIRS_ONCE = 0.45  # share of marked rows that repeat a prompt: they may have been pairs

__all__ = [
    "FEW_ROWS",
    "LENGTH_P_VALUE",
    "LENGTH_SHARE",
    "TIGHT_HEADROOM",
    "Reason",
    "Recommendation",
    "recommend",
]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """method is None when nothing can be trained on this data.

    confidence: "clear", "likely" or "a close call between ...", and why. wait: why training
    should wait though a method is named, one sentence; "" when it need not.
    """

    method: MethodName | None
    reasons: tuple[Reason, ...]
    runner_up: MethodName | None = None
    runner_up_when: str = ""  # what would change the choice
    confidence: str = ""
    wait: str = ""


def recommend(facts: Facts, headroom: float | None = None) -> Recommendation:
    """Facts -> the method to use, why, how sure that is, and the runner-up.

    headroom: share of the card's memory the present plan leaves free, when known.
    """
    data = facts.data
    if data is None:
        return Recommendation(None, (Reason("No data has been chosen yet."),))
    if data.kept == 0 or data.shape == "other":
        wait = "" if data.shape == "other" else evidence.wait(data)
        return Recommendation(None, (evidence.nothing_to_train(data),), wait=wait)
    if data.shape == "sft":
        found = _sft(data)
    elif data.shape == "unpaired":
        found = _unpaired(data)
    else:
        found = _paired(facts, data, headroom)
        if evidence.noisy(data):
            found = _beside_kto(found)
    if found.method is None:
        return found
    return replace(
        found,
        reasons=(*found.reasons, *evidence.copies(data), *evidence.few(data)),
        confidence=_with_doubts(found.confidence, data),
        wait=evidence.wait(data),
    )


def _sft(data: DataFacts) -> Recommendation:
    return Recommendation(
        "sft",
        (
            Reason(
                f"{plural(data.kept, 'row')} of {data.layout} carry answers but no sign of "
                "which answer is better, so there is nothing to prefer."
            ),
        ),
        runner_up="orpo",
        runner_up_when="each prompt also gets a worse answer, in a column rejected (or kto, if "
        "each answer gets a label, true or false)",
        confidence="clear: no other method learns from answers alone",
    )


def _unpaired(data: DataFacts) -> Recommendation:
    labels = data.labels or {}
    good, bad = labels.get(True, 0), labels.get(False, 0)
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
    repeated = data.duplicate_prompts / data.kept
    pairs_once = repeated >= PAIRS_ONCE
    return Recommendation(
        "kto",
        (
            Reason(
                f"Each answer is marked by itself: {count(good)} good, {count(bad)} bad. "
                "KTO learns from such marks without pairs.",
                KTO_PAPER,
            ),
            *evidence.label_balance(data),
            *evidence.agreement(data),
        ),
        runner_up="orpo" if pairs_once else "sft",
        runner_up_when=(
            f"the rows are made into pairs again: {percent(repeated)} of them repeat an earlier "
            "prompt"
            if pairs_once
            else "the good answers alone are to be imitated: leave out the bad rows and the label"
        ),
        confidence="a close call between kto and orpo: the rows look like pairs taken apart"
        if pairs_once
        else "clear: no other method reads single marks",
    )


def _paired(facts: Facts, data: DataFacts, headroom: float | None) -> Recommendation:
    by_length = evidence.length(data) if length_separates(data.length_bias) else ()
    by_memory = evidence.tight_memory(facts, headroom)
    model = facts.model
    base = model is not None and not model.chat_template
    if (by_length or by_memory) and not base:
        return Recommendation(
            "simpo",
            (*by_length, *by_memory, *evidence.agreement(data)),
            runner_up="orpo",
            runner_up_when="the base model never saw supervised fine-tuning: "
            "ORPO imitates and prefers at once",
            confidence=_simpo_confidence(data, bool(by_length), bool(by_memory)),
        )
    reasons = [
        Reason(
            f"{plural(data.kept, 'pair')}: ORPO carries the imitation term itself, so it needs no "
            "SFT stage before it, and it is gentle on the model.",
            ORPO_PAPER,
        )
    ]
    when = (
        "the model is already instruction-tuned and memory is tight, or chosen comes to be "
        f"longer (or shorter) in {percent(LENGTH_SHARE)} of the pairs"
    )
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
        for_simpo = (reason.text for reason in (*by_length, *by_memory))
        when = " ".join(["supervised fine-tuning has come first.", *for_simpo]).removesuffix(".")
    if not by_length:
        reasons += evidence.length(data)
    return Recommendation(
        "orpo",
        (*reasons, *evidence.agreement(data)),
        runner_up="simpo",
        runner_up_when=when,
        confidence=_orpo_confidence(data, base),
    )


def _beside_kto(found: Recommendation) -> Recommendation:
    """Noisy pairs bring kto nearer than the other method for pairs."""
    return replace(
        found,
        runner_up="kto",
        runner_up_when="the noise cannot be mended: it reads each pair as a good and a bad "
        "answer and bears noise better",
        confidence=f"a close call between {found.method} and kto: the choices are noisy",
    )


def _longer_share(data: DataFacts) -> float | None:
    """The larger share of unequal pairs with chosen on one side; None where none was measured."""
    bias = data.length_bias
    unequal = bias.chosen_longer + bias.chosen_shorter if bias else 0
    return max(bias.chosen_longer, bias.chosen_shorter) / unequal if bias and unequal else None


def _simpo_confidence(data: DataFacts, by_length: bool, by_memory: bool) -> str:
    if by_length and by_memory:
        return "clear: length and memory both speak for simpo"
    if by_memory:
        return "likely: memory speaks for simpo, the data for neither"
    if (_longer_share(data) or 0) >= PLAIN_SHARE:
        return "clear: length alone tells the sides apart"
    return "likely: length speaks for simpo, though not in every pair"


def _orpo_confidence(data: DataFacts, base: bool) -> str:
    if base:
        return "likely: the model looks like one that never saw instructions"
    share, bias = _longer_share(data), data.length_bias
    if share is None or bias is None:
        return "a close call between orpo and simpo: the lengths say nothing"
    if share >= LEANING_SHARE and bias.p_value < LENGTH_P_VALUE:
        return (
            f"a close call between orpo and simpo: length leans to one side ({percent(share)}; "
            f"{percent(LENGTH_SHARE)} would decide for simpo)"
        )
    return "likely: nothing measured speaks for simpo"


def _with_doubts(confidence: str, data: DataFacts) -> str:
    """So few rows make any choice less sure."""
    if data.kept >= FEW_ROWS:
        return confidence
    return f"{confidence}; but {plural(data.kept, 'row')} can settle little"

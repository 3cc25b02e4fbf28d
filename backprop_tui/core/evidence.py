"""What speaks for a method, each with the user's own figures and where the rule comes from."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.facts import DataFacts, Facts
from backprop_tui.core.findings import length_separates, p_words
from backprop_tui.core.methods import KTO_PAPER, SIMPO_PAPER
from backprop_tui.core.quality import Finding
from backprop_tui.core.rates import KTO_BAND
from backprop_tui.core.text import count, percent, plural

FEW_ROWS = 100
TIGHT_HEADROOM = 0.15  # share of the card left free by the plan, under which memory is tight
# KTO's paper says that with enough noise kto's better worst case wins, and gives no figure;
# these are our choice.
NOISY = 0.10  # share of scored pairs whose scores say the opposite
MANY_COPIES = 0.05

# Under these there is nothing to learn, whatever the method. Our choice too.
FEWEST_ROWS = 10
MOST_DROPPED = 0.50
COIN_TOSS = 0.40  # share of choices that scores or other rows say the opposite of
SWAPPED = 0.60  # above it the sides are more likely exchanged than noisy


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence, with the user's own figures, and where the rule comes from."""

    text: str
    source: str = ""


def few(data: DataFacts) -> tuple[Reason, ...]:
    """Under a hundred rows a model memorises."""
    if data.kept >= FEW_ROWS:
        return ()
    return (
        Reason(f"Only {plural(data.kept, 'row')}: expect the model to memorise, not to learn."),
    )


def copies(data: DataFacts) -> tuple[Reason, ...]:
    """Rows that come again, word for word or nearly so."""
    found = [
        finding
        for code in ("data-duplicates", "data-near-duplicates")
        if (finding := found_in(data, code)) is not None
    ]
    if sum(finding.share for finding in found) < MANY_COPIES:
        return ()
    return (
        Reason(
            " ".join(finding.text for finding in found)
            + " There is less to learn from than the count says."
        ),
    )


def label_balance(data: DataFacts) -> tuple[Reason, ...]:
    """Good against bad rows, and what will be done where they are uneven."""
    labels = data.labels or {}
    good, bad = labels.get(True, 0), labels.get(False, 0)
    if not good or not bad:
        return ()
    low, high = KTO_BAND
    even = low <= good / bad <= high
    return (
        Reason(
            f"Good to bad is {good / bad:.2f} to 1, "
            + ("inside" if even else "outside")
            + f" the {low:g} to {high:.2f} its authors ask for"
            + ("." if even else ": one weight will be raised for it, at most tenfold."),
            KTO_PAPER,
        ),
    )


def length(data: DataFacts) -> tuple[Reason, ...]:
    """Whether length tells the sides apart, with the test."""
    bias = data.length_bias
    if bias is None:
        return ()
    unequal = bias.chosen_longer + bias.chosen_shorter
    if not length_separates(bias):
        return (
            Reason(
                f"Length does not tell the sides apart: chosen is longer in "
                f"{count(bias.chosen_longer)} and shorter in {count(bias.chosen_shorter)} of "
                f"{count(unequal)} unequal pairs (sign test p {p_words(bias.p_value)}).",
                SIMPO_PAPER,
            ),
        )
    side = "longer" if bias.chosen_longer > bias.chosen_shorter else "shorter"
    n = max(bias.chosen_longer, bias.chosen_shorter)
    return (
        Reason(
            f"Chosen answers are {side} in {count(n)} of {count(unequal)} unequal pairs "
            f"({percent(n / unequal)}, sign test p {p_words(bias.p_value)}). Summed probabilities "
            "would learn length; SimPO divides by it.",
            SIMPO_PAPER,
        ),
    )


def tight_memory(facts: Facts, headroom: float | None) -> tuple[Reason, ...]:
    """The plan leaves the card little room."""
    if headroom is None or headroom >= TIGHT_HEADROOM:
        return ()
    place = "memory" if facts.gpu is not None and facts.gpu_card is None else "card"
    left = (
        f"leaves {percent(headroom)} of the {place}"
        if headroom >= 0
        else f"needs {percent(-headroom)} of the {place} more than is free"
    )
    return (
        Reason(
            f"Memory is tight: the plan {left}. "
            "SimPO keeps neither a reference nor an imitation term.",
            SIMPO_PAPER,
        ),
    )


def noisy(data: DataFacts) -> bool:
    """Whether the choices are at odds with scores, or with one another."""
    noise = data.quality.noise if data.quality else None
    at_odds = (found_in(data, code) for code in ("data-contradictions", "data-cycles"))
    return (noise is not None and noise >= NOISY) or any(
        finding is not None and finding.level != "note" for finding in at_odds
    )


def agreement(data: DataFacts) -> tuple[Reason, ...]:
    """How far the choices can be trusted; nothing where nothing could be measured."""
    found = [
        finding
        for code in ("data-label-noise", "data-contradictions", "data-cycles")
        if (finding := found_in(data, code)) is not None
    ]
    if not noisy(data):
        return tuple(Reason(one.text) for one in found if one.code == "data-label-noise")
    return (
        Reason(
            " ".join(one.text for one in found)
            + " With enough of that, kto on the same rows may do better: its worst case is milder.",
            KTO_PAPER,
        ),
    )


def wait(data: DataFacts) -> str:
    """Why training should wait, as one sentence; "" when it need not."""
    why = _too_little(data) or (_coin_toss(data) if data.shape != "sft" else "")
    return f"Do not train yet, because {why}" if why else ""


def _too_little(data: DataFacts) -> str:
    lost = sum(data.dropped.values())
    if data.rows and lost / data.rows > MOST_DROPPED:
        reason, n = max(data.dropped.items(), key=lambda item: item[1])
        return (
            f"{count(lost)} of {plural(data.rows, 'row')} cannot be trained (most often: "
            f"{reason}, {count(n)}): the columns may be read wrongly."
        )
    different = data.kept - data.duplicate_rows
    if different < FEWEST_ROWS:
        of = f" among {count(data.kept)}" if data.duplicate_rows else ""
        return (
            f"{plural(different, 'different row' if of else 'row')}{of} can be learned by heart "
            "and teach nothing: a few hundred are a common floor."
        )
    return ""


def _coin_toss(data: DataFacts) -> str:
    noise = found_in(data, "data-label-noise")
    if noise is not None and noise.share >= COIN_TOSS:
        swapped = ": chosen and rejected are most likely swapped."
        return (
            f"the scores say the opposite of the choice in {percent(noise.share)} of "
            f"{plural(noise.of, 'scored pair')}"
            + (swapped if noise.share > SWAPPED else ", which is close to a coin toss.")
        )
    torn = found_in(data, "data-contradictions")
    if torn is not None and torn.share >= COIN_TOSS:
        return f"{percent(torn.share)} of the rows contradict each other."
    return ""


def found_in(data: DataFacts, code: str) -> Finding | None:
    """The quality report's finding of this code, when there is one."""
    return data.quality.find(code) if data.quality else None


def nothing_to_train(data: DataFacts) -> Reason:
    """Every row was dropped, or no layout was recognised."""
    if data.shape == "other":
        return Reason(data.advice or "The columns were not recognised.")
    worst = ", ".join(f"{count(n)} {reason}" for reason, n in data.dropped.items())
    return Reason(f"None of {plural(data.rows, 'row')} can be trained: {worst or 'no rows'}.")

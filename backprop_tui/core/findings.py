"""All that was found in a data set, most serious first: the quality report, and what the
facts themselves show."""

from __future__ import annotations

from backprop_tui.core.facts import DataFacts, LengthBias
from backprop_tui.core.methods import KTO_PAPER, SIMPO_PAPER
from backprop_tui.core.quality import Finding
from backprop_tui.core.rates import KTO_BAND
from backprop_tui.core.rows import IDENTICAL
from backprop_tui.core.text import count, percent, plural

LENGTH_P_VALUE = 0.01  # two-sided sign test
LENGTH_SHARE = 0.60  # share of unequal pairs on one side: well away from one half
LEVELS = ("problem", "warning", "note")


def findings(data: DataFacts) -> tuple[Finding, ...]:
    """Every finding; those without a count come last among their level."""
    found = [
        *(data.quality.findings if data.quality else ()),
        *(_length_bias(data.length_bias) if data.length_bias else ()),
        *_identical_sides(data),
        *_label_balance(data),
    ]
    return tuple(sorted(found, key=lambda one: (LEVELS.index(one.level), -one.share)))


def length_separates(bias: LengthBias | None) -> bool:
    """Whether one side is longer more often than chance explains, and by enough to matter."""
    if bias is None:
        return False
    unequal = bias.chosen_longer + bias.chosen_shorter
    larger = max(bias.chosen_longer, bias.chosen_shorter)
    return unequal > 0 and bias.p_value < LENGTH_P_VALUE and larger / unequal >= LENGTH_SHARE


def p_words(p_value: float) -> str:
    """A p-value as people write it."""
    return "under 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _length_bias(bias: LengthBias) -> tuple[Finding, ...]:
    unequal = bias.chosen_longer + bias.chosen_shorter
    if not unequal:
        return ()
    separates = length_separates(bias)
    return (
        Finding(
            code="data-length-bias",
            level="warning" if separates else "note",
            count=max(bias.chosen_longer, bias.chosen_shorter) if separates else 0,
            of=unequal,
            text=(
                f"Chosen is longer in {count(bias.chosen_longer)} and shorter in "
                f"{count(bias.chosen_shorter)} of {plural(unequal, 'pair')} of unequal length "
                f"(sign test p {p_words(bias.p_value)}); rejected has {bias.ratio:.2f} times "
                "the words."
            ),
            do="Use simpo, which divides by length, or balance the lengths." if separates else "",
            source=SIMPO_PAPER if separates else "",
        ),
    )


def _identical_sides(data: DataFacts) -> tuple[Finding, ...]:
    n = data.dropped.get(IDENTICAL, 0)
    if not n:
        return ()
    shown = [row.place or str(row.row) for row in data.dropped_rows if row.reason == IDENTICAL]
    return (
        Finding(
            code="data-identical-sides",
            level="note",
            count=n,
            of=data.rows,
            text=f"{plural(n, 'row has', 'rows have')} the same answer on both sides: "
            "nothing to prefer, so they are dropped.",
            examples=(f"row {', '.join(shown)}",) if shown else (),
        ),
    )


def _label_balance(data: DataFacts) -> tuple[Finding, ...]:
    labels = data.labels or {}
    good, bad = labels.get(True, 0), labels.get(False, 0)
    if not good or not bad:
        return ()  # with one label alone nothing is balanced: the rules refuse it
    low, high = KTO_BAND
    inside = low <= good / bad <= high
    return (
        Finding(
            code="data-label-balance",
            level="note",
            count=0 if inside else abs(good - bad),
            of=good + bad,
            text=(
                f"{count(good)} good and {count(bad)} bad answers ({percent(good / (good + bad))} "
                f"good, {good / bad:.2f} to 1): "
                + ("inside" if inside else "outside")
                + f" the {low:g} to {high:.2f} KTO's authors ask for."
            ),
            do="" if inside else "Nothing: kto.rebalance raises one weight, at most tenfold.",
            source=KTO_PAPER,
        ),
    )

"""Rules about the data: its shape, what was dropped, its size and its lengths."""

from __future__ import annotations

from backprop_tui.core.facts import DataFacts
from backprop_tui.core.methods import KTO_PAPER, METHODS, SIMPO_PAPER, methods_for
from backprop_tui.core.recommend import FEW_ROWS, recommend
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.text import count, percent, plural

LENGTH_P_VALUE = 0.01
LENGTH_RATIO = 1.3  # mean words of one side over the other


def data_missing(case: Case) -> Advice | None:
    """No data was named."""
    if case.run.data.path:
        return None
    return Advice(
        code="CONFIG_INVALID_SETTING",
        level="problem",
        field="data.path",
        message='data.path = "": name a file, a hub id, or "pocket" for the bundled examples.',
        fix=Fix("use the bundled examples", (("data.path", "pocket"),)),
    )


def shape_mismatch(case: Case) -> Advice | None:
    """Refuse a file of the wrong shape before any model is loaded."""
    data = case.facts.data
    if data is None or data.shape in METHODS[case.run.method].shapes or not data.rows:
        return None
    fitting = methods_for(data.shape)
    if not fitting:
        # One key takes an only offer; among several the person chooses.
        offer = data.offers[0] if len(data.offers) == 1 else None
        return Advice(
            code="data-shape-mismatch",
            level="problem",
            field="data.path",
            message=f"{data.name} cannot be trained as it is: {_without_offers(data)}",
            fix=Fix(offer.text, offer.changes) if offer else None,
        )
    best = recommend(case.facts).method
    message = (
        f"{data.name} is {data.shape} ({data.layout}); {case.run.method} needs "
        f"{' or '.join(METHODS[case.run.method].shapes)}. Methods that fit: "
        f"{', '.join(fitting)}."
    )
    return Advice(
        code="data-shape-mismatch",
        level="problem",
        field="method",
        message=message,
        fix=Fix(f"use {best}", (("method", best),)) if best else None,
    )


def _without_offers(data: DataFacts) -> str:
    """The advice up to its offers, which have options and a screen of their own."""
    if not data.offers:
        return data.advice
    what = data.advice.partition(data.offers[0].text)[0].strip() or data.advice
    ways = plural(len(data.offers), "way")
    return f"{what} backprop-tui data, and f3 in the wizard, list {ways} to read it."


def do_not_train_yet(case: Case) -> Advice | None:
    """Too little, or too contradictory, to learn from."""
    data = case.facts.data
    why = recommend(case.facts).wait if data and data.kept else ""
    if not why:
        return None
    return Advice(code="data-not-yet", level="warning", field="data.path", message=why)


def nothing_to_train(case: Case) -> Advice | None:
    """Every row was dropped."""
    data = case.facts.data
    if data is None or data.kept or data.shape == "other":
        return None
    reasons = ", ".join(f"{count(n)} {reason}" for reason, n in data.dropped.items())
    return Advice(
        code="data-nothing-to-train",
        level="problem",
        field="data.path",
        message=f"{data.name}: none of {plural(data.rows, 'row')} can be trained: {reasons}.",
    )


def rows_dropped(case: Case) -> Advice | None:
    """Rows that cannot be trained, counted by reason."""
    data = case.facts.data
    if data is None or not data.dropped or not data.kept:
        return None
    lost = sum(data.dropped.values())
    reasons = ", ".join(f"{count(n)} {reason}" for reason, n in data.dropped.items())
    return Advice(
        code="data-rows-dropped",
        level="warning",
        field="data.path",
        message=f"{count(lost)} of {plural(data.rows, 'row')} will not be trained: {reasons}.",
    )


def rejected_unused(case: Case) -> Advice | None:
    """A paired file under sft trains on the chosen side only."""
    data = case.facts.data
    if case.run.method != "sft" or data is None or data.shape != "paired":
        return None
    return Advice(
        code="sft-rejected-unused",
        level="warning",
        field="method",
        message=(
            f"sft trains on prompt and chosen; the {count(data.kept)} rejected answers of "
            f"{data.name} are not used."
        ),
        fix=Fix("use orpo", (("method", "orpo"),)),
    )


def pairs_apart(case: Case) -> Advice | None:
    """A paired file under kto is read as single answers."""
    data = case.facts.data
    if case.run.method != "kto" or data is None or data.shape != "paired" or not data.kept:
        return None
    return Advice(
        code="kto-splits-pairs",
        level="note",
        field="method",
        message=(
            f"kto reads each of the {plural(data.kept, 'pair')} as one good and one bad answer: "
            f"{count(2 * data.kept)} rows. What pairs say beyond that is not used; on noisy or "
            "intransitive pairs this may be the better reading."
        ),
        fix=Fix("use orpo", (("method", "orpo"),)),
        source=KTO_PAPER,
    )


def few_rows(case: Case) -> Advice | None:
    """Under a hundred rows a model memorises."""
    data = case.facts.data
    if data is None or not 0 < data.kept < FEW_ROWS or do_not_train_yet(case):
        return None
    return Advice(
        code="data-few-rows",
        level="warning",
        field="data.path",
        message=(
            f"{plural(data.kept, 'row')} to train on: expect the model to memorise them. "
            f"A few hundred is a common floor."
        ),
    )


def no_heldout(case: Case) -> Advice | None:
    """Without held-out rows nobody can tell learning from memorising."""
    data = case.facts.data
    if case.run.data.heldout > 0 and (data is None or not data.kept or case.rows.heldout):
        return None
    return Advice(
        code="no-heldout",
        level="warning",
        field="data.heldout",
        message="No rows are held out: learning cannot be told from memorising.",
        fix=Fix("hold out 10 %", (("data.heldout", 0.1),)) if case.run.data.heldout == 0 else None,
    )


# What keeps length out of an objective.
BY_LENGTH = {
    "simpo": "SimPO divides by length",
    "rrhf": "RRHF divides by length",
    "ipo": "IPO divides by length",
    "rdpo": "R-DPO takes the difference in length into account",
}


def length_bias(case: Case) -> Advice | None:
    """Chosen much longer or shorter than rejected: the model may learn length."""
    data = case.facts.data
    bias = data.length_bias if data else None
    # sft does not compare the sides.
    if bias is None or bias.p_value >= LENGTH_P_VALUE or case.run.method == "sft":
        return None
    if 1 / LENGTH_RATIO < bias.ratio < LENGTH_RATIO:
        return None
    side = "longer" if bias.ratio > 1 else "shorter"
    factor = max(bias.ratio, 1 / bias.ratio) if bias.ratio else 0.0
    method = case.run.method
    normalised = method in BY_LENGTH
    return Advice(
        code="data-length-bias",
        level="note" if normalised else "warning",
        field="data.path",
        message=(
            f"Rejected answers are {factor:.1f}x {side} than chosen ones on average: the model "
            "may learn length instead of quality."
            + (f" {BY_LENGTH[method]}, which softens this." if normalised else "")
        ),
        fix=None if normalised else Fix("use simpo", (("method", "simpo"),)),
        source=SIMPO_PAPER,
    )


def duplicate_prompts(case: Case) -> Advice | None:
    """Repeated prompts are weighted more; the split keeps each on one side."""
    data = case.facts.data
    # Unpaired data repeats prompts by design: a good and a bad answer to the same question.
    if data is None or data.shape == "unpaired" or not data.duplicate_prompts:
        return None
    return Advice(
        code="data-duplicate-prompts",
        level="note",
        field="data.path",
        message=(
            f"{count(data.duplicate_prompts)} of {plural(data.kept, 'row')} repeat an earlier "
            "prompt. All rows of one prompt stay on the same side of the held-out split."
        ),
    )


def over_long(case: Case) -> Advice | None:
    """How many rows max_length will cut or drop, from the sample's token lengths."""
    data = case.facts.data
    row = (data.tokens or {}).get("row") if data else None
    limit = case.plan.max_length
    if row is None or row.p90 <= limit:
        return None
    return Advice(
        code="data-over-long",
        level="note" if case.run.data.cut_answers else "warning",
        field="data.max_length",
        message=(
            f"More than one row in ten is longer than {count(limit)} tokens (in a sample, nine "
            f"in ten have up to {count(row.p90)}, prompt and longest answer): prompts lose their "
            "oldest turns, then their start, and answers that are too long by themselves "
            + ("are cut at the end." if case.run.data.cut_answers else "are dropped and counted.")
        ),
        fix=None
        if case.run.data.cut_answers
        else Fix("cut long answers instead", (("data.cut_answers", True),)),
    )


def max_length_over_context(case: Case) -> Advice | None:
    """max_length beyond what the model was made for is lowered to its context."""
    context = case.facts.model.context if case.facts.model else None
    if context is None or case.run.data.max_length <= context:
        return None
    return Advice(
        code="max-length-over-context",
        level="warning",
        field="data.max_length",
        message=(
            f"max_length {count(case.run.data.max_length)} is lowered to the model's context of "
            f"{count(context)} tokens."
        ),
        fix=Fix(f"set {count(context)}", (("data.max_length", context),)),
    )


def kto_from_pairs(case: Case) -> Advice | None:
    """Identical prompts judged both ways could be pairs; noisy pairs could be marks."""
    data = case.facts.data
    if case.run.method != "kto" or data is None or data.shape != "unpaired" or not data.kept:
        return None
    share = data.duplicate_prompts / data.kept
    if share < 0.45:
        return None
    return Advice(
        code="kto-could-pair",
        level="note",
        field="method",
        message=(
            f"{percent(share)} of the rows repeat an earlier prompt, so this data may have been "
            "pairs once. Made into pairs again, orpo or simpo would fit; on noisy pairs kto may "
            "do better."
        ),
        source=KTO_PAPER,
    )


DATA_RULES: tuple[Rule, ...] = (
    data_missing,
    shape_mismatch,
    nothing_to_train,
    do_not_train_yet,
    rows_dropped,
    rejected_unused,
    pairs_apart,
    no_heldout,
    few_rows,
    length_bias,
    over_long,
    max_length_over_context,
    duplicate_prompts,
    kto_from_pairs,
)

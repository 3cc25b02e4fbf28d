"""Rules about the rows themselves: the warnings of the quality report, as advice.

What the report only notes stays in the report (`backprop-tui data FILE`).
"""

from __future__ import annotations

from backprop_tui.core.rules.advice import Advice, Case, Rule


def label_noise(case: Case) -> Advice | None:
    """Scores in the file say the opposite of the choice."""
    return _told(case, code="data-label-noise")


def contradictions(case: Case) -> Advice | None:
    """Rows that say the opposite of one another; sft does not compare them."""
    return None if case.run.method == "sft" else _told(case, code="data-contradictions")


def cycles(case: Case) -> Advice | None:
    """Rankings of one prompt that go in a ring; sft does not rank."""
    return None if case.run.method == "sft" else _told(case, code="data-cycles")


def near_leak(case: Case) -> Advice | None:
    """Held-out prompts that training has nearly seen."""
    if not case.run.data.heldout:
        return None
    return _told(case, code="data-near-leak", field="data.heldout")


def duplicates(case: Case) -> Advice | None:
    """Many rows come again word for word."""
    return _told(case, code="data-duplicates")


def near_duplicates(case: Case) -> Advice | None:
    """Many rows come again nearly word for word."""
    return _told(case, code="data-near-duplicates")


def placeholders(case: Case) -> Advice | None:
    """Templates nobody filled in."""
    return _told(case, code="data-placeholders")


def refusals(case: Case) -> Advice | None:
    """Many answers to be learned refuse."""
    return _told(case, code="data-refusals")


def script_mismatch(case: Case) -> Advice | None:
    """Answers in another script than their prompts."""
    return _told(case, code="data-script-mismatch")


def short_answers(case: Case) -> Advice | None:
    """Answers of a word or two among long ones."""
    return _told(case, code="data-short-answers")


def _told(case: Case, *, code: str, field: str = "data.path") -> Advice | None:
    """The report's finding of this code, when it is more than a note."""
    quality = case.facts.data.quality if case.facts.data else None
    found = quality.find(code) if quality else None
    if found is None or found.level == "note":
        return None
    message = f"{found.text} {found.do}".strip()
    return Advice(found.code, found.level, field, message, source=found.source)


QUALITY_RULES: tuple[Rule, ...] = (
    label_noise,
    contradictions,
    cycles,
    near_leak,
    duplicates,
    near_duplicates,
    placeholders,
    refusals,
    script_mismatch,
    short_answers,
)

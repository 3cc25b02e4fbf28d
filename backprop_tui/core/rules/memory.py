"""Rules about memory: who holds it, and what fits."""

from __future__ import annotations

from backprop_tui.core.fit_words import in_words, unknown_in_words
from backprop_tui.core.memory import not_modelled
from backprop_tui.core.rules.advice import Advice, Case, Fix, Rule
from backprop_tui.core.smallest_change import smallest_change
from backprop_tui.core.text import size

OTHERS_HOLD = 0.10  # share of the card held by other processes worth naming


def memory_held(case: Case) -> Advice | None:
    """Other processes hold the card's memory: name them."""
    card = case.facts.gpu_card
    if case.plan.device != "cuda" or card is None or not card.memory_total:
        return None
    used = card.memory_used or 0
    if used < OTHERS_HOLD * card.memory_total:
        return None
    names = ", ".join(
        f"{process.name or f'pid {process.pid}'} {size(process.memory)}"
        for process in card.processes or ()
    )
    return Advice(
        code="memory-held",
        level="warning",
        field="machine.card",
        message=(
            f"{size(used)} of {card.name}'s {size(card.memory_total)} is held by others"
            + (f": {names}." if names else ".")
        ),
    )


def does_not_fit(case: Case) -> Advice | None:
    """The estimate is above what is free."""
    memory = case.memory
    if memory is None or memory.fits is not False or _card_too_small(case):
        return None
    on_card = case.plan.device == "cuda"
    free_ram = None if on_card else memory.available
    change = smallest_change(case.run, case.facts, case.rows, free_ram)
    return Advice(
        code="memory-does-not-fit",
        level="warning",
        field="training.batch_size",
        message=_sentence(in_words(memory, change, case.facts.gpu_card if on_card else None)),
        fix=change,
    )


def card_too_small(case: Case) -> Advice | None:
    """The whole card is smaller than what CUDA takes before anything is on it."""
    card = case.facts.gpu_card
    if card is None or not _card_too_small(case):
        return None
    return Advice(
        code="memory-card-too-small",
        level="warning",
        field="machine.card",
        message=(
            f"{card.name} has {size(card.memory_total)} of memory, and CUDA itself takes about "
            f"{size(case.facts.memory.calibration.context)}: nothing can be trained on it."
        ),
        fix=Fix("train on the CPU", (("machine.device", "cpu"),)),
    )


def _card_too_small(case: Case) -> bool:
    card = case.facts.gpu_card
    if case.plan.device != "cuda" or card is None or card.memory_total is None:
        return False
    return card.memory_total <= case.facts.memory.calibration.context


def free_unknown(case: Case) -> Advice | None:
    """The card does not say how much of its memory is free."""
    card, memory = case.facts.gpu_card, case.memory
    if case.plan.device != "cuda" or card is None or memory is None or memory.fits is not None:
        return None
    return Advice(
        code="memory-free-unknown",
        level="note",
        field="machine.card",
        message=f"{card.name}: {in_words(memory, None)}.",
    )


def not_estimated(case: Case) -> Advice | None:
    """Nothing is said of memory that was not modelled."""
    reason = not_modelled(case.run, case.facts, case.plan)
    if not reason:
        return None
    return Advice(
        code="memory-not-estimated",
        level="note",
        field="model.id",
        message=f"Its memory {unknown_in_words(reason)}.",
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


MEMORY_RULES: tuple[Rule, ...] = (
    memory_held,
    does_not_fit,
    card_too_small,
    free_unknown,
    not_estimated,
)

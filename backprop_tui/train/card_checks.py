"""Before anything slow: is it the card that was judged, and has CUDA itself room on it?"""

from __future__ import annotations

from typing import Any

from backprop_tui.core.errors import RunError
from backprop_tui.core.facts import Gpu
from backprop_tui.core.text import size
from backprop_tui.probe.survey import Survey
from backprop_tui.train.meter import in_words

NEAR = 0.1  # share by which the driver's total and CUDA's may differ: some is kept for the driver


def room_for_cuda(found: Survey) -> None:
    """Refuse a card with less memory free than CUDA takes before the first tensor: torch would end
    in an error that names neither. RunError."""
    card = found.facts.gpu_card
    if found.plan.device != "cuda" or card is None or card.memory_free is None:
        return
    needed = found.facts.memory.calibration.context
    if card.memory_free >= needed:
        return
    others = in_words(card.processes)
    total = f" of its {size(card.memory_total)}" if card.memory_total else ""
    raise RunError(
        f"{card.name} has {size(card.memory_free)}{total} free, and CUDA alone takes about "
        f"{size(needed)} in a process{f': {others}' if others else ''}.",
        hint="close what holds the card, or choose another with machine.card",
        code="RUN_DOES_NOT_FIT",
    )


def same_card(found: Survey) -> None:
    """Refuse where CUDA would train on another card than the driver's figures were read from:
    what is free there is not known. RunError."""
    card = found.facts.gpu_card
    if found.plan.device != "cuda" or card is None:
        return
    import torch

    theirs = torch.cuda.get_device_properties(torch.cuda.current_device())
    if difference := different(card, theirs):
        raise RunError(
            f"Card {card.index} is {card.name} to the driver, and torch would use another one: "
            f"{difference}.",
            hint="CUDA counts the fastest card first: set CUDA_DEVICE_ORDER=PCI_BUS_ID, which "
            "counts as the driver does, and start again",
            code="RUN_CARD_DIFFERS",
        )


def different(card: Gpu, theirs: Any) -> str:
    """How the driver's card is not torch's, in words; "" when it is, or part of it (MIG)."""
    if "MIG" in theirs.name:
        return ""
    uuid = str(getattr(theirs, "uuid", "") or "")
    if card.uuid and uuid and card.uuid.removeprefix("GPU-") != uuid.removeprefix("GPU-"):
        return f"{theirs.name}, {uuid} instead of {card.uuid.removeprefix('GPU-')}"
    if theirs.name != card.name:
        return str(theirs.name)
    total = card.memory_total
    if total and abs(theirs.total_memory - total) > NEAR * total:
        return f"one with {size(theirs.total_memory)} instead of {size(total)}"
    return ""

"""Whether a model can be trained on this machine at all, roughly, in a few words."""

from __future__ import annotations

from dataclasses import replace

from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.memory import estimate_of
from backprop_tui.core.memory_question import MemoryFacts
from backprop_tui.core.runfile import LoraSection
from backprop_tui.core.runfile_io import change
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View

# The least a plan can ask for; on a card in 4 bits, too.
LEAST = {
    "data.max_length": 512,
    "training.batch_size": 1,
    "training.checkpointing": True,
    "training.checkpoint_every": 1,
}


def trainable(view: View, model: ModelFacts) -> str:
    """ ", ✔ ~fits this card", or "" where nothing can be told. By the closed form alone: what is
    listed need not be exact, and asking for each would take seconds."""
    on_card = view.effective.device == "cuda"
    least = LEAST | {"model.precision": "nf4" if on_card else "auto"}
    plan = change(view.plan.model_copy(update={"lora": view.plan.lora or LoraSection()}), least)
    memory = MemoryFacts(calibration=view.facts.memory.calibration)
    facts = replace(view.facts, model=model, memory=memory)
    found = estimate_of(plan, facts, view.rows, view.free_ram)
    if found is None or found.fits is None:
        return ""
    place = "card" if on_card else "machine's memory"
    if found.fits:
        return f", {SIGNS.done} ~fits this {place}"
    return f", {SIGNS.problem} ~too large for this {place}"

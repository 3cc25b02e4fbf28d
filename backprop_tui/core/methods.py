"""METHODS: what each method needs and which numbers it starts from, with their sources.

Adding a method is an entry here, a trainer in `train/trainers.py` and a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backprop_tui.core.facts import Shape

MethodName = Literal["sft", "orpo", "simpo", "kto"]

ORPO_PAPER = "ORPO, arXiv:2403.07691"
SIMPO_PAPER = "SimPO, arXiv:2405.14734"
SIMPO_README = "SimPO repository, README (princeton-nlp/SimPO)"
KTO_PAPER = "KTO, arXiv:2402.01306"
HALOS = "KTO authors' code, HALOs (ContextualAI/HALOs)"
LORA_PAPER = "LoRA, arXiv:2106.09685"


@dataclass(frozen=True, slots=True)
class Knob:
    """A number of the objective itself. Every knob must be a finite number above 0."""

    name: str
    default: float
    help: str
    source: str


@dataclass(frozen=True, slots=True)
class Preset:
    """Published settings for one model. learning_rate is for full fine-tuning."""

    name: str
    knobs: tuple[tuple[str, float], ...]
    learning_rate: float
    source: str


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    shapes: data shapes it can train on, the natural one first.
    reference: needs log-probabilities of the frozen base (adapter switched off).
    loss_at_start: the loss of a policy that does not yet prefer either side, where it has a
        fixed value; it depends on the knobs, so it is said in words.
    """

    name: MethodName
    title: str
    summary: str
    shapes: tuple[Shape, ...]
    reference: bool
    knobs: tuple[Knob, ...]
    source: str
    loss_at_start: str
    presets: tuple[Preset, ...] = ()


def _simpo_preset(name: str, beta: float, gamma: float, learning_rate: float) -> Preset:
    return Preset(name, (("beta", beta), ("gamma", gamma)), learning_rate, SIMPO_README)


METHODS: dict[MethodName, Method] = {
    "sft": Method(
        name="sft",
        title="Supervised fine-tuning",
        summary="Imitates the answers. No preference signal is needed.",
        shapes=("sft", "paired"),
        reference=False,
        knobs=(),
        source="",
        loss_at_start="the model's own surprise at the answers",
    ),
    "orpo": Method(
        name="orpo",
        title="Odds-ratio preference optimisation",
        summary="Imitates the chosen answer and pushes the odds of the rejected one down, at once.",
        shapes=("paired",),
        reference=False,
        knobs=(
            Knob(
                "beta",
                0.1,
                "Weight of the preference term against the imitation term (lambda in the paper).",
                ORPO_PAPER,
            ),
        ),
        source=ORPO_PAPER,
        loss_at_start="the imitation loss plus beta x 0.69",
        presets=(
            Preset("ORPO paper", (("beta", 0.1),), 5e-6, ORPO_PAPER),
            Preset("ORPO on Capybara", (("beta", 0.05),), 5e-6, "ORPO repository (xfactlab/orpo)"),
        ),
    ),
    "simpo": Method(
        name="simpo",
        title="Simple preference optimisation",
        summary="Widens the gap between length-normalised rewards. No reference model.",
        shapes=("paired",),
        reference=False,
        knobs=(
            Knob("beta", 2.0, "Scale of the reward, which is per token.", SIMPO_PAPER),
            Knob(
                "gamma",
                1.0,
                "Margin the chosen reward must lead by (absolute: gamma/beta is the ratio).",
                SIMPO_PAPER,
            ),
        ),
        source=SIMPO_PAPER,
        loss_at_start="about 1.31 at gamma 1",
        presets=(
            _simpo_preset("Mistral-7B-Base-SFT", 2.0, 1.6, 3e-7),
            _simpo_preset("Mistral-7B-Instruct", 2.5, 0.25, 5e-7),
            _simpo_preset("Llama-3-8B-Base-SFT", 2.0, 1.0, 6e-7),
            _simpo_preset("Llama-3-8B-Instruct", 2.5, 1.375, 1e-6),
            _simpo_preset("Llama-3-8B-Instruct v0.2", 10.0, 3.0, 1e-6),
            _simpo_preset("Gemma-2-9b-it", 10.0, 5.0, 8e-7),
        ),
    ),
    "kto": Method(
        name="kto",
        title="Kahneman-Tversky optimisation",
        summary="Learns from single answers marked good or bad. The frozen base is the reference.",
        shapes=("unpaired", "paired"),  # a pair is one good and one bad answer
        reference=True,
        knobs=(
            Knob("beta", 0.1, "How closely the model is held to the base.", KTO_PAPER),
            Knob("desirable_weight", 1.0, "Weight of the rows marked good.", KTO_PAPER),
            Knob("undesirable_weight", 1.0, "Weight of the rows marked bad.", KTO_PAPER),
        ),
        source=KTO_PAPER,
        loss_at_start="near 0.5 at weights 1",
        presets=(
            Preset(
                "KTO authors",
                (("beta", 0.1), ("desirable_weight", 1.0), ("undesirable_weight", 1.0)),
                5e-6,
                HALOS,
            ),
        ),
    ),
}


def methods_for(shape: Shape) -> tuple[MethodName, ...]:
    """The methods that can train on this shape, in the order of METHODS."""
    return tuple(name for name, method in METHODS.items() if shape in method.shapes)

"""METHODS: what each method needs and which numbers it starts from, with their sources.

Adding an objective is its loss in `train/engine/objectives.py`, an entry here and a test. Its
table in the run file, its fields in the wizard and its rows in the docs follow from the entry.
"""

from __future__ import annotations

from typing import Any

from backprop_tui.core.facts import Shape
from backprop_tui.core.method_entry import ANY, Knob, Method, MethodName, Preset

__all__ = ["METHODS", "Knob", "Method", "MethodName", "Preset", "methods_for"]

ORPO_PAPER = "ORPO, arXiv:2403.07691"
SIMPO_PAPER = "SimPO, arXiv:2405.14734"
SIMPO_README = "SimPO repository, README (princeton-nlp/SimPO)"
KTO_PAPER = "KTO, arXiv:2402.01306"
HALOS = "KTO authors' code, HALOs (ContextualAI/HALOs)"
DPO_PAPER = "DPO, arXiv:2305.18290"
IPO_PAPER = "IPO, arXiv:2310.12036"
CPO_PAPER = "CPO, arXiv:2401.08417"
SLIC_PAPER = "SLiC-HF, arXiv:2305.10425"
RRHF_PAPER = "RRHF, arXiv:2304.05302"
RDPO_PAPER = "R-DPO, arXiv:2403.19159"
SIMPO_GRID = f"search grid of {SIMPO_PAPER}"

LORA_RATE = 5e-6  # TRL's notes on preference tuning with LoRA
FULL_RATE = 5e-7  # as dpo was published, full fine-tuning
LORA_PRACTICE = "LoRA practice, TRL's notes"


def _simpo_preset(name: str, beta: float, gamma: float, learning_rate: float) -> Preset:
    return Preset(name, (("beta", beta), ("gamma", gamma)), learning_rate, SIMPO_README)


def _grid(knob: str, values: tuple[float, ...], *fixed: tuple[str, float]) -> tuple[Preset, ...]:
    """The values one knob was searched over, for an ablation."""
    return tuple(
        Preset("SimPO's comparison", ((knob, value), *fixed), None, SIMPO_GRID) for value in values
    )


IMITATION = "Weight of the term that imitates the chosen answer (lambda in the paper)."
# What the other objectives share; their rates are those of preference tuning with an adapter.
OTHER: dict[str, Any] = {
    "rates": ((ANY, LORA_RATE),),
    "full_rate": FULL_RATE,
    "rates_source": LORA_PRACTICE,
    "other": True,
}

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
        trl=True,
        rates=((1_000, 5e-4), (10_000, 2e-4), (ANY, 1e-4)),
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
        trl=True,
        rates=((1_000, 2e-5), (10_000, 1e-5), (ANY, 5e-6)),
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
        trl=True,
        rates=((ANY, 1e-6),),
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
        trl=True,
        rates=((ANY, 1e-6),),
        presets=(
            Preset(
                "KTO authors",
                (("beta", 0.1), ("desirable_weight", 1.0), ("undesirable_weight", 1.0)),
                5e-6,
                HALOS,
            ),
        ),
    ),
    "dpo": Method(
        name="dpo",
        title="Direct preference optimisation",
        summary="Widens the gap between the sides against the frozen base.",
        shapes=("paired",),
        reference=True,
        knobs=(Knob("beta", 0.1, "How closely the model is held to the base.", DPO_PAPER),),
        source=DPO_PAPER,
        loss_at_start="0.69",
        trl=True,
        presets=_grid("beta", (0.01, 0.05, 0.1)),
        **OTHER,
    ),
    "ipo": Method(
        name="ipo",
        title="Identity preference optimisation",
        summary="Brings the gap, per token, to a set width: pairs it has learned stop pulling.",
        shapes=("paired",),
        reference=True,
        knobs=(
            Knob("tau", 0.1, "Pull toward the base: the gap aimed at is 1 / (2 tau).", IPO_PAPER),
        ),
        source=IPO_PAPER,
        loss_at_start="1 / (2 tau) squared: 25 at tau 0.1",
        trl=True,
        presets=_grid("tau", (0.01, 0.1, 0.5, 1.0)),
        **OTHER,
    ),
    "cpo": Method(
        name="cpo",
        title="Contrastive preference optimisation",
        summary="Widens the gap between summed log-probabilities and imitates the chosen answer.",
        shapes=("paired",),
        reference=False,
        knobs=(
            Knob("beta", 0.1, "Scale of the reward, a summed log-probability.", CPO_PAPER),
            Knob("imitation_weight", 1.0, IMITATION, CPO_PAPER),
        ),
        source=CPO_PAPER,
        loss_at_start="the imitation loss plus the preference term, 0.69 for sides alike",
        trl=True,
        presets=_grid("beta", (0.01, 0.05, 0.1), ("imitation_weight", 1.0)),
        **(OTHER | {"rates": ((ANY, 1e-4),), "rates_source": "its LoRA recipe"}),
    ),
    "slic": Method(
        name="slic",
        title="Sequence likelihood calibration",
        summary="Asks the chosen answer to lead by a margin, and imitates it.",
        shapes=("paired",),
        reference=False,
        knobs=(
            Knob("delta", 1.0, "Lead asked of the summed log-probability.", SIMPO_GRID),
            Knob("imitation_weight", 0.1, IMITATION, SIMPO_GRID),
        ),
        source=SLIC_PAPER,
        loss_at_start="the imitation loss plus delta, for sides alike",
        **OTHER,
    ),
    "rrhf": Method(
        name="rrhf",
        title="Rank responses from human feedback",
        summary="Ranks by log-probability per token, and imitates the chosen answer.",
        shapes=("paired",),
        reference=False,
        knobs=(Knob("imitation_weight", 1.0, IMITATION, RRHF_PAPER),),
        source=RRHF_PAPER,
        loss_at_start="the imitation loss, plus what the rejected answer leads by",
        presets=_grid("imitation_weight", (0.1, 0.5, 1.0, 10.0)),
        **OTHER,
    ),
    "rdpo": Method(
        name="rdpo",
        title="Length-regularised direct preference optimisation",
        summary="dpo that learns less from pairs whose chosen answer is longer.",
        shapes=("paired",),
        reference=True,
        knobs=(
            Knob("beta", 0.1, "How closely the model is held to the base.", RDPO_PAPER),
            Knob("alpha", 0.05, "How much of the choice one more token explains.", SIMPO_GRID),
        ),
        source=RDPO_PAPER,
        loss_at_start="0.69 for sides equally long",
        **OTHER,
    ),
}


def methods_for(shape: Shape) -> tuple[MethodName, ...]:
    """The methods that can train on this shape, in the order of METHODS."""
    return tuple(name for name, method in METHODS.items() if shape in method.shapes)

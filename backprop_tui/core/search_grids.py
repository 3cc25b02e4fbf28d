"""The published search grids and settings of each method, as grids of an ablation. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.methods import METHODS, SIMPO_GRID, MethodName

Axis = tuple[str, tuple[float, ...]]  # a knob and its values


@dataclass(frozen=True, slots=True)
class SearchGrid:
    """The values that a comparison searched over for one method, every combination of them.

    fixed: knobs that were held at one value.
    """

    axes: tuple[Axis, ...]
    fixed: tuple[tuple[str, float], ...] = ()
    source: str = SIMPO_GRID


REFERENCE_BETA: Axis = ("beta", (0.01, 0.05, 0.1))
IMITATION: Axis = ("imitation_weight", (0.1, 0.5, 1.0, 10.0))
SEARCH_GRIDS: dict[MethodName, SearchGrid] = {
    "orpo": SearchGrid((("beta", (0.1, 0.5, 1.0, 2.0)),)),
    "simpo": SearchGrid((("beta", (2.0, 2.5)), ("gamma", (0.3, 0.5, 1.0, 1.2, 1.4, 1.6)))),
    "kto": SearchGrid(
        (REFERENCE_BETA,), fixed=(("desirable_weight", 1.0), ("undesirable_weight", 1.0))
    ),
    "dpo": SearchGrid((REFERENCE_BETA,)),
    "ipo": SearchGrid((("tau", (0.01, 0.1, 0.5, 1.0)),)),
    "cpo": SearchGrid((REFERENCE_BETA,), fixed=(("imitation_weight", 1.0),)),
    "slic": SearchGrid((("delta", (0.5, 1.0, 2.0)), IMITATION)),
    "rrhf": SearchGrid((IMITATION,)),
    "rdpo": SearchGrid((("alpha", (0.05, 0.1, 0.5, 1.0)), REFERENCE_BETA)),
}


def published(method: MethodName) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The objective's numbers of each published setting, each once. Their rates are left out:
    they are those of full fine-tuning."""
    return tuple(dict.fromkeys(preset.knobs for preset in METHODS[method].presets))

"""A question -> bytes by part, at the depth of the real model.

Two and four layers are rehearsed. Between them each kind of moment grows by the same bytes a
layer, so a model of any depth follows; the highest moment of all is the peak. Where checkpointing
keeps every n-th layer, multiples of n are rehearsed. Layers that are not alike are rehearsed whole.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from backprop_tui.core.memory import PARTS
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.train.engine.attention import CannotShare
from backprop_tui.train.engine.check import QUICKER
from backprop_tui.train.engine.forward import OWN
from backprop_tui.train.memory.fakes import (
    CannotModel,
    config_of,
    in_one_line,
    skeleton,
    stored_precision,
)
from backprop_tui.train.memory.peak import Peak
from backprop_tui.train.memory.rehearse import rehearse

IN_WORDS = {
    "check": "the check before the first step",
    "forward": "the forward pass",
    "reference": "a forward pass without gradient",
    "loss": "the loss",
    "backward, upper layers": "the backward pass",
    "backward, lower layers": "the backward pass",
    "optimizer": "the optimizer's step",
}
# Architectures whose numbers are the same with a shared prompt (docs/engine.md).
SHARES = frozenset(
    (
        *("llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "mixtral", "gemma", "gemma2"),
        *("gemma3_text", "phi", "phi3", "olmo2", "cohere", "granite", "gpt2"),
    )
)
FEW = 2  # layers of the smaller rehearsal; the larger has twice as many
ALIKE = 1e-3  # share by which the files' count of parameters may differ from the config's


def answer(asked: MemoryQuestion) -> MemoryAnswer:
    """Bytes at the peak, or why they cannot be told. Never raises for what a config holds."""
    try:
        raw = json.loads(asked.config)
        if not isinstance(raw, dict):
            raise CannotModel("its config.json is no object")
        asked = replace(asked, precision=stored_precision(raw) or asked.precision)
        if asked.lora is None and asked.optimizer != "adamw" and not asked.on_card:
            raise CannotModel("what 8-bit optimizers take on a CPU was not modelled")
        layers = config_of(raw).num_hidden_layers
        few = FEW * max(asked.checkpoint_every, 1)
        if not _alike(asked, few, layers) or layers <= 2 * few:
            found = _peaks(asked, raw, layers)
        else:
            found = _deeper(_peaks(asked, raw, few), _peaks(asked, raw, 2 * few), few, layers)
    except CannotModel as error:
        return MemoryAnswer(why=str(error))
    highest = max(found, key=lambda moment: sum(found[moment].parts.values()))
    parts = {part: found[highest].parts.get(part, 0) for part in PARTS[:-1]}
    return MemoryAnswer(parts=parts, at=IN_WORDS.get(highest, highest))


def _peaks(asked: MemoryQuestion, raw: dict[str, Any], layers: int) -> dict[str, Peak]:
    """The moments of a model with so many layers, computed the quickest way it allows."""
    why = ""
    found: list[dict[str, Peak]] = []
    for path in (*QUICKER, OWN):
        model = _model(asked, raw, layers)
        try:
            found.append(rehearse(asked, model, path))
            if raw.get("model_type") in SHARES or not path.shared:
                break
        except CannotShare as error:
            why = str(error)
        except torch.OutOfMemoryError as error:  # of this machine
            raise CannotModel("there is too little memory here to tell") from error
        except Exception as error:  # noqa: BLE001 - a model's code, never run so before
            why = in_one_line(error)
    if not found:
        raise CannotModel(f"its code cannot be followed ({why})")
    # Whether prompts are shared, only numbers tell: the way that takes more may be the one.
    return max(found, key=lambda peaks: max(peak.total for peak in peaks.values()))


def _model(asked: MemoryQuestion, raw: dict[str, Any], layers: int) -> Any:
    return skeleton(config_of(raw, layers), asked.precision, trains_all=asked.lora is None)


def _deeper(
    small: dict[str, Peak], large: dict[str, Peak], few: int, layers: int
) -> dict[str, Peak]:
    """Each moment at full depth. A moment that one of the two lacks is taken as it is."""
    found: dict[str, Peak] = {}
    for moment in small.keys() | large.keys():
        low, high = small.get(moment), large.get(moment)
        if low is None or high is None:
            found[moment] = low or high  # type: ignore[assignment]
            continue
        parts = {
            part: low.parts.get(part, 0)
            + (high.parts.get(part, 0) - low.parts.get(part, 0)) * (layers - few) / few
            for part in low.parts.keys() | high.parts.keys()
        }
        found[moment] = Peak({part: math.ceil(size) for part, size in parts.items()}, high.at)
    return found


@lru_cache(maxsize=256)
def _counts(config: str, layers: int) -> tuple[int, int]:
    """Parameters of a model with so many layers, and with its head's own where that is tied."""
    model = skeleton(config_of(json.loads(config), layers), "bf16", trains_all=False)
    made, head = sum(p.numel() for p in model.parameters()), model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    return made, made + (head.weight.numel() if tied else 0)


def _alike(asked: MemoryQuestion, few: int, layers: int) -> bool:
    """Whether each layer adds as many parameters as any other. Raises CannotModel when the files
    hold another number of parameters than the config makes; a tied head may be in them or not."""
    small, large = _counts(asked.config, few), _counts(asked.config, 2 * few)
    expected = [a + (b - a) * (layers - few) // few for a, b in zip(small, large, strict=True)]
    held = asked.parameters
    if held is not None and any(abs(held - number) <= ALIKE * number for number in expected):
        return True
    made = _counts(asked.config, layers)
    if held is not None and all(abs(held - number) > ALIKE * number for number in made):
        raise CannotModel(f"its config makes {made[0]:,} parameters, and its files have {held:,}")
    return made[0] == expected[0]

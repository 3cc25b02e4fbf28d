"""What the exact memory estimate is asked, and what it answers.

A question holds all that the bytes depend on and nothing else, so that an answer is still right
when another rate or folder is chosen. `core/memory_ask.py` asks, `train/memory` answers,
`core/memory.py` reads the answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from backprop_tui.core.calibration import Calibration

Row = tuple[int, ...]  # tokens: (prompt, answer) or (prompt, chosen, rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuestion:
    """One plan, as far as memory goes.

    config: the model's config.json, as text. precision: never "auto". lora: (rank, targets), or
    None to train every weight. checkpoint_every: 0 is off. rows: of the heaviest batch, longest
    first. accumulates: gradients of one batch are held while the next is computed. parameters:
    of the checkpoint's files, which the config has to agree with.
    """

    config: str
    method: str
    engine: str
    precision: str
    lora: tuple[int, str | tuple[str, ...]] | None
    checkpoint_every: int
    optimizer: str
    rows: tuple[Row, ...]
    max_length: int
    batch_tokens: int | None
    accumulates: bool
    on_card: bool
    parameters: int | None = None


def as_json(asked: MemoryQuestion) -> str:
    """One line of JSON, the same for the same question."""
    return json.dumps(asdict(asked), sort_keys=True)


def from_json(line: str) -> MemoryQuestion:
    """The question of such a line."""
    raw = json.loads(line)
    if raw["lora"] is not None:
        rank, targets = raw["lora"]
        raw["lora"] = (rank, targets if isinstance(targets, str) else tuple(targets))
    return MemoryQuestion(**raw | {"rows": tuple(map(tuple, raw["rows"]))})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAnswer:
    """Bytes of tensors at the peak of a step, by part; None when it cannot be told, and why.
    Neither: the computation failed, and says nothing of the model.

    weights: of the base, as stored by its checkpoint's precision. at: what was being computed.
    """

    parts: Mapping[str, int] | None = None
    at: str = ""
    why: str = ""

    @property
    def tensors(self) -> int:
        """All parts together, bytes; 0 where nothing could be told."""
        return sum((self.parts or {}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFacts:
    """What was answered so far, and what is known of the card beside tensors."""

    answers: Mapping[MemoryQuestion, MemoryAnswer] = field(default_factory=dict, repr=False)
    calibration: Calibration = field(default_factory=Calibration)

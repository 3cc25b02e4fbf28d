"""What threads tell the screens. Each message carries one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from backprop_tui.core.calibration import Calibration
from backprop_tui.core.effective import TrainRows
from backprop_tui.core.errors import Problem
from backprop_tui.core.events import Event
from backprop_tui.core.facts import DataFacts, GpuFacts, ModelFacts
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion

if TYPE_CHECKING:
    from backprop_tui.probe.data import Loaded
    from backprop_tui.probe.model_cache import CachedModel
    from backprop_tui.tui.probing import DataQuestion, ModelQuestion


@dataclass
class RunEvent(Message):
    """Something happened in the training. Posted by the training thread, in order."""

    event: Event
    """What happened; the last one is always Finished or Failed."""


@dataclass
class MachineRead(Message):
    """The cards and the free memory, as they are now."""

    gpu: GpuFacts
    """Every card, or why there is none."""
    free_ram: int
    """Bytes of main memory a program may still have."""
    calibrations: Mapping[int, Calibration]
    """What was learnt of each card, by its index."""


@dataclass
class CacheRead(Message):
    """The models that are already on this machine."""

    models: tuple[CachedModel, ...]
    """By name."""
    facts: Mapping[str, ModelFacts]
    """Of those that can be read, by name."""


@dataclass
class ModelRead(Message):
    """A model was looked up. Stale when the user has typed on."""

    question: ModelQuestion
    """What was asked."""
    facts: ModelFacts | None
    """The answer, or None with a problem."""
    problem: Problem | None = None
    """Why there is no answer, and what to do."""


@dataclass
class DataRead(Message):
    """A data set was read. Stale when the user has typed on."""

    question: DataQuestion
    """What was asked."""
    facts: DataFacts | None
    """The answer, or None with a problem."""
    loaded: Loaded | None = None
    """The rows themselves, kept so that a new split need not read the file again."""
    rows: TrainRows | None = None
    """Exact counts after the held-out split."""
    problem: Problem | None = None
    """Why there is no answer, and what to do."""
    more: bool = False
    """Whether a fuller answer follows: exact counts, or the quality report."""


@dataclass
class MemoryAnswered(Message):
    """What a plan takes, exactly."""

    asked: MemoryQuestion
    """What was asked; perhaps of a plan that has changed since."""
    answer: MemoryAnswer
    """Bytes by part, or why they cannot be told."""


@dataclass
class DataCounted(Message):
    """How far the exact count of a large data set has come."""

    question: DataQuestion
    """What was asked."""
    share: float
    """From 0 to 1."""

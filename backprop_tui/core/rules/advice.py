"""Advice: one thing to refuse, to warn about or to note, with its fix and its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backprop_tui.core.effective import Effective, TrainRows
from backprop_tui.core.facts import Facts
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory import Estimate
from backprop_tui.core.runfile import RunFile

__all__ = ["Advice", "Case", "Fix", "Level", "Rule"]

Level = Literal["problem", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Advice:
    """field: the run-file key it stands under. source: where the rule comes from."""

    code: str
    level: Level
    field: str
    message: str
    fix: Fix | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a rule may look at."""

    run: RunFile
    facts: Facts
    rows: TrainRows
    plan: Effective
    memory: Estimate | None


Rule = Callable[[Case], Advice | None]

"""RULES: what to refuse and what to warn about, each a pure function of a Case.

Adding a rule is a function in `method.py`, `objectives.py`, `kto.py`, `data.py`, `quality.py`,
`machine.py`, `memory.py` or `guards.py`, its place in that file's tuple, its line in docs/codes.md
and a test.
Level "problem" refuses; the rest may run.
"""

from __future__ import annotations

from backprop_tui.core.effective import TrainRows, effective, estimated_rows
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import estimate
from backprop_tui.core.rules.advice import Advice, Case, Fix, Level, Rule
from backprop_tui.core.rules.data import DATA_RULES
from backprop_tui.core.rules.guards import GUARD_RULES
from backprop_tui.core.rules.kto import KTO_RULES
from backprop_tui.core.rules.machine import MACHINE_RULES
from backprop_tui.core.rules.memory import MEMORY_RULES
from backprop_tui.core.rules.method import METHOD_RULES
from backprop_tui.core.rules.objectives import OBJECTIVE_RULES
from backprop_tui.core.rules.quality import QUALITY_RULES
from backprop_tui.core.runfile import RunFile

RULES: tuple[Rule, ...] = (
    *(*METHOD_RULES, *OBJECTIVE_RULES, *KTO_RULES, *DATA_RULES),
    *(*QUALITY_RULES, *MACHINE_RULES, *MEMORY_RULES, *GUARD_RULES),
)
LEVELS: tuple[Level, ...] = ("problem", "warning", "note")

__all__ = ["LEVELS", "RULES", "Advice", "Case", "Fix", "Level", "judge"]


def judge(
    run: RunFile, facts: Facts, rows: TrainRows | None = None, *, free_ram: int | None = None
) -> tuple[Advice, ...]:
    """All advice on this plan: problems first, then warnings, then notes.

    rows: exact counts after the held-out split, when known. free_ram: bytes, for CPU runs.
    """
    counts = rows or estimated_rows(run, facts)
    plan = effective(run, facts, counts)
    case = Case(run, facts, counts, plan, estimate(run, facts, plan, free_ram))
    found = [advice for rule in RULES if (advice := rule(case)) is not None]
    return tuple(sorted(found, key=lambda advice: LEVELS.index(advice.level)))

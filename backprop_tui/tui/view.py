"""View: everything the wizard shows, computed from the plan and the facts by pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backprop_tui.core.effective import Effective, TrainRows, effective, estimated_rows
from backprop_tui.core.errors import Problem
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory import Estimate, estimate, not_modelled
from backprop_tui.core.methods import METHODS
from backprop_tui.core.recommend import Recommendation, recommend
from backprop_tui.core.rules import Advice, Fix, judge
from backprop_tui.core.runfile import RunFile

STEPS = ("machine", "model", "data", "method", "tuning", "memory", "review")
TUNING_SECTIONS = ("training", "lora", "output", "guards")
DOES_NOT_FIT = "memory-does-not-fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One moment of the wizard.

    advice: what the rules say, and what is wrong with the texts as typed; problems first.
    reading: what is being read right now ("machine", "model", "data").
    method_chosen: whether the user took the method by hand; else the recommendation rules.
    not_modelled: why memory cannot be estimated, in words. free_ram: bytes a CPU run may use.
    """

    plan: RunFile
    facts: Facts
    rows: TrainRows
    effective: Effective
    memory: Estimate | None
    not_modelled: str
    free_ram: int | None
    advice: tuple[Advice, ...]
    recommendation: Recommendation
    reading: frozenset[str] = frozenset()
    method_chosen: bool = False
    counted: float | None = None  # share of a large data set that is counted so far

    @property
    def problems(self) -> tuple[Advice, ...]:
        """What refuses the start."""
        return tuple(item for item in self.advice if item.level == "problem")

    def under(self, key: str) -> tuple[Advice, ...]:
        """The advice that stands under a field."""
        return tuple(item for item in self.advice if item.field == key)

    @property
    def change(self) -> Fix | None:
        """What would make a plan fit that does not."""
        found = (item.fix for item in self.advice if item.code == DOES_NOT_FIT)
        return next(found, None)

    def on_step(self, step: str) -> tuple[Advice, ...]:
        """The advice that stands on a step; review shows all of it."""
        if step == "review":
            return self.advice
        return tuple(item for item in self.advice if step in places(item))

    def is_todo(self, item: Advice) -> bool:
        """Whether a problem only means that something was not filled in yet."""
        return item.field in ("model.id", "data.path") and not value_at(self.plan, item.field)


def look(
    plan: RunFile,
    facts: Facts,
    *,
    rows: TrainRows | None = None,
    troubles: Iterable[Problem] = (),
    reading: frozenset[str] = frozenset(),
    free_ram: int | None = None,
    method_chosen: bool = False,
    counted: float | None = None,
) -> View:
    """The view of a plan. troubles: texts that could not become part of it, and failed reads."""
    facts = replace(facts, card=plan.machine.card)
    counts = rows or estimated_rows(plan, facts)
    decided = effective(plan, facts, counts)
    memory = estimate(plan, facts, decided, free_ram)
    typed = tuple(_as_advice(trouble) for trouble in troubles)
    advice = (*typed, *judge(plan, facts, counts, free_ram=free_ram))
    return View(
        plan=plan,
        facts=facts,
        rows=counts,
        effective=decided,
        memory=memory,
        not_modelled=not_modelled(plan, facts, decided),
        free_ram=free_ram,
        advice=advice,
        recommendation=recommend(facts, memory.headroom if memory else None),
        reading=reading,
        method_chosen=method_chosen,
        counted=counted,
    )


def _as_advice(trouble: Problem) -> Advice:
    text = sentences(trouble.message, trouble.fix)
    return Advice(trouble.code, "problem", trouble.field, text, source=trouble.source)


def sentences(*parts: str) -> str:
    """Parts joined as sentences."""
    ended = [part if part[-1] in ".?!" else f"{part}." for part in parts if part]
    return " ".join(part[:1].upper() + part[1:] if i else part for i, part in enumerate(ended))


def places(item: Advice) -> tuple[str, ...]:
    """The steps an advice stands on, the one to open first."""
    own = step_of(item.field)
    return ("memory", own) if item.code == DOES_NOT_FIT else (own,)


def step_of(key: str) -> str:
    """The step where a run-file key is asked for."""
    section = key.split(".")[0]
    if section in METHODS or section == "engine":
        return "method"
    return "tuning" if section in TUNING_SECTIONS else section


def value_at(plan: RunFile, key: str) -> Any:
    """The value of a dotted key; None when it or its table is absent."""
    value: Any = plan
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def summary(advice: Iterable[Advice]) -> Mapping[str, int]:
    """How many of each level."""
    counts = {"problem": 0, "warning": 0, "note": 0}
    for item in advice:
        counts[item.level] += 1
    return counts

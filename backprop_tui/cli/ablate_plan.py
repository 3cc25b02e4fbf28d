"""The plan of `ablate`, judged cell by cell before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backprop_tui.cli.output import show_advice
from backprop_tui.core.ablation_cost import Cost, cost_of
from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.grid import Ablation, plan_ablation
from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.ablation import AblationFolder, is_ablation
from backprop_tui.runs.ablation_table import Table, seconds_a_step

if TYPE_CHECKING:
    from backprop_tui.core.rules import Advice
    from backprop_tui.probe.survey import Survey


def planned(
    run: RunFile,
    path: Path,
    folder: AblationFolder,
    trust_remote_code: bool,
    grid: list[str],
    preset: str | None,
    seeds: int,
    most: int,
) -> tuple[Ablation, bool, Cost]:
    """The plan, whether the held-out rows are pairs, and the cost. Raises as `surveyed` does."""
    from backprop_tui.probe.survey import resolved, survey

    # The keys are refused before the data is read; what follows from its shape comes after.
    plan_ablation(run, str(path), grid=grid, preset=preset, seeds=seeds, most=most)
    found = survey(run, path=str(path), trust_remote_code=trust_remote_code)
    data = found.facts.data
    plan = plan_ablation(
        resolved(run),
        str(path),
        grid=grid,
        preset=preset,
        seeds=seeds,
        shape=data.shape if data else None,
        rows=found.counts.train,
        most=most,
    )
    return plan, *surveyed(plan, folder, trust_remote_code)


def surveyed(plan: Ablation, folder: AblationFolder, trust_remote_code: bool) -> tuple[bool, Cost]:
    """Whether the held-out rows are pairs, and the cost. Raises ConfigError for any cell that
    would be refused as a run, InputError ABLATION_NO_HELDOUT."""
    import psutil

    from backprop_tui.probe.gpu import probe_gpu
    from backprop_tui.probe.model import probe_model
    from backprop_tui.probe.survey import as_problems, measured, read_data, survey_from

    if not plan.base.data.heldout:
        raise InputError(
            "data.heldout = 0: nothing is held out, so no cell could be compared with another",
            hint="set data.heldout to 0.1 or more",
            code="ABLATION_NO_HELDOUT",
        )
    gpu = probe_gpu()
    model = probe_model(
        plan.base.model.id,
        revision=plan.base.model.revision,
        trust_remote_code=trust_remote_code,
    )
    read = {}
    surveys: list[Survey] = []
    problems: dict[str, Problem] = {}
    for cell in plan.cells:
        if cell.run.method not in read:
            loaded, data = read_data(cell.run)
            read[cell.run.method] = loaded, measured(cell.run, model, data, loaded)
        loaded, data = read[cell.run.method]
        found = survey_from(cell.run, gpu, model, data, loaded, trust_remote_code=trust_remote_code)
        surveys.append(found)
        blocking = [item for item in found.advice if item.level == "problem"]
        for problem in as_problems(blocking):
            problems.setdefault(problem.message, problem)
    if problems:
        raise ConfigError("the cells of this ablation", tuple(problems.values()))
    show_advice(_warnings(plan, surveys), err=True)
    pace = None
    if is_ablation(folder.path):
        pace = seconds_a_step(Table(folder, plan).rows())
    memory = psutil.virtual_memory().available
    cells = [(c.run, s.facts, s.plan) for c, s in zip(plan.cells, surveys, strict=True)]
    cost = cost_of(cells, memory, _free(folder.path), pace, surveys[0].counts.heldout)
    return all(data.shape == "paired" for _, data in read.values()), cost


def _warnings(plan: Ablation, surveys: Sequence[Survey]) -> Iterator[Advice]:
    """Each once. One that not every cell has names those; no remedy turns what the grid turns."""
    told: dict[str, Advice] = {}
    cells: dict[str, list[str]] = {}
    for cell, found in zip(plan.cells, surveys, strict=True):
        for item in found.advice:
            if item.level == "warning":
                told.setdefault(item.message, item)
                cells.setdefault(item.message, []).append(cell.name)
    turned = {key for cell in plan.cells for key in cell.changes}
    for message, item in told.items():
        some = cells[message]
        if item.fix and turned.intersection(dict(item.fix.changes)):
            item = replace(item, fix=None)
        if len(some) < len(plan.cells):
            names = ", ".join(some[:4]) + (f" and {len(some) - 4} more" if some[4:] else "")
            item = replace(item, message=f"{names}: {message}")
        yield item


def _free(path: Path) -> int:
    """Bytes free where a folder is, or will be."""
    there = path.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free

"""The folder of an ablation: its plan on disk, its cells, what they scored.

ABLATION/ablation.toml   the plan: run file, cells, and what the decision rests on
ABLATION/cells/NAME/     an ordinary run folder each
ABLATION/scores/NAME.json, base.json   log-probabilities of the held-out pairs
ABLATION/result.json     the table and the decision
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from backprop_tui.core import runfile_io
from backprop_tui.core.decision import ENOUGH_PAIRS, LEAD
from backprop_tui.core.errors import BackpropError, InputError
from backprop_tui.core.grid import Ablation, Cell
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_problems import shown, value_shown
from backprop_tui.core.scores import PairLogps
from backprop_tui.runs.whole_file import write_whole

PLAN, CELLS, SCORES, RESULT = "ablation.toml", "cells", "scores", "result.json"
STOP = "stop"  # in the folder: cells on other machines stop and save
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class AblationFolder:
    """Paths of one ablation."""

    path: Path

    @property
    def plan(self) -> Path:
        """ablation.toml."""
        return self.path / PLAN

    @property
    def result(self) -> Path:
        """result.json."""
        return self.path / RESULT

    @property
    def stop(self) -> Path:
        """While it is there, cells stop and save."""
        return self.path / STOP

    def cell(self, name: str) -> Path:
        """The run folder of a cell."""
        return self.path / CELLS / name

    def scores(self, name: str) -> Path:
        """What a cell, or "base", scored."""
        return self.path / SCORES / f"{name}.json"


def is_ablation(path: Path) -> bool:
    """Whether this is the folder of an ablation."""
    return (path / PLAN).is_file()


def begin(folder: AblationFolder, plan: Ablation) -> None:
    """Make the folder with its plan, or find the same plan there.

    Raises InputError: ABLATION_CHANGED when another plan is there, with the keys that differ;
    OUTPUT_EXISTS when the folder is something else; WRITE_REFUSED.
    """
    there = is_ablation(folder.path)
    if there:
        _refuse_another(folder, plan)
    elif os.path.lexists(folder.path):
        raise InputError(
            f"output: {folder.path} exists, is no ablation, and is not overwritten",
            hint="choose another folder with --output",
            code="OUTPUT_EXISTS",
        )
    try:
        if not there:
            folder.path.mkdir(parents=True, mode=0o700)
            write_whole(folder.plan, tomli_w.dumps(_as_toml(plan)))
        for inner in (CELLS, SCORES):
            (folder.path / inner).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output: {folder.path} cannot be created: {error.strerror or error}",
            hint="choose a folder you may write to with --output",
            code="WRITE_REFUSED",
        ) from error


def read_plan(folder: AblationFolder) -> Ablation:
    """The plan as it was recorded. Raises InputError ABLATION_UNREADABLE."""
    try:
        raw = tomllib.loads(folder.plan.read_text(encoding="utf-8"))
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']} is not {SCHEMA}")
        base = runfile_io.parse(raw["run"], str(folder.plan))
        cells = tuple(_cell(one, base, folder) for one in raw["cells"])
        return Ablation(base, cells, str(raw["grid"]), tuple(map(str, raw["notes"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BackpropError) as error:
        raise InputError(
            f"{folder.plan} cannot be read as the plan of an ablation: {shown(str(error))}",
            hint="it is written by backprop-tui ablate and not meant to be changed",
            code="ABLATION_UNREADABLE",
        ) from error


def read_scores(path: Path) -> tuple[PairLogps, ...] | None:
    """What was scored; None where there is nothing whole."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_pair(*row) for row in raw["pairs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pair(number: int, chosen: float, rejected: float, *tokens: int) -> PairLogps:
    if not (math.isfinite(chosen) and math.isfinite(rejected)) or min(tokens) < 1:
        raise ValueError("these are no scores of a pair")
    return PairLogps(int(number), chosen, rejected, *tokens)


def write_scores(path: Path, pairs: tuple[PairLogps, ...]) -> None:
    """Keep scores; each pair as [number, chosen, rejected, chosen_tokens, rejected_tokens]."""
    rows = [list(asdict(pair).values()) for pair in pairs]
    write_whole(path, json.dumps({"schema": SCHEMA, "pairs": rows}) + "\n")


def _as_toml(plan: Ablation) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "grid": plan.grid,
        "notes": list(plan.notes),
        "decision": {
            "measure": "pairs right by log-probability per token, on the held-out pairs",
            "cleanliness": "mean / standard deviation (n - 1) of the margin per token over pairs",
            "lead": LEAD,
            "pairs_needed": ENOUGH_PAIRS,
        },
        "run": runfile_io.dump(plan.base),
        "cells": [
            {
                "name": cell.name,
                "setting": cell.setting,
                "seed": cell.seed,
                "changes": cell.changes,
            }
            for cell in plan.cells
        ],
    }


def _cell(raw: dict[str, Any], base: RunFile, folder: AblationFolder) -> Cell:
    changes = dict(raw["changes"])
    run = runfile_io.change(base, changes, str(folder.plan))
    name = str(raw["name"])
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"a cell cannot be named {name}")
    return Cell(name, str(raw["setting"]), int(raw["seed"]), changes, run)


def _refuse_another(folder: AblationFolder, plan: Ablation) -> None:
    before, now = read_plan(folder), plan
    differs = list(_differences(before, now))
    if differs:
        raise InputError(
            f"{folder.path} holds another ablation; it differs in {'; '.join(differs)}",
            hint=f"go on with that one: backprop-tui ablate {folder.path}; or begin this one "
            "elsewhere with --output",
            code="ABLATION_CHANGED",
        )


def _differences(before: Ablation, now: Ablation) -> Iterator[str]:
    was, is_now = _flat(runfile_io.dump(before.base)), _flat(runfile_io.dump(now.base))
    for key in sorted(was.keys() | is_now.keys()):
        if was.get(key) != is_now.get(key):
            old, new = (value_shown(one.get(key)) for one in (was, is_now))
            yield f"{key} ({old} there, {new} here)"
    cells, here = (
        {cell.name: cell.changes | {"training.seed": cell.seed} for cell in one.cells}
        for one in (before, now)
    )
    for title, names in (
        ("cells only there", cells.keys() - here.keys()),
        ("cells only here", here.keys() - cells.keys()),
        ("other settings in", {n for n in cells.keys() & here.keys() if cells[n] != here[n]}),
    ):
        if names:
            yield f"{title}: {', '.join(sorted(names))}"


def _flat(raw: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in raw.items():
        inner = _flat(value, f"{before}{key}.") if isinstance(value, dict) else {}
        found |= inner or {f"{before}{key}": value}
    return found

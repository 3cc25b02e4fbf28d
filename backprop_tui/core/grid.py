"""The plan of an ablation: which run files are trained, and why these. Pure.

The default is the decisive 2x2, objective x LoRA rank on one split: a higher rank alone widens the
train margin, so an objective is compared at two ranks (docs/ablate.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.facts import Shape
from backprop_tui.core.grid_settings import PRESETS, Turned, combinations, from_papers, two_by_two
from backprop_tui.core.grid_text import Axis, axes_of
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile
from backprop_tui.core.runfile_keys import valid_keys
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.core.text import count, rate

MOST_CELLS = 64
SEED = "training.seed"
# Every cell is measured on the same rows by the same base, or nothing could be compared.
SHARED = ("schema", "output", "provenance", "model.id", "model.revision", "model.chat_template")
SHARED_TABLES = ("data", "machine", "guards", "provenance")
SHARED_BUT = ("data.max_length", "data.cut_answers")  # cells share the rows that all could read


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of an ablation.

    setting: what it is without its seed; cells of one setting are its repetitions. changes: the
    keys in which it differs from the run file. run: the whole plan; its output is not set.
    """

    name: str
    setting: str
    seed: int
    changes: dict[str, Any]
    run: RunFile


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is to be trained. notes: what a reader of the result must know beforehand."""

    base: RunFile
    cells: tuple[Cell, ...]
    grid: str  # in words: "2x2: objective x LoRA rank"
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(dict.fromkeys(cell.setting for cell in self.cells))


def plan_ablation(
    run: RunFile,
    path: str = "run file",
    *,
    grid: Sequence[str] = (),
    preset: str | None = None,
    seeds: int = 1,
    shape: Shape | None = "paired",
    rows: int = 0,
    most: int = MOST_CELLS,
) -> Ablation:
    """The cells of an ablation.

    grid: "key=value,value" each, every combination of them; without one, the preset. preset: "2x2"
    (the default), "paper" (the search grid of the file's method), "published" (its published
    settings). seeds: repetitions, from training.seed on. shape: of the data. rows: trained on.
    Raises ConfigError for a key or a value no run file may have, InputError ABLATION_TOO_LARGE.
    """
    base = runfile_io.change(run, {"provenance": None, "output": None})
    axes = axes_of(grid)
    _refuse_shared(axes, seeds, path)
    _refuse_large(prod(len(values) for _, values in axes), most * len(METHODS), path)
    found = _chosen(base, axes, preset, shape, rows)
    _refuse_large(len(found.settings) * seeds, most, path)
    cells = _cells(base, found.settings, seeds, path)
    return Ablation(base, cells, found.title, (*found.notes, *_notes(base, cells)))


def _refuse_large(n: int, most: int, path: str) -> None:
    if n > most:
        raise InputError(
            f"{path}: the grid has {count(n)} cells; at most {count(most)} are trained",
            hint="give fewer values, or raise --max-cells",
            code="ABLATION_TOO_LARGE",
        )


def _refuse_shared(axes: Sequence[Axis], seeds: int, path: str) -> None:
    problems = [
        Problem(
            INVALID,
            key,
            f"{key}: all cells share it, or they could not be compared (from --grid)",
            fix="set it in the run file, or with --set",
        )
        for key, _ in axes
        if key in SHARED or (key.partition(".")[0] in SHARED_TABLES and key not in SHARED_BUT)
    ]
    if seeds > 1 and any(key == SEED for key, _ in axes):
        problems.append(
            Problem(INVALID, SEED, f"{SEED}: --seeds repeats every cell already (from --grid)")
        )
    if problems:
        raise ConfigError(path, tuple(problems))


def _chosen(
    base: RunFile, axes: Sequence[Axis], preset: str | None, shape: Shape | None, rows: int
) -> Turned:
    if preset is not None and preset not in PRESETS:
        raise InputError(
            f"--preset {preset}: no such preset",
            hint=f"allowed: {', '.join(PRESETS)}",
            code=INVALID,
        )
    if preset is None and axes:
        found = Turned("", [{}])
    elif preset in (None, "2x2"):
        found = two_by_two(base, shape, rows)
    else:
        found = from_papers(base, preset or "")
    if axes:
        given = " x ".join(key for key, _ in axes)
        found.title = f"{found.title} x {given}" if found.title else given
        found.settings = [
            changes | more for changes in found.settings for more in combinations(axes)
        ]
        found.settings = _with_own_keys(base, found.settings, axes)
    found.settings = [_scaled(base, changes) for changes in found.settings]
    turned = any("lora.rank" in changes for changes in found.settings)
    if base.lora and turned and "lora.alpha" not in dict(axes):
        ratio = rate(base.lora.alpha / base.lora.rank)
        found.notes.append(f"lora.alpha goes with the rank: alpha / rank stays {ratio}.")
    return found


def _with_own_keys(
    base: RunFile, settings: Sequence[dict[str, Any]], axes: Sequence[Axis]
) -> list[dict[str, Any]]:
    """A knob turns only in the cells of its own method; each setting once."""
    kept: list[dict[str, Any]] = []
    used: set[str] = set()
    for changes in settings:
        method = changes.get("method", base.method)
        foreign = tuple(f"{name}." for name in METHOD_SECTIONS if name != method)
        mine = {key: value for key, value in changes.items() if not key.startswith(foreign)}
        used |= mine.keys()
        if mine not in kept:
            kept.append(mine)
    idle = [key for key, _ in axes if key not in used]
    if idle:
        raise ConfigError(
            "--grid",
            tuple(
                Problem(
                    INVALID,
                    key,
                    f"{key}: no cell has method = {key.partition('.')[0]!r} (from --grid)",
                    fix=f"add --grid method={base.method},{key.partition('.')[0]}",
                )
                for key in idle
            ),
        )
    return kept


def _scaled(base: RunFile, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Another rank keeps the scale of the update, alpha / rank: or two things would differ."""
    rank = changes.get("lora.rank")
    if base.lora is None or "lora.alpha" in changes or not isinstance(rank, int):
        return dict(changes)
    alpha = float(f"{base.lora.alpha * rank / base.lora.rank:.12g}")
    if alpha <= 0:  # the rank is refused, not what follows from it
        return dict(changes)
    return {**changes, "lora.alpha": alpha}


def _cells(
    base: RunFile, settings: Sequence[dict[str, Any]], seeds: int, path: str
) -> tuple[Cell, ...]:
    names = _names(base, settings)
    problems: dict[str, Problem] = {}
    made: list[Cell] = []
    for name, changes in zip(names, settings, strict=True):
        for seed in range(base.training.seed, base.training.seed + seeds):
            full = name if seeds == 1 else f"{name}-s{seed}"
            all_changes = changes if seeds == 1 else {**changes, SEED: seed}
            try:
                run = runfile_io.change(base, all_changes, path)
            except ConfigError as error:
                for one in error.problems:
                    told = replace(one, message=f"{one.message} (from --grid)")
                    unknown = one.field not in valid_keys()  # whatever its value
                    problems.setdefault(one.field if unknown else one.message, told)
            else:
                made.append(Cell(full, name, run.training.seed, dict(all_changes), run))
    if problems:
        raise ConfigError(path, tuple(problems.values()))
    return tuple(made)


def _names(base: RunFile, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names, each once, that are folders everywhere: "simpo-r8", "simpo-beta2.5-gamma1"."""
    varies = {
        key
        for key in {key for changes in settings for key in changes}
        if len({str(changes.get(key, "")) for changes in settings}) > 1
    } - {"lora.alpha" if any("lora.rank" in changes for changes in settings) else ""}
    found: list[str] = []
    for changes in settings:
        parts = [str(changes.get("method", base.method))]
        for key, value in changes.items():
            if key == "method" or key not in varies:
                continue
            short = "r" if key == "lora.rank" else key.rpartition(".")[2]
            shown = f"{value:.12g}" if isinstance(value, float) else str(value)
            parts.append(f"{short}{shown}")
        name = re.sub(r"[^A-Za-z0-9._=+-]+", "_", "-".join(parts))[:60].strip(".")
        number, free = 2, name
        while free in found:
            free, number = f"{name}-{number}", number + 1
        found.append(free)
    return found


def _notes(base: RunFile, cells: Sequence[Cell]) -> Iterable[str]:
    """Confounders: what else differs between the cells, or what one of them would want."""
    methods = tuple(dict.fromkeys(cell.run.method for cell in cells))
    if len(methods) < 2 or any("training.learning_rate" in cell.changes for cell in cells):
        return
    given = base.training.learning_rate
    if given is None:
        yield (
            "Confounder: the run file gives no learning rate, so each method takes its own "
            "default, as in any run; the table shows it."
        )
    else:
        yield (
            f"Confounder: every method trains at the file's learning rate {rate(given)}, which "
            "need not be the best for each; methods differ in the rate they want."
        )

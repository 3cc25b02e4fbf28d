"""What the cells of an ablation do on the same held-out pairs, in figures. Pure.

Cells are compared on the same held-out pairs by the model's own log-probabilities per token, not by
the reward of each objective: simpo's is beta times a mean, dpo's a ratio to the base, orpo's a log
odds, so neither their size nor their sign at zero means the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from backprop_tui.core.methods import MethodName
from backprop_tui.core.scores import PairLogps, right

BASE = "base"
ENOUGH = 0.5  # share of the pairs that a cell must have scores of


@dataclass(frozen=True, slots=True)
class CellScores:
    """One finished cell, measured. train_margin: log-probability per token of the chosen answers
    minus that of the rejected, mean over the last ten training steps; None without such figures.
    peers: alike in cells that differ in nothing but rank, scale and seed."""

    name: str
    setting: str
    method: MethodName
    rank: int | None  # None: every weight was trained
    pairs: tuple[PairLogps, ...]
    train_margin: float | None = None
    peers: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one setting does on the pairs that all settings and the base were measured on.

    right: pairs whose chosen answer is the likelier per token, ties a half; mean over seeds.
    margin: mean over pairs (and seeds) of that difference, in nats per token. cleanliness: mean of
    the margin over the pairs divided by its standard deviation (n - 1); mean over seeds.
    outcomes: right (1, 0 or a half) by pair and seed, [seeds][pairs].
    """

    setting: str
    method: MethodName
    rank: int | None
    seeds: int
    n: int
    right: float
    margin: float
    cleanliness: float
    train_margin: float | None
    peers: str
    outcomes: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Field:
    """Everything that is compared. order: settings as planned. left_out: name -> why."""

    settings: tuple[Measured, ...]
    base: Measured | None
    n: int
    left_out: Mapping[str, str]


def cleanliness(margins: Sequence[float]) -> float:
    """Mean / standard deviation of margins per token; infinite where they are all alike and above
    zero. It does not change when every margin grows alike. ValueError: fewer than two."""
    if len(margins) < 2:
        raise ValueError("two margins are needed")
    middle, spread = fmean(margins), stdev(margins)
    if spread == 0:
        return 0.0 if middle == 0 else math.copysign(math.inf, middle)
    return middle / spread


@dataclass(frozen=True, slots=True)
class Missing:
    """A cell without scores, and why."""

    name: str
    setting: str
    why: str


def compared(
    settings: Sequence[str],
    cells: Sequence[CellScores],
    base: Sequence[PairLogps],
    missing: Sequence[Missing] = (),
) -> Field:
    """The settings whose every cell was measured, on the pairs held out of all of them.

    settings: as planned; one that misses a cell is left out. base: the frozen model's scores, ()
    where there are none.
    """
    left_out: dict[str, str] = {}
    for one in missing:
        before = left_out.get(one.setting)
        told = f"{one.name} {one.why}"
        left_out[one.setting] = f"{before}; {told}" if before else told
    by_setting = {
        setting: found
        for setting in settings
        if setting not in left_out and (found := [c for c in cells if c.setting == setting])
    }
    most = max((len(cell.pairs) for some in by_setting.values() for cell in some), default=0)
    for cell in (cell for some in by_setting.values() for cell in some):
        if len(cell.pairs) < most * ENOUGH:  # a model that diverged scores no numbers
            left_out[cell.setting] = f"{cell.name} has scores of {len(cell.pairs)} of {most} pairs"
    by_setting = {name: some for name, some in by_setting.items() if name not in left_out}
    kept = [cell for found in by_setting.values() for cell in found]
    numbers = _shared([cell.pairs for cell in kept] + ([base] if base else []))
    if len(numbers) < 2:
        return Field((), None, len(numbers), left_out)
    measured = tuple(_measured(setting, some, numbers) for setting, some in by_setting.items())
    alone = None
    if base:
        alone = _measured(BASE, [CellScores(BASE, BASE, "", None, tuple(base))], numbers)
    return Field(measured, alone, len(numbers), left_out)


def _shared(scores: Sequence[Sequence[PairLogps]]) -> list[int]:
    """The rows that everybody held out: what one trained on is no test of it."""
    sets = [{pair.number for pair in some} for some in scores]
    return sorted(set.intersection(*sets)) if sets else []


def _measured(setting: str, cells: Sequence[CellScores], numbers: Sequence[int]) -> Measured:
    margins = []
    for cell in cells:
        by_number = {pair.number: pair.margin_per_token for pair in cell.pairs}
        margins.append([by_number[number] for number in numbers])
    outcomes = tuple(tuple(map(right, row)) for row in margins)
    trained = [cell.train_margin for cell in cells if cell.train_margin is not None]
    return Measured(
        setting=setting,
        method=cells[0].method,
        rank=cells[0].rank,
        seeds=len(cells),
        n=len(numbers),
        right=fmean(sum(row) for row in outcomes),
        margin=fmean(fmean(row) for row in margins),
        cleanliness=fmean(cleanliness(row) for row in margins),
        train_margin=fmean(trained) if len(trained) == len(cells) else None,
        peers=cells[0].peers,
        outcomes=outcomes,
    )

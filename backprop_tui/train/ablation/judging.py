"""The decision with its intervals, and result.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from backprop_tui.core.cells import Field, Measured
from backprop_tui.core.decision import Decision, decide
from backprop_tui.core.grid import Ablation
from backprop_tui.core.interval import Interval
from backprop_tui.core.plain import finite
from backprop_tui.runs.ablation import SCHEMA, AblationFolder
from backprop_tui.runs.ablation_table import Table
from backprop_tui.runs.whole_file import write_whole
from backprop_tui.train.evals.bootstrap import Array, bootstrap, mean, mean_difference

NO_PAIRS = (
    "No decision: the held-out rows are not pairs, so the rule has nothing to count. Each cell's "
    "own held-out figures compare between cells of one objective alone."
)


def difference(one: Measured, other: Measured) -> Interval:
    """Of the share of pairs right, one minus other, 95 %: resampled over the same pairs of both,
    and with several seeds over the seeds of each as well."""
    if one.seeds == other.seeds == 1:
        return bootstrap([one.outcomes[0], other.outcomes[0]], mean_difference)
    draw = np.random.default_rng(1)

    def over_seeds(*columns: Array) -> Array:
        shares = np.stack([mean(column) for column in columns], axis=-1)  # [resamples, runs]
        mine, theirs = shares[:, : one.seeds], shares[:, one.seeds :]
        return np.asarray(_some(mine, draw) - _some(theirs, draw))

    return bootstrap([*one.outcomes, *other.outcomes], over_seeds)


def _some(shares: Array, draw: np.random.Generator) -> Array:
    """The mean over as many seeds, drawn with replacement for each resample."""
    rows, seeds = shares.shape
    chosen = draw.integers(0, seeds, (rows, seeds))
    return np.asarray(np.take_along_axis(shares, chosen, axis=1).mean(axis=1))


def judge(folder: AblationFolder, plan: Ablation, *, paired: bool = True) -> tuple[Field, Decision]:
    """Decide on what has been scored so far. paired: the held-out rows are pairs, which the rule
    needs. Raises OSError when the folder may not be read."""
    if not paired:
        return Field((), None, 0, {}), Decision("not-comparable", None, NO_PAIRS)
    field = Table(folder, plan).field()
    return field, decide(field, difference)


def keep(folder: AblationFolder, plan: Ablation, field: Field, decision: Decision) -> None:
    """Write result.json. Raises OSError."""
    text = json.dumps(as_json(folder, plan, field, decision), indent=2, ensure_ascii=False)
    write_whole(folder.result, text + "\n")


def as_json(
    folder: AblationFolder, plan: Ablation, field: Field, decision: Decision
) -> dict[str, Any]:
    """The table and the decision; a number that is not finite is null."""
    found: dict[str, Any] = finite(
        {
            "schema": SCHEMA,
            "path": str(folder.path.resolve()),
            "grid": plan.grid,
            "notes": list(plan.notes),
            "heldout_pairs": field.n,
            "cells": [
                asdict(row) | {"path": str(folder.cell(row.name).resolve())}
                for row in Table(folder, plan).rows()[1:]
            ],
            "base": _setting(field.base) if field.base else None,
            "settings": [_setting(one) for one in field.settings],
            "left_out": dict(field.left_out),
            "decision": {
                "kind": decision.kind,
                "setting": decision.setting,
                "leader": decision.leader,
                "sentence": decision.sentence,
                "reasons": list(decision.reasons),
                "intervals": dict(decision.intervals or {}),
            },
        }
    )
    return found


def _setting(one: Measured) -> dict[str, Any]:
    plain = asdict(one)
    del plain["outcomes"], plain["peers"]
    return plain

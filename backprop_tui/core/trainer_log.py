"""Logs of other trainers -> events: JSON lines as TRL and transformers write them. Pure.

A line is one JSON object, as a callback or W&B export writes `logs`; a trainer_state.json has
the same objects under log_history. Names: TRL's, with or without `train_`, `eval_`, `train/`,
`eval/` before them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Evaluated, Step
from backprop_tui.core.history import History

HELD = ("eval_", "eval/")
TRAIN = ("train_", "train/")
# Figure of an event -> names in a log, the best one first, without what stands before them.
NAMES: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "grad_norm": ("grad_norm",),
    "learning_rate": ("learning_rate",),
    "margin": ("rewards/margins", "rewards_margins", "margin", "margins"),
    "reward_chosen": ("rewards/chosen", "rewards_chosen"),
    "reward_rejected": ("rewards/rejected", "rewards_rejected"),
    "accuracy": ("rewards/accuracies", "rewards_accuracies", "accuracy", "preference_accuracy"),
}
OF_STEP = ("grad_norm", "learning_rate")
BROKEN = ("loss", "grad_norm")  # not finite: the run broke, and that is looked at
SUMMARY = "train_runtime"  # transformers' last object: means of a whole run


def read_log(lines: Iterable[str], name: str, heldout_rows: int | None = None) -> History:
    """The history of a log: its steps and evaluations, nothing else, for it has nothing else.

    lines: of JSON lines, or of one JSON document. name: of the file, for the error. heldout_rows:
    where the log does not say; else time times rate of an evaluation, and 0 where that is missing.
    logps/* are left out: TRL logs sums for dpo and kto and means for orpo and simpo, under one
    name. Raises InputError RUN_LOG_UNUSABLE when no object has a loss, margin or accuracy.
    """
    text = list(lines)
    found, history = _objects(text), History()
    last = max((_whole(item.get("step")) or 0 for item in found), default=0)
    step, epoch = 0, 0.0
    for item in found:
        if SUMMARY in item:
            continue
        epoch = _number(item.get("epoch")) or epoch
        held, train = _figures(item, HELD), _figures(item, TRAIN, plain=True)
        known = _whole(item.get("step"))
        step = known if known is not None else step + (1 if train else 0)
        if train:
            history.add(_step(train, step, max(last, step), epoch))
        if held:
            rows = heldout_rows if heldout_rows is not None else _rows(item)
            history.add(_evaluated(held, step, rows))
    if not (history.steps or history.evaluations):
        raise InputError(
            f"{name} is no log of a training: no JSON object in it has a loss, rewards/margins or "
            "rewards/accuracies",
            hint="give a run folder, a JSONL log with one object a line, or a trainer_state.json",
            code="RUN_LOG_UNUSABLE",
        )
    return history


def _step(found: Mapping[str, float], step: int, steps: int, epoch: float) -> Step:
    return Step(
        t=0.0,
        step=step,
        steps=steps,
        epoch=epoch,
        loss=found.get("loss", math.nan),
        learning_rate=found.get("learning_rate", 0.0),
        grad_norm=found.get("grad_norm"),
        reward_chosen=found.get("reward_chosen"),
        reward_rejected=found.get("reward_rejected"),
        margin=found.get("margin"),
        accuracy=found.get("accuracy"),
    )


def _evaluated(found: Mapping[str, float], step: int, rows: int) -> Evaluated:
    return Evaluated(
        t=0.0,
        step=step,
        rows=rows,
        loss=found.get("loss", math.nan),
        reward_chosen=found.get("reward_chosen"),
        reward_rejected=found.get("reward_rejected"),
        margin=found.get("margin"),
        accuracy=found.get("accuracy"),
    )


def _objects(lines: list[str]) -> list[Mapping[str, Any]]:
    """Every JSON object of the log; broken lines are passed over, as of a run that was killed."""
    try:
        whole = json.loads("".join(lines))
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        whole = whole.get("log_history", [whole])
    if isinstance(whole, list):
        return [item for item in whole if isinstance(item, dict)]
    found: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(item, dict):
            found.append(item)
    return found


def _figures(
    item: Mapping[str, Any], before: tuple[str, ...], *, plain: bool = False
) -> dict[str, float]:
    """The figures of an object under these prefixes; {} where it has none that tells of a run.

    plain: also those that have no prefix. A number that is not finite is kept where it
    tells of a run that broke.
    """
    prefixes = (*before, "") if plain else before
    found = {}
    for figure, names in NAMES.items():
        for key in (prefix + name for name in names for prefix in prefixes):
            value = _number(item.get(key))
            if value is not None and (figure in BROKEN or math.isfinite(value)):
                found[figure] = value
                break
    return found if found.keys() - set(OF_STEP) else {}


def _number(value: Any) -> float | None:
    """A float; also from the text that newer loggers write ("0.693")."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and 0 <= number < 2**63 else None


def _rows(item: Mapping[str, Any]) -> int:
    """How many rows an evaluation read: its seconds times its rows a second, rounded."""
    for before in HELD:
        seconds = _number(item.get(f"{before}runtime"))
        pace = _number(item.get(f"{before}samples_per_second"))
        if seconds is not None and pace is not None and 0 < seconds * pace < 2**53:
            return round(seconds * pace)
    return 0

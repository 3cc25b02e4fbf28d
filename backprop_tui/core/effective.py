"""What training will really use, once every "auto", clamp and balance is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backprop_tui.core.facts import Facts
from backprop_tui.core.rates import Balance, Rate, kto_balance, learning_rate
from backprop_tui.core.runfile import RunFile

KTO_SMALLEST_BATCH = 2  # of TRL: it takes the mismatched answers from the batch
BF16_UP_TO = 1_000_000_000  # parameters; above this, "auto" precision quantises


@dataclass(frozen=True, slots=True)
class TrainRows:
    """How many rows train and are held out; the label counts are of the training rows."""

    train: int
    heldout: int
    desirable: int = 0
    undesirable: int = 0


@dataclass(frozen=True, slots=True)
class Effective:
    """The decided values. steps is 0 while the number of rows is unknown."""

    learning_rate: float
    rate: Rate
    batch_size: int
    accumulation: int
    steps: int
    eval_steps: int
    save_steps: int
    device: str  # "cuda" | "cpu"
    precision: str  # never "auto"
    optimizer: str  # never "auto"
    max_length: int
    balance: Balance | None  # kto, when both labels are present


def effective(run: RunFile, facts: Facts, rows: TrainRows | None = None) -> Effective:
    """Pure: the same run file and facts always give the same values.

    rows: counts after the held-out split; without them the data facts' kept rows stand in.
    """
    training = run.training
    if rows is None:
        rows = estimated_rows(run, facts)
    device = decide_device(run, facts)
    batch = max(training.batch_size, smallest_batch(run))
    steps = total_steps(run, rows.train, batch)
    balance = None
    if run.kto and rows.desirable and rows.undesirable:
        weights = run.kto.desirable_weight, run.kto.undesirable_weight
        if run.kto.rebalance:
            balance = kto_balance(rows.desirable, rows.undesirable, *weights)
        else:
            ratio = weights[0] * rows.desirable / (weights[1] * rows.undesirable)
            balance = Balance(*weights, ratio=ratio, changed=False, capped=False)
    chosen = learning_rate(
        run.method,
        training.learning_rate,
        rows.train,
        clamp=training.lr_clamp,
        lora=run.lora is not None,
    )
    context = facts.model.context if facts.model else None
    return Effective(
        learning_rate=chosen.value,
        rate=chosen,
        batch_size=batch,
        accumulation=training.accumulation,
        steps=steps,
        eval_steps=training.eval_steps
        or eval_cadence(steps, rows.heldout, batch * training.accumulation),
        save_steps=training.save_steps or max(1, math.ceil(steps / 2)),
        device=device,
        precision=decide_precision(run, facts, device),
        optimizer=(
            ("paged_adamw_8bit" if device == "cuda" else "adamw")
            if training.optimizer == "auto"
            else training.optimizer
        ),
        max_length=min(run.data.max_length, context or run.data.max_length),
        balance=balance,
    )


def smallest_batch(run: RunFile) -> int:
    """Rows a batch must have. The lean engine takes kto's mismatched answers from all the data."""
    return KTO_SMALLEST_BATCH if run.method == "kto" and run.engine == "trl" else 1


def eval_cadence(steps: int, heldout: int, effective_batch: int) -> int:
    """Ten times a run, but never so often that more rows are measured than trained on."""
    return max(1, round(steps / 10), math.ceil(heldout / effective_batch))


def estimated_rows(run: RunFile, facts: Facts) -> TrainRows:
    """Counts from the data facts alone, before the real split is made."""
    if facts.data is None:
        return TrainRows(0, 0)
    kept, heldout = facts.data.kept, 0
    labels = facts.data.labels or {}
    if run.method == "kto" and facts.data.shape == "paired":
        labels = {True: kept, False: kept}  # each pair is read as two rows
        kept *= 2
    if run.data.heldout and kept > 1:
        # As the split does it: at least one row on each side.
        heldout = min(max(round(kept * run.data.heldout), 1), kept - 1)
    good, bad = labels.get(True, 0), labels.get(False, 0)
    share = 1 - run.data.heldout
    return TrainRows(
        train=kept - heldout,
        heldout=heldout,
        # A label that is there is not rounded away: that would read as one label only.
        desirable=max(round(good * share), min(good, 1)),
        undesirable=max(round(bad * share), min(bad, 1)),
    )


def total_steps(run: RunFile, train_rows: int, batch: int) -> int:
    """Optimizer steps of the whole run; 0 while the number of rows is unknown."""
    if run.training.max_steps is not None:
        return run.training.max_steps
    if train_rows == 0:
        return 0
    batches = math.ceil(train_rows / batch)
    per_epoch = math.ceil(batches / run.training.accumulation)
    return max(1, math.ceil(per_epoch * run.training.epochs))


def decide_device(run: RunFile, facts: Facts) -> str:
    """ "auto" means the chosen card when there is one."""
    if run.machine.device != "auto":
        return run.machine.device
    return "cuda" if facts.gpu_card else "cpu"


def decide_precision(run: RunFile, facts: Facts, device: str) -> str:
    """ "auto": float32 on a CPU; on a card half precision up to a billion parameters, else nf4."""
    if run.model.precision != "auto":
        return run.model.precision
    if device == "cpu":
        return "fp32"
    parameters = facts.model.parameters if facts.model else None
    if parameters is not None and parameters <= BF16_UP_TO:
        card = facts.gpu_card
        return "fp16" if card and card.bf16 is False else "bf16"
    return "nf4"

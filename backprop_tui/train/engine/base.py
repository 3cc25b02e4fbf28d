"""The frozen base's log-probabilities for the rows a run will use: found again, or measured.

With several processes all measure together, each its share, and the first one keeps the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from backprop_tui.train.engine.batch import Item, RowSet
from backprop_tui.train.engine.check import evaluating
from backprop_tui.train.engine.forward import sums
from backprop_tui.train.engine.reference import Reference, cached, kept, key, measured

if TYPE_CHECKING:
    from backprop_tui.train.engine.trainer import PreferenceTrainer

Progress = Callable[[int, int], None]


def quiet(_done: int, _rows: int) -> None:
    """Progress that nobody is told of."""


class Keep(NamedTuple):
    """Where the measured values are kept, and what they depend on beside the rows.

    folder: of the run. weights: a hash or a commit of the base. precision: how it is held.
    recorded: the file that an earlier run names, and the SHA-256 it had.
    """

    folder: Path
    weights: str
    precision: str
    recorded: tuple[Path, str] | None = None


def give_base(
    trainer: PreferenceTrainer, progress: Progress, keep: Keep | None = None
) -> Reference | None:
    """Fill in the reference of the trainer's rows; the file that has it, if one is kept.

    progress: told between batches how many rows are done, of how many; what it raises ends the
    work. RunError: the base gives a row no finite log-probability.
    """
    items = rows_of_run(trainer)
    main = trainer.is_world_process_zero()
    name = _key(trainer, items, keep) if keep and main else ""
    found = _found(trainer, name, len(items), keep) if keep else None
    if found is None:
        values = measured(
            [of.rows[row].number for of, row in items],
            lambda start, stop: measure(trainer, items[start:stop]),
            batch=trainer.args.train_batch_size * trainer.processes,
            progress=progress,
        )
        if keep and main:
            found = kept(name, values, keep.folder)
    else:
        values = found.values
    _fill(items, values)
    return found


def _fill(items: Sequence[Item], values: Tensor) -> None:
    """Give each set its rows' values. What is not in the run stays NaN: used by mistake, it would
    stop the run."""
    for of in {id(of): of for of, _ in items}.values():
        of.reference = torch.full((len(of), 2), float("nan"))
    for (of, row), value in zip(items, values, strict=True):
        assert of.reference is not None
        of.reference[row] = value


def rows_of_run(trainer: PreferenceTrainer) -> list[Item]:
    """The held-out rows, and the training rows that come up in the steps of the run."""
    heldout: RowSet | None = trainer.eval_dataset
    train: RowSet = trainer.train_dataset
    args = trainer.args
    order = list(trainer._get_train_sampler())
    if args.max_steps > 0:
        step = args.train_batch_size * args.gradient_accumulation_steps * trainer.processes
        order = order[: args.max_steps * step]
    items = [(heldout, row) for row in range(len(heldout))] if heldout else []
    return items + [(train, row) for row in sorted(order)]


def measure(trainer: PreferenceTrainer, items: Sequence[Item]) -> Tensor:
    """Log-probabilities of the frozen base, [items, 2] on the CPU: the adapter off.

    Every process asks for the same rows, measures its share of them and is told all. Rows of the
    two sets do not mix, so that held-out rows are packed as an evaluation packs them, and what
    has not changed comes out equal to the last bit.
    """
    sets = groupby(items, key=lambda item: id(item[0]))
    return torch.cat([_measure(trainer, list(same)) for _, same in sets])


def _measure(trainer: PreferenceTrainer, items: Sequence[Item]) -> Tensor:
    numbers = range(len(items))
    mine = numbers[trainer.accelerator.process_index :: trainer.processes]
    # Where there are fewer rows than processes: the shards of a model are gathered by all.
    read = mine or numbers[:1]
    groups = [items[number][0].group(items[number][1]) for number in read]
    parts = trainer.collator.layouts(groups)
    parts += parts[-1:] * (trainer.forwards(len(parts)) - len(parts))
    with (
        adapter_off(trainer),
        torch.no_grad(),
        evaluating(trainer.model),
        trainer.accelerator.autocast(),
    ):
        found = torch.cat([sums(trainer.model, part.to(trainer.args.device)) for part in parts])
    found = found.view(-1, 2).cpu()
    everyone = dict(trainer.from_all(list(zip(mine, found, strict=False))))
    return torch.stack([everyone[number] for number in numbers])


def adapter_off(trainer: PreferenceTrainer) -> Any:
    """The frozen base inside. Before the first step a fully trained model still is its base."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()


def _key(trainer: PreferenceTrainer, items: Sequence[Item], keep: Keep) -> str:
    groups = (of.group(row) for of, row in items)
    return key(
        ((group.prompt, *group.answers) for group in groups),
        weights=keep.weights,
        precision=keep.precision,
        dtype=_arithmetic(trainer),
        path="shared" if trainer.collator.shared else "plain",
    )


def _arithmetic(trainer: PreferenceTrainer) -> str:
    """What numbers the base is computed in."""
    if trainer.args.bf16 or trainer.args.fp16:
        return "bf16" if trainer.args.bf16 else "fp16"
    return str(next(p.dtype for p in trainer.model.parameters() if p.is_floating_point()))


def _found(trainer: PreferenceTrainer, name: str, rows: int, keep: Keep) -> Reference | None:
    """What the first process finds, in all of them: either all measure or none does."""
    found: list[Reference | None] = [None]
    if trainer.is_world_process_zero():
        found = [cached(name, rows, keep.folder, keep.recorded)]
    if trainer.processes > 1:
        broadcast_object_list(found)
    return found[0]

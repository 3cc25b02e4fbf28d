"""One try of the heaviest batch before step 1: forward, backward, optimizer, and measuring.

The trainer is as it was afterwards, and so are the weights, to the last bit: gradients are zero
and so is the rate when the optimizer steps, and zero times anything is added.
"""

from __future__ import annotations

import copy
import gc
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from backprop_tui.core.memory_question import Row
from backprop_tui.train.encoded import IGNORE, EncodedChat
from backprop_tui.train.meter import Meter

PLAIN = (bool, int, float, str, type(None))
CONTAINERS = (list, tuple, set, deque)


@dataclass(frozen=True, slots=True)
class Tried:
    """step: seconds of an optimizer step on rows of average length, as far as the heaviest batch
    tells. measuring: seconds for all held-out rows. rows: lengths of the heaviest training batch,
    as a memory question has them. learned, saved: bytes of what is trained, and of a checkpoint."""

    step: float
    measuring: float
    rows: tuple[Row, ...]
    learned: int
    saved: int


class Heaviest(NamedTuple):
    """A batch as the trainer gets it. share: what an average one weighs of it."""

    batch: Any
    share: float
    rows: tuple[Row, ...]


def tried(trainer: Any, train: Sequence[Any], heldout: Sequence[Any], meter: Meter) -> Tried:
    """Try the heaviest batch under the meter, twice: the second time it is timed.

    train, heldout: the encoded rows. torch.OutOfMemoryError: it does not fit.
    """
    with unchanged(trainer), meter.watching(trainer):
        model = _as_train_begins(trainer)
        batch = heaviest(trainer, train, training=True)
        held = heaviest(trainer, heldout, training=False) if heldout else None
        _update(trainer, model)  # the optimizer's state is there from here on
        one = _Round(trainer, model, batch.batch, held and held.batch)
        one.take()
        if meter.slow:
            meter.stop()
        seconds, update, measuring = one.take()
    args = trainer.args
    batches = -(-len(heldout) // args.eval_batch_size)
    return Tried(
        step=seconds * batch.share * args.gradient_accumulation_steps + update,
        measuring=measuring * held.share * batches if held else 0.0,
        rows=batch.rows,
        learned=one.learned,
        saved=one.learned + one.state,
    )


class _Round:
    """The same batches again and again."""

    def __init__(self, trainer: Any, model: Any, batch: Any, held: Any) -> None:
        self.trainer, self.model, self.batch, self.held = trainer, model, batch, held
        trained = [one for one in model.parameters() if one.requires_grad]
        self.learned = sum(one.numel() * one.element_size() for one in trained)
        self.state = _bytes_of(trainer.optimizer.state)

    def take(self) -> tuple[float, float, float]:
        """Seconds of a batch's forward and backward, of the update, of an evaluation batch."""
        trainer, model = self.trainer, self.model
        if trainer.args.gradient_accumulation_steps > 1:
            trainer.training_step(model, self.batch)  # its gradients stay for the next
        begun = _now(trainer)
        trainer.training_step(model, self.batch)
        stepped = _now(trainer)
        _update(trainer, model)
        updated = _now(trainer)
        if self.held is not None:
            model.eval()
            trainer.prediction_step(model, self.held, True)
        return stepped - begun, updated - stepped, _now(trainer) - updated


def _update(trainer: Any, model: Any) -> None:
    """A step of the optimizer that changes no weight, and the end of the gradients."""
    import torch

    trained = [one for one in model.parameters() if one.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, trainer.args.max_grad_norm)
    for one in trained:
        one.grad = torch.zeros_like(one) if one.grad is None else one.grad.zero_()
    # Not accelerate's, which would let the scaler of fp16 learn from it.
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    model.zero_grad()


def heaviest(trainer: Any, rows: Sequence[Any], *, training: bool) -> Heaviest:
    """The batch with most tokens.

    The lean engine's first training batch is its heaviest one. TRL draws its batches: the longest
    rows of all stand for the worst of them. Held-out rows are read in their order.
    """
    weights = [_tokens(row) for row in rows]
    lean = hasattr(trainer, "lean")
    size = trainer.args.train_batch_size if training else trainer.args.eval_batch_size
    if training and lean:
        picked = list(trainer._get_train_sampler())[:size]
    elif training:
        picked = sorted(range(len(rows)), key=lambda row: -weights[row])[:size]
    else:
        starts = range(0, len(rows), size)
        start = max(starts, key=lambda at: sum(weights[at : at + size]))
        picked = list(range(len(rows)))[start : start + size]
    tokens = sum(weights[row] for row in picked)
    share = sum(weights) / len(weights) * len(picked) / tokens
    dataset = trainer.train_dataset if training else trainer.eval_dataset
    if lean:
        batch = trainer.data_collator([dataset[row] for row in picked])
    else:  # read to its end: accelerate keeps count of loaders that are being read
        (batch,) = trainer.get_eval_dataloader(dataset.select(picked))
    return Heaviest(batch, share, tuple(_lengths(rows[row]) for row in picked))


def _lengths(row: Any) -> Row:
    """Tokens of its prompt and of each answer."""
    if isinstance(row, EncodedChat):
        answer = sum(label != IGNORE for label in row.labels)
        return len(row.input_ids) - answer, answer
    names = ("prompt", "chosen", "rejected", "completion")
    return tuple(len(getattr(row, name)) for name in names if hasattr(row, name))


def _tokens(row: Any) -> int:
    """Of a row with its answers, a shared prompt counted once."""
    names = ("prompt", "chosen", "rejected", "completion", "input_ids")
    return sum(len(getattr(row, name, ())) for name in names)


def _as_train_begins(trainer: Any) -> Any:
    """What `Trainer.train` does before its first step; it does so again. The model to step with."""
    args = trainer.args
    if args.activation_checkpointing:
        options = dict(args.activation_checkpointing_kwargs or {})
        every = options.pop("every_n_layers", 1)
        trainer.model.activation_checkpointing_enable(options, every_n_layers=every)
    model, _ = trainer._prepare_for_training(1, None, None)
    trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps
    model.zero_grad()
    return model


@contextmanager
def unchanged(trainer: Any) -> Iterator[None]:
    """Leave trainer, callbacks and chance as they were, whatever is computed meanwhile."""
    handler = trainer.callback_handler
    owners = [trainer, trainer.accelerator.gradient_state, *handler.callbacks]
    before = [_plain_values(owner) for owner in owners]
    kept = {name: getattr(handler, name) for name in ("optimizer", "lr_scheduler")}
    training = {module for module in trainer.model.modules() if module.training}
    chance = _chance()
    try:
        yield
    finally:
        trainer.model.zero_grad()
        trainer.accelerator.free_memory()
        for owner, values in zip(owners, before, strict=True):
            vars(owner).update(values)
        for name, value in kept.items():
            setattr(handler, name, value)
        for module in trainer.model.modules():
            module.training = module in training
        _set_chance(chance)
        tidy()


@contextmanager
def keeping_chance() -> Iterator[None]:
    """Random numbers go on afterwards as if none had been drawn."""
    chance = _chance()
    try:
        yield
    finally:
        _set_chance(chance)


def tidy() -> None:
    """Give back what nothing holds any more."""
    import torch

    gc.collect()  # an optimizer and its schedule hold each other
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _plain_values(owner: Any) -> dict[str, Any]:
    """Copies of what an object counts and collects: its plain values, and containers of them."""
    return {name: copy.deepcopy(value) for name, value in vars(owner).items() if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value)) and all(map(_plain, value.values()))
    return isinstance(value, PLAIN) or (isinstance(value, CONTAINERS) and all(map(_plain, value)))


def _bytes_of(state: Any) -> int:
    """All tensors of an optimizer's state."""
    import torch

    found = (value for values in state.values() for value in values.values())
    return sum(one.numel() * one.element_size() for one in found if isinstance(one, torch.Tensor))


def _now(trainer: Any) -> float:
    """Seconds, once the card has done what it was told."""
    if trainer.args.device.type == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def _chance() -> tuple[Any, ...]:
    """The state of every source of random numbers."""
    import numpy as np
    import torch

    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cards


def _set_chance(before: tuple[Any, ...]) -> None:
    import numpy as np
    import torch

    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    if before[3]:
        torch.cuda.set_rng_state_all(before[3])

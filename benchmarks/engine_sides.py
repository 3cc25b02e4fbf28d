"""One engine at one setting, ready to take steps: a real trainer on a model with random weights.

A step here is the trainer's own `training_step` on a batch of its own data loader, then clipping
and the optimizer, as `Trainer.train` does with accumulation 1. What an engine does once for the
whole data set (the lean engine's reference log-probabilities) is timed with the first.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.engine_data import labelled, pairs
from benchmarks.engine_models import Precision, Shape, random_model, warm_adapter

CLIP = 1.0  # the run file's default


@dataclass(frozen=True, slots=True)
class Setting:
    """What decides a step beside its rows. engine: "lean" or "trl". batch: pairs; for kto twice
    as many judged answers, which also is the fewest that stock takes."""

    engine: str
    method: str
    shape: Shape
    batch: int
    checkpointing: bool = True
    precision: Precision = "fp32"
    device: str = "cpu"
    max_length: int = 1024

    @property
    def name(self) -> str:
        """For what is printed on the way."""
        engine = "stock" if self.engine == "trl" else self.engine
        return f"{engine}, checkpointing {'on' if self.checkpointing else 'off'}"


class Side:
    """A trainer that can be stepped through its rows, again and again. base: the model to train;
    made for the setting where none is given."""

    def __init__(self, setting: Setting, rows: list[Any], folder: Path, base: Any = None) -> None:
        self.setting = setting
        base = base or random_model(setting.shape, setting.precision, setting.device)
        self._dtypes = {name: one.dtype for name, one in base.named_parameters()}
        self.trainer = build(setting, base, rows, folder)
        warm_adapter(self.trainer.model)
        self.model = _as_train_begins(self.trainer, steps=len(rows))

    def epoch(self) -> Iterator[tuple[float, float]]:
        """Train on all rows once; of each batch the seconds on the wall and of the processor, its
        loading included. With the first comes what is done once before."""
        begun = _clocks()
        if hasattr(self.trainer, "prepare"):
            self.trainer.prepare()  # the lean engine's reference, where the method has one
        for batch in self.trainer.get_train_dataloader():
            self.step(batch)
            now = _clocks()
            yield now[0] - begun[0], now[1] - begun[1]
            begun = _clocks()

    def step(self, batch: Any) -> None:
        """Forward, backward, optimizer."""
        self.trainer.training_step(self.model, batch)
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
        self.trainer.optimizer.step()
        self.trainer.optimizer.zero_grad()
        if self.setting.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def watched_epoch(self) -> tuple[int, int]:
        """(bytes of the weights, most bytes of tensors) of one pass over the rows."""
        from backprop_tui.train.memory.peak import PeakBytes

        watch = PeakBytes()
        watch.hold(*self.model.parameters(), *self.model.buffers())
        before = watch.now
        with watch:
            for _ in self.epoch():
                pass
        return before, watch.peak

    def gradients(self) -> dict[str, Any]:
        """Of the adapter, by name, on the CPU: after one batch, without a step."""
        if hasattr(self.trainer, "prepare"):
            self.trainer.prepare()
        batch = next(iter(self.trainer.get_train_dataloader()))
        self.trainer.training_step(self.model, batch)
        found = {
            name: one.grad.float().cpu()
            for name, one in self.trainer.model.named_parameters()
            if one.grad is not None
        }
        self.trainer.optimizer.zero_grad()
        return found

    def release(self) -> Any:
        """The model as it was before, without adapter; the trainer is of no more use."""
        trainer = self.trainer
        if hasattr(trainer, "lean"):
            trainer.lean.remove()
        base = trainer.model.unload()
        trainer.accelerator.free_memory()
        base.activation_checkpointing_disable()
        base.disable_input_require_grads()
        for name, one in base.named_parameters():
            one.grad = None
            if one.dtype != self._dtypes.get(name, one.dtype):  # some trainers widen a few
                one.data = one.data.to(self._dtypes[name])
        del self.trainer, self.model
        gc.collect()
        return base


def _as_train_begins(trainer: Any, steps: int) -> Any:
    """What `Trainer.train` does before its first step: activations are checkpointed from there on,
    autocast wraps the model, the optimizer is made. The model to step with."""
    if trainer.args.activation_checkpointing:
        options = dict(trainer.args.activation_checkpointing_kwargs or {})
        every = options.pop("every_n_layers", 1)
        trainer.model.activation_checkpointing_enable(options, every_n_layers=every)
    model, _ = trainer._prepare_for_training(steps, trainer.get_train_dataloader(), None)
    trainer.current_gradient_accumulation_steps = 1
    return model


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def build(setting: Setting, model: Any, rows: list[Any], folder: Path) -> Any:
    """The trainer as a run file with these settings gets it."""
    from transformers import AutoTokenizer

    from backprop_tui.core.control import Control
    from backprop_tui.core.effective import effective
    from backprop_tui.core.facts import Facts
    from backprop_tui.core.runfile_io import parse
    from backprop_tui.probe.model import probe_model
    from backprop_tui.train.emit import EventCallback
    from backprop_tui.train.trainers import TrainerInput, build_trainer

    batch = setting.batch * (2 if setting.method == "kto" else 1)
    run = parse(
        {
            "method": setting.method,
            "engine": setting.engine,
            "output": str(folder),
            "model": {"id": "random", "precision": setting.precision},
            "data": {"path": "random", "max_length": setting.max_length, "heldout": 0.0},
            "lora": {"rank": 16},
            "training": {
                "batch_size": batch,
                "accumulation": 1,
                "learning_rate": 1e-6,
                "checkpointing": setting.checkpointing,
            },
            "machine": {"device": setting.device},
        }
    )
    plan = replace(effective(run, Facts()), steps=len(rows), batch_size=batch)
    trainer = build_trainer(
        TrainerInput(
            run=run,
            plan=plan,
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(probe_model("pocket").path),
            train=rows,
            heldout=[],
            checkpoints=folder / "checkpoints",
            callback=EventCallback(lambda _event: None, Control(), lambda: 0.0),
        )
    )
    if setting.engine == "trl":
        # The rows are in random order already, chosen so that their padding is typical.
        trainer.args.train_sampling_strategy = "sequential"
    return trainer


def rows_for(method: str, lengths: Any, vocabulary: int) -> list[Any]:
    """Pairs, or for kto both answers of each."""
    return (labelled if method == "kto" else pairs)(lengths, vocabulary)

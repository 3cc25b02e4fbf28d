"""One engine at one setting, ready to take steps: a real trainer on a model with random weights.

A step here is the trainer's own `training_step` on a batch of its own data loader, then clipping
and the optimizer, as `Trainer.train` does with accumulation 1. What an engine does once for the
whole data set (the lean engine's reference log-probabilities) is timed as well.
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
    """What decides a step beside its rows. engine: "lean" or "trl"."""

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
        """For tables."""
        engine = {"trl": "stock", "lean": "lean"}[self.engine]
        return f"{engine}, checkpointing {'on' if self.checkpointing else 'off'}"


class Side:
    """A trainer that can be stepped through its rows, again and again."""

    def __init__(self, setting: Setting, rows: list[Any], folder: Path) -> None:
        self.setting = setting
        model = random_model(setting.shape, setting.precision, setting.device)
        self.trainer = build(setting, model, rows, folder)
        warm_adapter(self.trainer.model)
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.create_optimizer()

    def epoch(self) -> Iterator[tuple[float, float]]:
        """Train on all rows once; of each batch the seconds on the wall and of the processor, its
        loading included. With the first comes what is done once before."""
        trainer = self.trainer
        begun = _clocks()
        if hasattr(trainer, "prepare"):
            trainer.prepare()  # the lean engine's reference, where the method has one
        for batch in trainer.get_train_dataloader():
            self.step(batch)
            now = _clocks()
            yield now[0] - begun[0], now[1] - begun[1]
            begun = _clocks()

    def watched_epoch(self) -> tuple[int, int]:
        """(bytes of tensors before, most bytes during) one pass over the rows."""
        from benchmarks.engine_peak import PeakBytes, held_by

        with PeakBytes(held_by(self.trainer.model, self.trainer.optimizer)) as watch:
            for _ in self.epoch():
                pass
        return watch.before, watch.peak

    def step(self, batch: Any) -> None:
        """Forward, backward, optimizer."""
        trainer = self.trainer
        trainer.training_step(trainer.model, batch)
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), CLIP)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        self.synchronise()

    def synchronise(self) -> None:
        """Wait until the card has done what it was given."""
        if self.setting.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def close(self) -> None:
        """Give the memory back."""
        self.trainer = None
        gc.collect()


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def build(setting: Setting, model: Any, rows: list[Any], folder: Path) -> Any:
    """The trainer as a run file with these settings gets it."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from backprop_tui.core.control import Control
    from backprop_tui.core.effective import effective
    from backprop_tui.core.facts import Facts
    from backprop_tui.core.runfile_io import parse
    from backprop_tui.probe.model import probe_model
    from backprop_tui.train.emit import EventCallback
    from backprop_tui.train.trainers import TrainerInput, build_trainer

    logging.set_verbosity_error()
    run = parse(
        {
            "method": setting.method,
            "engine": setting.engine,
            "output": str(folder),
            "model": {"id": "random", "precision": setting.precision},
            "data": {"path": "random", "max_length": setting.max_length, "heldout": 0.0},
            "lora": {"rank": 16},
            "training": {
                "batch_size": setting.batch,
                "accumulation": 1,
                "learning_rate": 1e-6,
                "checkpointing": setting.checkpointing,
            },
            "machine": {"device": setting.device},
        }
    )
    # Without facts about files; kto's smallest batch is the stock trainer's limit, kept for both.
    plan = replace(effective(run, Facts()), steps=len(rows))
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
        # Rows come in random order already; so the sample's share of padding is what is measured.
        trainer.args.train_sampling_strategy = "sequential"
    return trainer


def rows_for(method: str, lengths: Any, vocabulary: int) -> list[Any]:
    """Pairs, or for kto one judged answer of each."""
    return (labelled if method == "kto" else pairs)(lengths, vocabulary)

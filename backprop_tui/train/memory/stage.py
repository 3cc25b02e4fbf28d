"""The stage for a rehearsal: the run's own trainer, rows of the asked lengths, one step to take."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, Trainer, TrainerCallback

import backprop_tui
from backprop_tui.core.effective import Effective, TrainRows, effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.memory_question import MemoryQuestion
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import parse
from backprop_tui.train.encoded import IGNORE, EncodedChat, EncodedLabelled, EncodedPair
from backprop_tui.train.engine.batch import RowSet
from backprop_tui.train.trainers import TrainerInput, build_trainer

TOKENIZER = Path(backprop_tui.__file__).parent / "demo" / "pocket"  # any would do


@contextmanager
def built(
    asked: MemoryQuestion, model: Any, path: Any = None, *, steps: int = 1, accumulation: int = 1
) -> Iterator[Any]:
    """The run's own trainer around a model, with rows of these lengths, for some steps.

    path: how the lean engine computes.
    """

    def in_order(me: Any, *_: Any) -> SequentialSampler:
        return SequentialSampler(me.train_dataset)

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    with ExitStack() as open_:
        folder = open_.enter_context(tempfile.TemporaryDirectory())
        run, plan = _plan(asked, folder, steps, accumulation)
        if next(model.parameters()).is_meta:  # it cannot be moved
            open_.enter_context(mock.patch.object(Trainer, "_move_model_to_device"))
        trainer = build_trainer(
            TrainerInput(
                run=run,
                plan=plan,
                model=model,
                tokenizer=tokenizer,
                train=_rows(asked, steps * accumulation),
                heldout=[],
                checkpoints=Path(folder),
                callback=_Silent(),
                path=path,
            )
        )
        trainer.args.save_strategy = "no"
        trainer.accelerator.device_placement = False
        for name, does in (("log", lambda *_: None), ("_get_train_sampler", in_order)):
            open_.enter_context(mock.patch.object(type(trainer), name, does))
        if isinstance(trainer.train_dataset, RowSet):
            _fill(trainer.train_dataset)
        yield trainer


def _fill(rows: RowSet) -> None:
    """What comes from the whole set and not from these rows: of the frozen base two numbers a
    row; for kto an answer to borrow."""
    rows.reference = torch.zeros(len(rows), 2)
    borrow_longest(rows)


def borrow_longest(rows: RowSet) -> None:
    """As in the worst batch of kto: each row borrows the longest answer of all."""
    if rows.labelled:
        longest = max(range(len(rows)), key=lambda row: len(rows.rows[row].completion))
        rows.borrowed = [longest] * len(rows)


def _plan(
    asked: MemoryQuestion, folder: str, steps: int, accumulation: int
) -> tuple[RunFile, Effective]:
    """A run file that trains these rows, and what is decided of it."""
    lora = None
    if asked.lora:
        rank, targets = asked.lora
        lora = {"rank": rank, "targets": targets if isinstance(targets, str) else list(targets)}
    training = {
        "batch_size": len(asked.rows),
        "accumulation": accumulation,
        "max_steps": steps,
        "optimizer": asked.optimizer,
        "checkpointing": asked.checkpoint_every > 0,
        "checkpoint_every": max(asked.checkpoint_every, 1),
        "lr_clamp": False,
        **({"batch_tokens": asked.batch_tokens} if asked.batch_tokens else {}),
    }
    plan = {
        "method": asked.method,
        "engine": asked.engine if asked.method != "sft" else "lean",
        "output": folder,
        "machine": {"device": "cpu"},
        "model": {"id": "pocket", "precision": asked.precision},
        "data": {"path": "pocket", "max_length": max(asked.max_length, 16), "heldout": 0.0},
        "training": training,
        **({"lora": lora} if lora else {}),
    }
    run = parse(plan)
    return run, effective(run, Facts(), TrainRows(len(asked.rows) * steps * accumulation, 0))


def _rows(asked: MemoryQuestion, batches: int) -> list[Any]:
    """Encoded rows with these lengths, in each batch."""
    made: list[Any] = []
    for number, lengths in enumerate(itertools.chain.from_iterable([asked.rows] * batches)):
        # Other ids in each row: kto borrows answers of other prompts.
        parts = [[5 + number % 7] * length for length in lengths]
        prompt, answer, *more = parts
        if more:
            made.append(EncodedPair(number, prompt, answer, *more))
        elif METHODS[asked.method].shapes[0] == "unpaired":
            made.append(EncodedLabelled(number, prompt, answer, number % 2 == 0))
        else:
            labels = [IGNORE] * len(prompt) + answer
            made.append(EncodedChat(number, prompt + answer, labels))
    return made


class _Silent(TrainerCallback):  # type: ignore[misc]
    """Told what a run's callback is told."""

    def count(self, *_: int) -> None:
        """Tokens and rows."""

    def count_tokens(self, _: Any) -> None:
        """A batch."""

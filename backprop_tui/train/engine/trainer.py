"""PreferenceTrainer: transformers.Trainer around a pure objective and the lean forward.

Accumulation, schedules, optimizers, checkpoints, DistributedDataParallel and FSDP are the
library's. Ours: what a batch is, its loss, and figures that are means of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments

from backprop_tui.train.engine.base import Keep, Progress, give_base, quiet
from backprop_tui.train.engine.batch import Batch, Collator, RowSet
from backprop_tui.train.engine.check import decide
from backprop_tui.train.engine.forward import LeanForward, Path, causal_model, sums
from backprop_tui.train.engine.layout import divided
from backprop_tui.train.engine.metrics import Measured, figures, intervals, merge
from backprop_tui.train.engine.objectives import Objective, Result, Sides
from backprop_tui.train.engine.order import BatchOrder
from backprop_tui.train.engine.processes import SharedTrainer
from backprop_tui.train.engine.reference import Reference

# A token with gradient, in forward passes without one: the base is frozen, so its backward
# computes no weight gradients; recomputing is one pass more.
COST, COST_RECOMPUTED = 2.0, 3.0


class PreferenceTrainer(SharedTrainer):
    """Trains any objective of objectives.py. count: told the tokens and rows of each batch.
    path: how to compute, where that is decided already. order_batch: rows of a batch when the
    order of the rows was drawn; smaller batches since then take the same rows in each step."""

    # compute_loss returns the mean of one batch: the library divides by the accumulation.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *,
        model: Any,
        args: TrainingArguments,
        train: RowSet,
        heldout: RowSet | None,
        tokenizer: Any,
        objective: Objective,
        knobs: Mapping[str, float],
        count: Callable[[int, int], None],
        batch_tokens: int | None = None,
        variant: str | None = None,
        path: Path | None = None,
        order_batch: int | None = None,
        callbacks: list[Any] | None = None,
    ) -> None:
        self.objective, self.knobs, self.count = objective, knobs, count
        self.order_batch = order_batch or args.train_batch_size
        self.measured: list[Measured] = []
        self.uncounted = (0, 0)  # tokens and rows that `count` was not told of yet
        self.held: dict[int, tuple[Tensor, Tensor]] = {}  # row -> sums, lengths
        self.lean = LeanForward(causal_model(model))
        self.collator = Collator(
            pad=tokenizer.pad_token_id or 0,
            most=batch_tokens,
            cost=COST_RECOMPUTED if args.activation_checkpointing else COST,
        )
        args.ddp_find_unused_parameters = False  # every trained weight has a part in a forward
        super().__init__(
            model=model,
            args=args,
            train_dataset=train,
            eval_dataset=heldout,
            data_collator=self.collator,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.shard()
        self.use(path or self.choose_path(variant))

    def choose_path(self, variant: str | None = None) -> Path:
        """The quickest way that is right for this model, on the longest row of all, which
        passes whatever window its attention has, and a short one beside it."""
        rows: RowSet = self.train_dataset
        first = list(self._get_train_sampler())[: self.args.train_batch_size]
        shortest = min(first, key=lambda row: rows.group(row).packed_tokens)
        longest = max(range(len(rows)), key=lambda row: rows.group(row).packed_tokens)
        some = [rows.group(row) for row in dict.fromkeys((shortest, longest))]
        batch = divided([rows.group(row) for row in first], self.collator.most, shared=True)[0]
        if self.sharded:  # what is quickest could differ, and then the forwards of each process
            variant = variant or "split"
        with self.accelerator.autocast():
            path = decide(self.lean, self.model, some, half=self.half, batch=batch, variant=variant)
        return self.agreed(path)

    def use(self, path: Path) -> None:
        """Compute this way."""
        self.lean.use(path)
        self.collator.shared = path.shared

    @property
    def half(self) -> bool:
        """Whether the model computes in 16 bits."""
        dtypes = {p.dtype for p in self.model.parameters() if p.is_floating_point()}
        return bool(self.args.bf16 or self.args.fp16 or dtypes & {torch.bfloat16, torch.float16})

    def _get_train_sampler(self, train_dataset: Any = None) -> BatchOrder:
        rows = train_dataset or self.train_dataset
        tokens = [rows.group(row).packed_tokens for row in range(len(rows))]
        seed = self.args.data_seed or 0
        grouped = not self.collator.shared
        return BatchOrder(tokens, self.order_batch, seed, grouped=grouped)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted by the library: it does not know these batches."""
        return 0

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward of one batch, part by part; its mean loss."""
        batch: Batch = inputs["batch"].to(self.args.device)
        model.train()
        idle = self.forwards(len(batch.borrowed)) - len(batch.borrowed)
        with torch.no_grad():
            # Not through what DDP wraps around: that waits for processes that have none of these.
            found = [sums(self.model, part) for part in batch.borrowed]
            for _ in range(idle):
                sums(self.model, batch.parts[-1])
        borrowed = torch.cat(found) if found else None
        self._read(batch)
        total = torch.zeros((), device=self.args.device)
        parts = self.forwards(len(batch.parts))
        for number in range(parts):
            # Where the library adds up batches, gradients are not exchanged after this one anyhow.
            quiet = number < parts - 1 and self.accelerator.sync_gradients
            with self.accelerator.no_sync(model) if quiet else nullcontext():
                given = {"batch": batch, "part": number, "borrowed": borrowed}
                total += super().training_step(model, given)
        return total

    def _read(self, batch: Batch) -> None:
        """What a batch was; told to `count` with the step's figures, for all processes. Tokens
        that only pass forward, for the KL term, are not training and are left out."""
        tokens, rows = self.uncounted
        tokens += sum(part.tokens for part in batch.parts)
        if batch.labels is not None and batch.answers == 2:
            tokens -= sum(sum(part.lengths[1::2]) for part in batch.parts)
        self.uncounted = tokens, rows + len(batch.rows)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The sum of one part's losses over the rows of the whole batch."""
        batch, number = inputs["batch"], inputs["part"]
        if number >= len(batch.parts):  # only another process has so many
            return 0 * sums(model, batch.parts[-1]).sum()
        layout = batch.parts[number]
        start = sum(batch.sizes[:number])
        rows = slice(start, start + batch.sizes[number])
        values = sums(model, layout).view(-1, batch.answers)
        lengths = _lengths(layout, values)
        good = batch.labels[rows] if batch.labels is not None else None
        lent = inputs["borrowed"] if batch.answers == 1 else values[:, 1].detach()
        base = None
        if batch.reference is not None:
            base = _sides(batch.reference[rows], good, batch.reference[:, 1])
        policy, sizes = _sides(values, good, lent), _sides(lengths, good)
        result = self.objective.loss(policy, sizes, base, self.knobs)
        self.measured.append(_measured(result, policy, sizes))
        return result.losses.sum() / len(batch.rows)

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: Any = None,
    ) -> tuple[Tensor, None, None]:
        """Keep the held-out rows' log-probabilities; the figures are of all of them together."""
        batch: Batch = inputs["batch"].to(self.args.device)
        idle = self.forwards(len(batch.parts)) - len(batch.parts)
        with torch.no_grad():
            found = [sums(model, part).view(-1, batch.answers) for part in batch.parts]
            for _ in range(idle):
                sums(model, batch.parts[-1])
        values = torch.cat(found).cpu()
        lengths = torch.cat(
            [_lengths(part, value) for part, value in zip(batch.parts, found, strict=True)]
        ).cpu()
        for place, row in enumerate(batch.rows):
            self.held[row] = values[place], lengths[place]
        return torch.zeros((), device=self.args.device), None, None  # the loss is made in `log`

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        """Measure the held-out rows."""
        self.held.clear()
        return super().evaluate(*arguments, **named)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means over rows, of all processes."""
        if "eval_loss" in logs:
            found = self.held_out()
            logs |= {f"eval_{name}": value for name, value in found.items()}
        elif "loss" in logs and (parts := self.from_all(self.measured)):
            self.measured = []
            for tokens, rows in self.from_all([self.uncounted]):
                self.count(tokens, rows)
            self.uncounted = (0, 0)
            found = figures(merge(parts), paired=self.objective.data == "pairs")
            logs |= {name: value for name, value in found.items() if name != "loss"}
        super().log(logs, start_time)

    def held_out(self) -> dict[str, float]:
        """Figures of the rows measured since the last `evaluate`: one objective over all."""
        held = dict(self.from_all(list(self.held.items())))
        of: RowSet = self.eval_dataset
        rows = sorted(held)
        values = torch.stack([held[row][0] for row in rows])
        lengths = torch.stack([held[row][1] for row in rows])
        good = tuple(of.rows[row].label for row in rows) if of.labelled else None
        base = None
        if of.reference is not None:
            base = _sides(of.reference[rows], good, of.reference[rows, 1])
        policy, sizes = _sides(values, good, values[:, 1]), _sides(lengths, good)
        result = self.objective.loss(policy, sizes, base, self.knobs)
        measured = _measured(result, policy, sizes)
        found = figures(measured, paired=not of.labelled)
        return found if of.labelled else found | intervals(measured)

    def prepare(self, progress: Progress = quiet, keep: Keep | None = None) -> Reference | None:
        """Measure the frozen base where the objective needs it, or find it measured (base.py)."""
        return give_base(self, progress, keep) if self.objective.reference else None


def _sides(values: Tensor, good: Sequence[bool] | None, borrowed: Tensor | None = None) -> Sides:
    """Values [rows, answers] by what they are of; good: the labels of kto."""
    if good is None:
        return Sides(values[:, 0], values[:, 1])

    def of(label: bool) -> Tensor:
        rows = [row for row, is_good in enumerate(good) if is_good is label]
        return values[torch.tensor(rows, dtype=torch.long, device=values.device), 0]

    return Sides(of(True), of(False), borrowed)


def _lengths(layout: Any, values: Tensor) -> Tensor:
    """Tokens of each answer, shaped as the values."""
    return torch.tensor(layout.lengths, device=values.device).view(values.shape)


def _measured(result: Result, policy: Sides, lengths: Sides) -> Measured:
    def plain(value: Tensor) -> Tensor:
        return value.detach().float().cpu()

    return Measured(
        losses=plain(result.losses),
        chosen_rewards=plain(result.chosen_rewards),
        rejected_rewards=plain(result.rejected_rewards),
        chosen_logps=plain(policy.chosen),
        rejected_logps=plain(policy.rejected),
        chosen_lengths=plain(lengths.chosen),
        rejected_lengths=plain(lengths.rejected),
        kl=plain(result.kl) if result.kl is not None else None,
    )

"""Rows -> what one step of training, or one batch of measuring, sends through the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from backprop_tui.train.encoded import EncodedLabelled, EncodedPair
from backprop_tui.train.engine.layout import Group, Layout, divided, packed, padded
from backprop_tui.train.engine.mismatch import mismatched

Item = tuple["RowSet", int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are one batch, in one or more parts that follow each other through the model.

    rows: their places in the set. sizes: rows of each part. answers: a row in the parts, 2, or 1
    where the mismatched answers of kto stand in `borrowed`, which is measured without gradient.
    labels: of kto, one a row. reference [rows, 2]: of the frozen base, where the method needs it.
    """

    rows: tuple[int, ...]
    parts: tuple[Layout, ...]
    sizes: tuple[int, ...]
    answers: int
    borrowed: tuple[Layout, ...] = ()
    labels: tuple[bool, ...] | None = None
    reference: Tensor | None = None

    def to(self, device: Any, **_options: Any) -> Batch:
        """The same on another device."""
        return replace(
            self,
            parts=tuple(part.to(device) for part in self.parts),
            borrowed=tuple(part.to(device) for part in self.borrowed),
            reference=self.reference.to(device) if self.reference is not None else None,
        )


class RowSet(Dataset[Item]):
    """Encoded rows, the training or the held-out ones. Two answers a row: chosen and rejected, or
    the judged one and one borrowed from another prompt."""

    def __init__(self, rows: Sequence[Any], seed: int, *, training: bool) -> None:
        self.rows = list(rows)
        self.training = training
        self.labelled = isinstance(self.rows[0], EncodedLabelled)
        self.borrowed = mismatched(self.rows, seed) if self.labelled else []
        self.reference: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Item:
        return self, row

    def group(self, row: int) -> Group:
        """The row with both its answers."""
        found = self.rows[row]
        if isinstance(found, EncodedPair):
            return Group(found.prompt, (found.chosen, found.rejected))
        return Group(found.prompt, (found.completion, self.rows[self.borrowed[row]].completion))


@dataclass(slots=True)
class Collator:
    """Makes batches. shared: packed rows, else padded ones. most: tokens on the card at once.
    cost: what a token costs with gradient, in forward passes without."""

    pad: int
    most: int | None
    cost: float
    shared: bool = True

    def __call__(self, items: Sequence[Item]) -> dict[str, Batch]:
        """The batch of these rows, on the CPU."""
        of, rows = items[0][0], tuple(row for _, row in items)
        groups = [of.group(row) for row in rows]
        borrowed: list[Layout] = []
        if of.labelled and of.training and not self._with_borrowed(groups):
            lent = [Group(g.prompt, g.answers[1:]) for g in groups]
            borrowed = self.layouts(lent)
            groups = [Group(g.prompt, g.answers[:1]) for g in groups]
        parts = divided(groups, self.most, shared=self.shared)
        batch = Batch(
            rows=rows,
            parts=tuple(map(self.layout, parts)),
            sizes=tuple(map(len, parts)),
            answers=len(groups[0].answers),
            borrowed=tuple(borrowed),
            labels=tuple(of.rows[row].label for row in rows) if of.labelled else None,
            reference=of.reference[list(rows)] if of.reference is not None else None,
        )
        return {"batch": batch}

    def layout(self, groups: Sequence[Group]) -> Layout:
        """Packed or padded, as this model can read it."""
        return packed(groups) if self.shared else padded(groups, self.pad)

    def layouts(self, groups: Sequence[Group]) -> list[Layout]:
        """The same in parts, none with more tokens than go on the card at once."""
        return [self.layout(part) for part in divided(groups, self.most, shared=self.shared)]

    def _with_borrowed(self, groups: Sequence[Group]) -> bool:
        """Whether the borrowed answers share the row of the judged ones.

        In the row they are read with gradient they have no use for, beside it the prompt is read
        again. And in the row they can only be where the whole batch is one part: the KL term of
        every part needs all of them.
        """
        if not self.shared:
            return False
        if len(divided(groups, self.most, shared=True)) > 1:
            return False
        prompts = sum(len(group.prompt) for group in groups)
        lent = sum(len(group.answers[1]) for group in groups)
        return (self.cost - 1) * lent < prompts

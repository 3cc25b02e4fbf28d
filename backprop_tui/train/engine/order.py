"""Which rows make a batch, and which batch comes first."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

POOL = 50  # batches that are sorted by length together, as transformers' length grouping does


class BatchOrder(Sampler[int]):
    """Row numbers in the order of training; consecutive ones make a batch.

    Batches are made once, from a shuffle by the seed, and come in another order each epoch. The
    very first is the one with most tokens: what does not fit on the card fails in the first step.
    tokens: of each row. grouped: rows of a batch are of like length, where padding costs.
    """

    def __init__(self, tokens: Sequence[int], batch: int, seed: int, *, grouped: bool) -> None:
        self.seed, self.epoch = seed, 0
        rows = list(range(len(tokens)))
        random.Random(seed).shuffle(rows)
        if grouped:
            pool = POOL * batch
            pools = (rows[start : start + pool] for start in range(0, len(rows), pool))
            rows = [row for part in pools for row in sorted(part, key=lambda row: -tokens[row])]
        full = len(rows) - len(rows) % batch
        self.batches = [rows[start : start + batch] for start in range(0, full, batch)]
        self.rest = rows[full:]  # always last: only the last batch of an epoch may be short
        heaviest = max(
            range(len(self.batches)),
            key=lambda number: sum(tokens[row] for row in self.batches[number]),
            default=0,
        )
        if self.batches:
            self.batches.insert(0, self.batches.pop(heaviest))

    def __len__(self) -> int:
        return sum(map(len, self.batches)) + len(self.rest)

    def __iter__(self) -> Iterator[int]:
        order = self.batches[1:] if self.epoch == 0 else list(self.batches)
        random.Random(f"{self.seed} {self.epoch}").shuffle(order)
        if self.epoch == 0:
            order = self.batches[:1] + order
        for batch in order:
            yield from batch
        yield from self.rest

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass over the rows."""
        self.epoch = epoch

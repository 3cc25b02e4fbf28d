"""Rows -> log-probabilities of their answers, by the lean engine and without gradients.

A prompt is read once for both answers, nothing is padded and no logits are kept, where decide()
finds that this is right for the model. Rows are read in batches that depend on all the rows and on
`most` alone, so that an evaluation that goes on has the same batches as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import RunError
from backprop_tui.core.scores import PairLogps
from backprop_tui.train.engine.layout import Layout
from backprop_tui.train.evals.material import Item


@dataclass(frozen=True, slots=True)
class Score:
    """One row: the summed log-probability of each answer and its scored tokens, as many each."""

    number: int
    logps: tuple[float, ...]
    tokens: tuple[int, ...]


def as_pair(score: Score) -> PairLogps:
    """Of a pair. ValueError: it has not two answers."""
    chosen, rejected = score.logps
    return PairLogps(score.number, chosen, rejected, *score.tokens)


class Scorer:
    """A model that scores. items: all the rows there are; they decide how it is computed.

    half: it computes in 16 bits. most: tokens read at once. variant: the attention of the run's
    training on this very device. why: when the quick way is not used, the reason.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        items: Sequence[Item],
        *,
        most: int,
        half: bool,
        variant: str | None = None,
    ) -> None:
        from backprop_tui.train.engine.check import decide
        from backprop_tui.train.engine.forward import LeanForward, causal_model

        self.model, self.items, self.most = model, items, most
        self.pad = tokenizer.pad_token_id or 0
        self.lean = LeanForward(causal_model(model))
        shortest = min(range(len(items)), key=lambda i: items[i].group.packed_tokens)
        longest = max(range(len(items)), key=lambda i: items[i].group.packed_tokens)
        some = [items[i].group for i in dict.fromkeys((shortest, longest))]
        # What is quickest is measured for a training; here the same figures every time matter more.
        path = decide(self.lean, model, some, half=half, variant=variant or "split")
        self.lean.use(path)
        self.why = path.why

    def close(self) -> None:
        """Leave the model as it was."""
        self.lean.remove()

    def batches(self) -> list[list[int]]:
        """Places of the items, in their order, in batches of at most `most` tokens; one row may
        be longer alone."""
        found: list[list[int]] = []
        tokens = self.most + 1
        for place, item in enumerate(self.items):
            group = item.group
            size = group.packed_tokens if self.lean.path.shared else group.padded_tokens
            if tokens + size > self.most:
                found.append([])
                tokens = 0
            found[-1].append(place)
            tokens += size
        return found

    def score(self, places: Sequence[int]) -> list[Score]:
        """The items at these places, read together. RunError: out of memory."""
        import torch

        from backprop_tui.train.engine.layout import packed, padded

        items = [self.items[place] for place in places]
        groups = [item.group for item in items]
        layout = packed(groups) if self.lean.path.shared else padded(groups, self.pad)
        layout = layout.to(next(self.model.parameters()).device)
        try:
            with torch.no_grad():
                found = self.model(lean=layout)["logps"].float().cpu()
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"The card ran out of memory with {layout.tokens:,} tokens read at once.",
                hint=f"what was scored is kept; go on with --batch-tokens {layout.tokens // 2}",
                code="RUN_OUT_OF_MEMORY",
            ) from error
        return list(_scores(items, layout, found))


def _scores(items: Sequence[Item], layout: Layout, logps: Any) -> Iterator[Score]:
    import torch

    answers = iter(torch.split(logps, list(layout.lengths)))
    for item in items:
        sums, tokens = [], []
        for mask in item.masks:
            values = next(answers)
            if mask is not None:
                values = values[torch.tensor(mask)]
            sums.append(float(values.sum()))
            tokens.append(len(values))
        yield Score(item.number, tuple(sums), tuple(tokens))


def score_all(
    scorer: Scorer,
    done: Callable[[int], bool],
    keep: Callable[[Sequence[Score]], None],
    progress: Callable[[int], None],
) -> None:
    """Score what is not done yet, batch by batch.

    done(number): whether that row is there already. keep: given each batch's new scores. progress:
    told before each batch, with 0, and after it with its new rows; what it raises ends the work.
    """
    for places in scorer.batches():
        numbers = {scorer.items[place].number for place in places}
        missing = {number for number in numbers if not done(number)}
        if missing:
            progress(0)
            keep([one for one in scorer.score(places) if one.number in missing])
            progress(len(missing))

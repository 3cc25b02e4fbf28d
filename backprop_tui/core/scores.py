"""What an evaluation says of one pair and of one metric. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PairLogps:
    """One model's log-probabilities of both answers of a pair, natural logarithms.

    number: the row in its file, from 1 as in core.rows. chosen, rejected: summed over the answer's
    tokens, the end of the turn among them. *_tokens: how many those are, at least 1.
    """

    number: int
    chosen: float
    rejected: float
    chosen_tokens: int
    rejected_tokens: int

    @property
    def margin(self) -> float:
        """Chosen minus rejected, summed: what dpo and cpo compare."""
        return self.chosen - self.rejected

    @property
    def margin_per_token(self) -> float:
        """Chosen minus rejected, each divided by its length: what simpo and rrhf compare."""
        return self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens


def right(margin: float) -> float:
    """Whether a margin prefers the chosen answer: 1, 0, or a half where the two are alike."""
    return 0.5 if margin == 0 else float(margin > 0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric, base against tuned, with 95 % bootstrap intervals over the examples.

    name: a key of core.metrics.METRICS. base, tuned: the metric; difference: tuned - base, its
    interval resampled over the same examples of both. n: examples. None: no base was measured.
    """

    name: str
    tuned: float
    tuned_low: float
    tuned_high: float
    n: int
    base: float | None = None
    base_low: float | None = None
    base_high: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

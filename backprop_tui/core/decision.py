"""Which setting of an ablation wins, if any: the rule of docs/ablate.md, applied. Pure.

A winner has at least one held-out pair more right than the runner-up and a cleaner margin; with
several seeds the 95 % interval of the difference lies above zero too. Else nothing is decided and
the simpler setting is preferred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from backprop_tui.core.cells import Field, Measured
from backprop_tui.core.interval import Interval
from backprop_tui.core.methods import METHODS
from backprop_tui.core.text import plural

ENOUGH_PAIRS = 20  # under this a pair is over 5 % of the accuracy, and nothing is decided
LEAD = 1.0  # held-out pairs right that a winner has more
RANK = "Biderman et al., arXiv:2405.09673"  # a higher rank learns more, and forgets more
Kind = Literal["winner", "no-decision", "no-better-than-base", "not-comparable"]
# leader, other -> the leader's share of pairs right minus the other's, 95 %
Intervals = Callable[[Measured, Measured], Interval]


@dataclass(frozen=True, slots=True)
class Decision:
    """setting: the winner, or the simpler one that is preferred; None where neither is said.

    leader: the setting with the most pairs right. intervals: its share of pairs right minus that
    of each other setting, 95 %. reasons: sentences, the strongest first.
    """

    kind: Kind
    setting: str | None
    sentence: str
    reasons: tuple[str, ...] = ()
    leader: str | None = None
    intervals: Mapping[str, Interval] | None = None


def ranked(field: Field) -> tuple[Measured, ...]:
    """The most pairs right first, then the cleanest margin, then the simpler."""
    order = simplicity(field)
    return tuple(
        sorted(field.settings, key=lambda one: (-one.right, -one.cleanliness, order[one.setting]))
    )


def simplicity(field: Field) -> dict[str, int]:
    """Place of each setting, the simplest 0: lower rank (every weight is the highest), no
    reference model, fewer knobs, earlier in METHODS, earlier in the plan."""
    # Sorting keeps the order of the plan where nothing else tells them apart.
    return {one.setting: place for place, one in enumerate(sorted(field.settings, key=complexity))}


def complexity(one: Measured) -> tuple[float, bool, int, int]:
    """What a simpler setting has less of; equal where only a value differs."""
    method = METHODS[one.method]
    rank = math.inf if one.rank is None else float(one.rank)
    return rank, method.reference, len(method.knobs), list(METHODS).index(one.method)


def beats(one: Measured, other: Measured, interval: Interval | None) -> bool:
    """At least one more pair right and a cleaner margin; with several seeds the interval of the
    difference lies above zero too."""
    ahead = one.right - other.right >= LEAD and one.cleanliness > other.cleanliness
    if one.seeds > 1 or other.seeds > 1:
        return ahead and interval is not None and interval[0] > 0
    return ahead


def lower_rank(field: Field) -> list[tuple[Measured, Measured]]:
    """(lower, higher) rank of one method that are under one held-out pair apart, the lower with the
    smaller train margin: the higher only fitted the training rows better."""
    found = []
    for low in field.settings:
        for high in field.settings:
            if low.rank is None or (low.method, low.peers) != (high.method, high.peers):
                continue
            if (high.rank or math.inf) <= low.rank or abs(low.right - high.right) >= LEAD:
                continue
            if low.train_margin is None or high.train_margin is None:
                continue
            if low.train_margin < high.train_margin:
                found.append((low, high))
    return found


def decide(field: Field, interval: Intervals) -> Decision:
    """The rule. interval: of a paired difference, resampled over the same pairs (and seeds)."""
    if (refusal := _not_comparable(field)) is not None:
        return Decision("not-comparable", None, refusal, _left_out(field))
    order = ranked(field)
    leader, others = order[0], order[1:]
    intervals = {other.setting: interval(leader, other) for other in others}
    base = field.base
    if base is not None and leader.right - base.right < LEAD:
        sentence = (
            f"No cell beats the base: it has {pairs(base.right)} of {field.n} held-out pairs "
            f"right, the best cell, {leader.setting}, {pairs(leader.right)}. Keep the base model."
        )
        return Decision(
            "no-better-than-base", None, sentence, _left_out(field), leader.setting, intervals
        )
    if not others:
        sentence = f"Nothing to decide: {leader.setting} is the only setting with all its scores."
        return Decision("not-comparable", None, sentence, _left_out(field), leader.setting)
    second = others[0]
    kind: Kind = "no-decision"
    if beats(leader, second, intervals[second.setting]):
        kind, preferred = "winner", leader
        sentence = (
            f"{leader.setting} wins: {pairs(leader.right)} of {field.n} held-out pairs right "
            f"against {pairs(second.right)} of {second.setting}, the runner-up, and a cleaner "
            f"margin ({clean(leader.cleanliness)} against {clean(second.cleanliness)})."
        )
        reasons = [_interval(leader, second, intervals[second.setting])]
        if intervals[second.setting][0] <= 0:
            reasons.append(
                "That interval includes none at all: other pairs, or another seed, may turn it "
                "round. Several seeds (--seeds 3) say whether the lead lasts."
            )
    else:
        preferred = _simplest(field, _undecided(field, leader, second))
        sentence = (
            f"No decision between {_listed(_undecided(field, leader, second))}: "
            f"{_why(leader, second, intervals[second.setting], field.n)} "
            f"{_preferred(preferred, _undecided(field, leader, second))}"
        )
        reasons = [_interval(leader, second, intervals[second.setting])]
        reasons += _objective(field, leader, second, interval)
        if preferred is second and leader.right - second.right >= LEAD:
            reasons.append(
                f"If the share of pairs right is all that counts: {leader.setting}. Several seeds "
                "(--seeds 3) say whether its lead lasts."
            )
    reasons += _ranks(field) + _worse(field) + [*_left_out(field)]
    return Decision(kind, preferred.setting, sentence, tuple(reasons), leader.setting, intervals)


def pairs(right: float) -> str:
    """79, 78.5, 78.67: pairs right; means over seeds are rarely whole."""
    return f"{right:.2f}".rstrip("0").rstrip(".")


def clean(value: float) -> str:
    """A cleanliness: 1.52."""
    return f"{value:.2f}"


def _not_comparable(field: Field) -> str | None:
    if not field.settings:
        return "No decision: no two cells have scores on the same held-out pairs."
    if field.n < ENOUGH_PAIRS:
        return (
            f"No decision: only {plural(field.n, 'held-out pair')}, and one of them is "
            f"{100 / field.n:.0f} % of the accuracy. Hold out at least {ENOUGH_PAIRS} "
            "(data.heldout), better 100."
        )
    return None


def _undecided(field: Field, leader: Measured, second: Measured) -> list[Measured]:
    """The leader, the runner-up, and whatever is as good as the runner-up or under one pair behind
    the leader."""
    return [
        one for one in ranked(field) if one.right >= second.right or leader.right - one.right < LEAD
    ]


def _simplest(field: Field, some: list[Measured]) -> Measured:
    order = simplicity(field)
    better = [one for one in some if field.base is None or one.right > field.base.right]
    return min(better or some, key=lambda one: order[one.setting])


def _preferred(preferred: Measured, some: list[Measured]) -> str:
    if any(complexity(one) == complexity(preferred) for one in some if one is not preferred):
        return f"None is simpler; the first in the plan is kept: {preferred.setting}."
    return f"Prefer the simpler: {preferred.setting}."


def _why(leader: Measured, second: Measured, interval: Interval, n: int) -> str:
    lead = leader.right - second.right
    if lead < LEAD:
        return (
            f"{pairs(leader.right)} and {pairs(second.right)} of {n} held-out pairs right, less "
            "than one pair apart."
        )
    if leader.cleanliness <= second.cleanliness:
        return (
            f"{leader.setting} has {pairs(lead)} pairs more right, but {second.setting} the "
            f"cleaner margin ({clean(second.cleanliness)} against {clean(leader.cleanliness)})."
        )
    return (
        f"{leader.setting} leads by {pairs(lead)} pairs of {n}, but over pairs and seeds the "
        f"difference may be none ({_points(interval)})."
    )


def _interval(leader: Measured, second: Measured, interval: Interval) -> str:
    over = "pairs and seeds" if leader.seeds > 1 else "pairs; one seed says nothing of others"
    return (
        f"{leader.setting} minus {second.setting}: {_points(interval)} of pairs right (95 % "
        f"interval, resampled over {over})."
    )


def _points(interval: Interval) -> str:
    low, high = (f"{100 * end:+.1f}" for end in interval)
    return f"{low} to {high} points"


def _objective(field: Field, leader: Measured, second: Measured, interval: Intervals) -> list[str]:
    """Between ranks of one method nothing may be decided while its lead over the others is."""
    some = _undecided(field, leader, second)
    others = [one for one in field.settings if one.method != leader.method]
    if not others or any(one.method != leader.method for one in some):
        return []
    if all(beats(one, other, interval(one, other)) for one in some for other in others):
        best = max(others, key=lambda one: one.right)
        return [
            f"The objective is decided: each of them beats every cell of "
            f"{_words(sorted({one.method for one in others}))} by the same rule (the best of "
            f"those, {best.setting}: {pairs(best.right)} of {field.n})."
        ]
    return []


def _ranks(field: Field) -> list[str]:
    return [
        f"{low.setting} does as well as {high.setting} on the held-out pairs ({pairs(low.right)} "
        f"and {pairs(high.right)}) with a lower train margin ({low.train_margin:+.2f} against "
        f"{high.train_margin:+.2f} per token): prefer the lower rank ({RANK})."
        for low, high in lower_rank(field)
    ]


def _worse(field: Field) -> list[str]:
    """Settings that training did not make better."""
    if field.base is None:
        return ["The base was not scored, so nothing says that training helped."]
    some = [one.setting for one in field.settings if one.right <= field.base.right]
    if not some:
        return []
    verb = "has" if len(some) == 1 else "have"
    return [f"{_words(some)} {verb} no more pairs right than the base ({pairs(field.base.right)})."]


def _left_out(field: Field) -> tuple[str, ...]:
    return tuple(f"Left out: {setting} ({why})." for setting, why in field.left_out.items())


def _listed(some: list[Measured]) -> str:
    return _words([one.setting for one in some])


def _words(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

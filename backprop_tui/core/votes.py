"""Votes between two answers, cast without knowing whose they are, and what they come to. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from backprop_tui.core.interval import Interval, wilson
from backprop_tui.core.rows import IDENTICAL, Message
from backprop_tui.core.text import percent, plural

Side = Literal["base", "tuned"]
Choice = Literal["A", "B", "tie", "both bad"]
How = Literal["writing", "ended", "full", "stopped"]  # full: it reached max_new_tokens
CHOICES: tuple[Choice, ...] = get_args(Choice)
SIDES: tuple[Side, ...] = get_args(Side)
Asked = tuple[tuple[Message, ...], tuple[float, int, int], str]
ENOUGH = 30  # decided votes; below, even 70 % would not clear one half with its interval
ENOUGH_PLACES = 20  # decided votes before how often A was taken is worth a word
NO_TEXT = "an answer without text"
REPLACED = "replaced by a newer vote"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are written. temperature 0: the likeliest token each time (greedy), else a draw
    from the whole distribution. max_new_tokens: of one answer. seed: of the draws, the same for
    both sides. system: a system prompt, "" for none."""

    temperature: float = 0.0
    max_new_tokens: int = 200
    seed: int = 0
    system: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side has written so far. tokens: without the end of the turn. seconds: since it
    began, the other side's turns included."""

    text: str = ""
    tokens: int = 0
    how: How = "writing"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote. a: the side that was shown as A. whole: sides that came to their own end.
    weights_sha256: of the adapter or model that wrote the tuned answer. when: ISO 8601, UTC."""

    when: str
    prompt: tuple[Message, ...]
    base: str
    tuned: str
    a: Side
    choice: Choice
    sampling: Sampling
    whole: tuple[Side, ...]
    weights_sha256: str

    @property
    def preferred(self) -> Side | None:
        """The side that was taken; None for a tie and for both bad."""
        if self.choice not in ("A", "B"):
            return None
        return self.a if self.choice == "A" else "tuned" if self.a == "base" else "base"

    @property
    def asked(self) -> Asked:
        """What the answers came of: two votes that share it are on the same two answers."""
        return asked(self.prompt, self.sampling, self.weights_sha256)


def as_read(prompt: tuple[Message, ...], sampling: Sampling) -> tuple[Message, ...]:
    """A prompt as the models read it: after the system prompt, unless it brings one."""
    if sampling.system and not (prompt and prompt[0].role == "system"):
        return (Message("system", sampling.system), *prompt)
    return prompt


def asked(prompt: tuple[Message, ...], sampling: Sampling, weights_sha256: str) -> Asked:
    """prompt: as the models read it. A seed is of draws alone."""
    warm = sampling.temperature > 0
    drawn = (sampling.temperature, sampling.seed if warm else 0, sampling.max_new_tokens)
    return (prompt, drawn, weights_sha256)


def identical(base: str, tuned: str) -> bool:
    """Whether there is nothing to vote between."""
    return base.strip() == tuned.strip()


def to_line(vote: Vote) -> str:
    """One JSON line, without the newline."""
    plain = {
        "schema": 1,
        "when": vote.when,
        "prompt": [{"role": turn.role, "content": turn.content} for turn in vote.prompt],
        "base": vote.base,
        "tuned": vote.tuned,
        "a": vote.a,
        "choice": vote.choice,
        "preferred": vote.preferred,
        "temperature": vote.sampling.temperature,
        "max_new_tokens": vote.sampling.max_new_tokens,
        "seed": vote.sampling.seed,
        "system": vote.sampling.system,
        "whole": list(vote.whole),
        "weights_sha256": vote.weights_sha256,
    }
    return json.dumps(plain, ensure_ascii=True)


def from_line(line: str) -> Vote | None:
    """The vote of a line; None for a torn or foreign one."""
    try:
        plain: dict[str, Any] = json.loads(line)
        vote = Vote(
            when=str(plain["when"]),
            prompt=tuple(Message(_text(t["role"]), _text(t["content"])) for t in plain["prompt"]),
            base=_text(plain["base"]),
            tuned=_text(plain["tuned"]),
            a=plain["a"],
            choice=plain["choice"],
            sampling=Sampling(
                float(plain["temperature"]),
                int(plain["max_new_tokens"]),
                int(plain["seed"]),
                _text(plain["system"]),
            ),
            whole=tuple(side for side in SIDES if side in plain["whole"]),
            weights_sha256=_text(plain["weights_sha256"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    known = plain.get("schema") == 1 and vote.a in SIDES and vote.choice in CHOICES
    return vote if known and vote.prompt else None


@dataclass(frozen=True, slots=True)
class Tally:
    """votes = tuned + base + ties + both_bad. a: how often A was taken, of the decided ones.
    interval: 95 % of tuned / decided; None before the first. Not counted: others, votes on other
    weights of the same run; replaced, those with a newer vote on the same answers; identical,
    those between two answers that are the same."""

    votes: int
    tuned: int
    base: int
    ties: int
    both_bad: int
    a: int
    interval: Interval | None
    others: int = 0
    replaced: int = 0
    identical: int = 0

    @property
    def decided(self) -> int:
        return self.tuned + self.base


def _newest(votes: Sequence[Vote]) -> list[Vote]:
    """Of the votes on the same two answers the last."""
    return list({vote.asked: vote for vote in votes}.values())


def tally(votes: Sequence[Vote], weights_sha256: str | None = None) -> Tally:
    """The votes counted, one for each two answers; those on other weights apart, where weights are
    given."""
    mine = [v for v in votes if weights_sha256 is None or v.weights_sha256 == weights_sha256]
    newest = _newest(mine)
    counted = [vote for vote in newest if not identical(vote.base, vote.tuned)]
    taken = Counter(vote.preferred for vote in counted)
    choices = Counter(vote.choice for vote in counted)
    decided = taken["tuned"] + taken["base"]
    return Tally(
        votes=len(counted),
        tuned=taken["tuned"],
        base=taken["base"],
        ties=choices["tie"],
        both_bad=choices["both bad"],
        a=choices["A"],
        interval=wilson(taken["tuned"] / decided, decided) if decided else None,
        others=len(votes) - len(mine),
        replaced=len(mine) - len(newest),
        identical=len(newest) - len(counted),
    )


def told(found: Tally) -> list[str]:
    """The tally in sentences."""
    apart = [
        f"{plural(n, 'vote')} {what}: not counted here."
        for n, what in (
            (found.replaced, "replaced by a newer one on the same prompt with the same settings"),
            (found.identical, "between two answers that are the same"),
            (found.others, "on other weights of this run"),
        )
        if n
    ]
    if not found.votes:
        return ["No vote counts yet." if apart else "No votes yet.", *apart]
    undecided = f"{plural(found.ties, 'tie')}, {found.both_bad:,} both bad"
    if found.interval is None:
        return [f"{plural(found.votes, 'vote')}, none for a side: {undecided}.", *apart]
    low, high = map(percent, found.interval)
    lines = [
        f"Tuned preferred in {found.tuned:,} of {plural(found.decided, 'decided vote')} "
        f"(95 % interval: {low} to {high}); {undecided}."
    ]
    if found.decided < ENOUGH:
        lines.append(f"Under {ENOUGH} decided votes say little.")
    elif found.interval[0] <= 0.5 <= found.interval[1]:
        lines.append("The interval holds one half: no preference is shown.")
    if found.decided >= ENOUGH_PLACES:
        by_place = wilson(found.a / found.decided, found.decided)
        even = by_place[0] <= 0.5 <= by_place[1]
        leaning = ", within chance of one half" if even else ": you lean to one place, so vote on"
        lines.append(f"A was taken in {found.a:,} of {found.decided:,}{leaning}.")
    return lines + apart


@dataclass(frozen=True, slots=True)
class Preferences:
    """Votes as training data. rows: prompt, chosen, rejected. left_out: votes by reason. cut: rows
    with an answer that did not come to its own end."""

    rows: tuple[dict[str, Any], ...]
    left_out: dict[str, int]
    cut: int


def preferences(votes: Sequence[Vote]) -> Preferences:
    """The decided votes as pairs, as strings where every prompt is one question, else as turns."""
    rows: list[tuple[tuple[Message, ...], str, str]] = []
    left_out: Counter[str] = Counter()
    cut = 0
    newest = _newest(votes)
    if len(newest) < len(votes):
        left_out[REPLACED] = len(votes) - len(newest)
    for vote in newest:
        side = vote.preferred
        if identical(vote.base, vote.tuned):
            left_out[IDENTICAL] += 1
        elif side is None:
            left_out[vote.choice] += 1
        elif not (vote.base.strip() and vote.tuned.strip()):
            left_out[NO_TEXT] += 1
        else:
            sides = (vote.tuned, vote.base)
            chosen, rejected = sides if side == "tuned" else reversed(sides)
            rows.append((vote.prompt, chosen, rejected))
            cut += len(vote.whole) < len(SIDES)
    simple = all(len(prompt) == 1 and prompt[0].role == "user" for prompt, _, _ in rows)
    made = tuple(
        {"prompt": prompt[0].content, "chosen": chosen, "rejected": rejected}
        if simple
        else {
            "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for prompt, chosen, rejected in rows
    )
    return Preferences(made, dict(left_out), cut)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value

"""Votes: lines both ways, who was preferred, what they come to in words, and as pairs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backprop_tui.core.interval import wilson
from backprop_tui.core.rows import Message
from backprop_tui.core.votes import (
    Choice,
    Sampling,
    Side,
    Vote,
    from_line,
    preferences,
    tally,
    to_line,
    told,
)

VOTE = Vote(
    when="2026-01-02T03:04:05+00:00",
    prompt=(Message("user", "What is it?\u2028 \x1b[2J"),),
    base="a stone",
    tuned="a star ★",
    a="tuned",
    choice="A",
    sampling=Sampling(0.7, 50, 3, ""),
    whole=("base", "tuned"),
    weights_sha256="ab",
)


@pytest.mark.parametrize(
    ("a", "choice", "preferred"),
    [
        ("base", "A", "base"),
        ("base", "B", "tuned"),
        ("tuned", "A", "tuned"),
        ("tuned", "B", "base"),
        ("tuned", "tie", None),
        ("base", "both bad", None),
    ],
)
def test_who_was_preferred(a: Side, choice: Choice, preferred: Side | None) -> None:
    vote = replace(VOTE, a=a, choice=choice)
    assert vote.preferred == preferred
    assert json.loads(to_line(vote))["preferred"] == preferred


def test_a_line_both_ways() -> None:
    line = to_line(VOTE)
    assert "\n" not in line
    assert line.isascii()
    assert from_line(line) == VOTE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema": 1', '"schema": 2'),
        ('"choice": "A"', '"choice": "C"'),
        ('"a": "tuned"', '"a": ["tuned"]'),
        ('"base": "a stone"', '"base": 5'),
        ('"role": "user"', '"roll": "user"'),
        ('"seed": 3', '"seed": "x"'),
    ],
)
def test_a_foreign_line_is_no_vote(old: str, new: str) -> None:
    line = to_line(VOTE)
    assert old in line
    assert from_line(line.replace(old, new)) is None


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '{"schema": 1}', "[" * 100_000])
def test_a_torn_line_is_no_vote(line: str) -> None:
    assert from_line(line) is None
    whole = to_line(VOTE)
    assert from_line(whole[: len(whole) // 2]) is None


def votes(tuned: int, base: int = 0, *, a: int = 0, ties: int = 0, bad: int = 0) -> list[Vote]:
    """So many for each side, each on a prompt of its own; of the decided ones `a` took A."""
    sides: list[Side] = ["tuned" if i < tuned else "base" for i in range(tuned + base)]
    found = []
    for i, side in enumerate(sides):
        other: Side = "base" if side == "tuned" else "tuned"
        choice: Choice = "A" if i < a else "B"
        found.append(replace(VOTE, a=side if i < a else other, choice=choice))
    found += [replace(VOTE, choice="tie")] * ties
    found += [replace(VOTE, choice="both bad")] * bad
    return [
        replace(vote, prompt=(Message("user", f"What is {i}?"),)) for i, vote in enumerate(found)
    ]


def test_the_tally() -> None:
    found = tally(votes(7, 3, a=4, ties=2, bad=1))
    assert (found.votes, found.tuned, found.base, found.ties, found.both_bad) == (13, 7, 3, 2, 1)
    assert (found.decided, found.a) == (10, 4)
    assert found.interval == wilson(0.7, 10)


def test_votes_on_other_weights_are_not_counted() -> None:
    mixed = [*votes(2), *(replace(one, weights_sha256="cd") for one in votes(0, 5))]
    assert tally(mixed, "ab").tuned == 2
    assert tally(mixed, "ab").others == 5
    assert tally(mixed).decided == 7
    assert told(tally(mixed, "ab"))[-1].startswith("5 votes on other weights")


def test_few_votes_say_little_and_are_said_to() -> None:
    said = told(tally(votes(7, 3, a=5, ties=2)))
    assert said[0] == (
        "Tuned preferred in 7 of 10 decided votes (95 % interval: 40 % to 89 %); 2 ties, 0 both "
        "bad."
    )
    assert said[1] == "Under 30 decided votes say little."
    assert len(said) == 2


def test_enough_votes() -> None:
    clear, open_ = told(tally(votes(30, 10, a=20))), told(tally(votes(21, 19, a=20)))
    assert not any("Under 30" in line for line in clear)
    assert not any("no preference is shown" in line for line in clear)
    assert "The interval holds one half: no preference is shown." in open_
    assert clear[-1] == "A was taken in 20 of 40, within chance of one half."
    assert "you lean to one place" in told(tally(votes(30, 10, a=38)))[-1]


def test_the_place_is_spoken_of_from_twenty_votes_on() -> None:
    assert not any("A was taken" in line for line in told(tally(votes(15, 4, a=19))))
    said = told(tally(votes(15, 5, a=20)))[-1]
    assert said == "A was taken in 20 of 20: you lean to one place, so vote on."


def test_of_the_votes_on_the_same_answers_the_newest_counts() -> None:
    older = replace(VOTE, choice="B", when="2026-01-01T03:04:05+00:00")
    assert told(tally([older, older, VOTE])) == [
        "Tuned preferred in 1 of 1 decided vote (95 % interval: 21 % to 100 %); 0 ties, 0 both "
        "bad.",
        "Under 30 decided votes say little.",
        "2 votes replaced by a newer one on the same prompt with the same settings: not counted "
        "here.",
    ]
    found = preferences([older, older, VOTE])
    assert [row["chosen"] for row in found.rows] == [VOTE.tuned]
    assert found.left_out == {"replaced by a newer vote": 2}
    greedy = replace(VOTE, sampling=Sampling())
    others = [
        replace(VOTE, sampling=replace(VOTE.sampling, seed=4)),
        replace(VOTE, sampling=replace(VOTE.sampling, max_new_tokens=51)),
        replace(VOTE, prompt=(Message("system", "Be brief."), *VOTE.prompt)),
        replace(VOTE, weights_sha256="cd"),
        greedy,
    ]
    assert tally([VOTE, *others]).votes == 6
    # No draws, so no seed; a system prompt that stands in the prompt already is the same words.
    again = replace(greedy, sampling=Sampling(seed=9, system="unused"), choice="tie")
    assert (tally([greedy, again]).votes, tally([greedy, again]).ties) == (1, 1)


def test_votes_between_the_same_answers_are_left_out() -> None:
    cast = [replace(one, base=f" {one.tuned}\n") for one in votes(2, 1, ties=1)]
    assert told(tally(cast)) == [
        "No vote counts yet.",
        "4 votes between two answers that are the same: not counted here.",
    ]
    assert preferences(cast).left_out == {"identical sides": 4}


def test_no_votes_and_none_for_a_side() -> None:
    assert told(tally([])) == ["No votes yet."]
    assert told(tally(votes(0, ties=1, bad=2))) == ["3 votes, none for a side: 1 tie, 2 both bad."]


def test_the_decided_votes_are_pairs_and_the_others_are_counted() -> None:
    same, silent, cut = (
        replace(VOTE, sampling=replace(VOTE.sampling, seed=seed), **changed)  # type: ignore[arg-type]
        for seed, changed in enumerate(
            ({"base": " a star ★\n"}, {"base": " "}, {"whole": ("base",), "a": "base"}), 10
        )
    )
    found = preferences([VOTE, cut, same, silent, *votes(0, ties=2, bad=1)])
    question = VOTE.prompt[0].content
    assert found.rows == (
        {"prompt": question, "chosen": "a star ★", "rejected": "a stone"},
        {"prompt": question, "chosen": "a stone", "rejected": "a star ★"},
    )
    assert found.left_out == {
        "identical sides": 1,
        "an answer without text": 1,
        "tie": 2,
        "both bad": 1,
    }
    assert found.cut == 1


def test_one_prompt_of_several_turns_makes_turns_of_all() -> None:
    system = replace(VOTE, prompt=(Message("system", "Be brief."), Message("user", "Why?")))
    first, second = preferences([VOTE, system]).rows
    assert first["prompt"] == [{"role": "user", "content": VOTE.prompt[0].content}]
    assert second["prompt"][0] == {"role": "system", "content": "Be brief."}
    assert second["chosen"] == [{"role": "assistant", "content": "a star ★"}]

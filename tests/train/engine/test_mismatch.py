"""The answers that stand in for "an answer to another prompt" in the KL term of kto."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.train.encoded import EncodedLabelled
from backprop_tui.train.engine.mismatch import mismatched


def rows(prompts: list[int]) -> list[EncodedLabelled]:
    """A row for each, its prompt the number; rows of the same number are halves of one pair."""
    return [EncodedLabelled(n, [prompt], [n], n % 2 == 0) for n, prompt in enumerate(prompts)]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(0, 5))
def test_never_an_answer_to_the_same_prompt_where_there_is_another(
    prompts: list[int], seed: int
) -> None:
    found = mismatched(rows(prompts), seed)
    assert len(found) == len(prompts)
    if len(set(prompts)) > 1:
        assert all(prompts[row] != prompts[other] for row, other in enumerate(found))


def test_halves_of_a_pair_do_not_borrow_from_each_other() -> None:
    """Their prompts may differ where one was cut, their number does not."""
    pair = [EncodedLabelled(n // 2, [n], [n], n % 2 == 0) for n in range(20)]
    assert all(
        pair[row].number != pair[other].number for row, other in enumerate(mismatched(pair, 0))
    )


@given(st.integers(2, 80), st.integers(0, 5))
def test_every_answer_is_borrowed_once_where_no_two_prompts_are_alike(
    count: int, seed: int
) -> None:
    assert sorted(mismatched(rows(list(range(count))), seed)) == list(range(count))


def test_answers_are_borrowed_about_once_where_prompts_come_twice() -> None:
    found = Counter(mismatched(rows([n // 2 for n in range(400)]), 0))
    assert max(found.values()) <= 3
    assert len(found) > 380


def test_the_seed_decides() -> None:
    many = rows(list(range(50)))
    assert mismatched(many, 3) == mismatched(many, 3)
    assert mismatched(many, 3) != mismatched(many, 4)


def test_one_prompt_or_one_row_still_gives_an_answer() -> None:
    assert mismatched(rows([0]), 0) == [0]
    assert sorted(mismatched(rows([0, 0, 0]), 0)) == [0, 1, 2]
    assert all(row != other for row, other in enumerate(mismatched(rows([0, 0, 0]), 0)))

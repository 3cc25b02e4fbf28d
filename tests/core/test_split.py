"""Train and held-out: no prompt on both sides, the right number, the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.rows import Chat, Labelled, Message, Pair, Row, prompt_of
from backprop_tui.core.split import split


def pair(number: int, prompt: str) -> Pair:
    return Pair(
        number,
        (Message("user", prompt),),
        (Message("assistant", f"good {number}"),),
        (Message("assistant", f"bad {number}"),),
    )


def labelled(number: int, prompt: str, label: bool) -> Labelled:
    return Labelled(number, (Message("user", prompt),), (Message("assistant", "a"),), label)


def numbers(rows: list[Row]) -> list[int]:
    return [row.number for row in rows]


prompts = st.lists(st.integers(0, 12), min_size=1, max_size=40)


@given(prompts, st.floats(0, 0.99), st.integers())
def test_every_row_goes_to_one_side_and_no_prompt_to_both(
    ids: list[int], heldout: float, seed: int
) -> None:
    rows = [pair(number, f"prompt {key}") for number, key in enumerate(ids, 1)]
    train, held = split(rows, heldout, seed)
    assert sorted(numbers(train) + numbers(held)) == list(range(1, len(rows) + 1))
    assert {prompt_of(row) for row in train}.isdisjoint({prompt_of(row) for row in held})
    assert bool(held) == (heldout > 0 and len(set(ids)) > 1)
    assert train


@given(st.lists(st.integers(0, 5), min_size=2, max_size=24), st.floats(0.01, 0.99))
def test_the_number_held_out_is_the_closest_whole_prompts_can_give(
    ids: list[int], heldout: float
) -> None:
    sizes = [ids.count(key) for key in set(ids)]
    if len(sizes) < 2:
        return
    _, held = split([pair(n, f"p{key}") for n, key in enumerate(ids)], heldout, 0)
    target = min(max(round(len(ids) * heldout), 1), len(ids) - 1)
    reachable = {sum(some) for k in range(1, len(sizes)) for some in combinations(sizes, k)}
    assert abs(len(held) - target) == min(abs(total - target) for total in reachable)


@pytest.mark.parametrize("heldout", [0.1, 0.25, 0.5])
def test_labels_keep_their_share_when_prompts_allow(heldout: float) -> None:
    rows = [labelled(n, f"p{n}", n % 4 == 0) for n in range(400)]
    _, held = split(rows, heldout, 3)
    assert len(held) == 400 * heldout
    assert sum(1 for row in held if isinstance(row, Labelled) and row.label) == 100 * heldout


def test_labels_keep_their_share_when_prompts_repeat() -> None:
    # Prompts with two rows of one label each, and prompts with one of both.
    rows = [labelled(n, f"p{n // 2}", n % 6 < 3) for n in range(600)]
    _, held = split(rows, 0.1, 0)
    assert len(held) == 60
    assert sum(1 for row in held if isinstance(row, Labelled) and row.label) == 30


def test_labels_are_interleaved_in_train() -> None:
    rows = [labelled(n, f"p{n}", n < 200) for n in range(400)]
    train, _ = split(rows, 0.1, 0)
    labels = [row.label for row in train if isinstance(row, Labelled)]
    changes = sum(1 for a, b in pairwise(labels) if a != b)
    assert changes > 120  # 1 in file order, about 180 when shuffled


def test_nothing_held_out_is_the_rows_shuffled() -> None:
    rows = [pair(n, f"p{n}") for n in range(50)]
    train, held = split(rows, 0, 0)
    assert held == []
    assert sorted(numbers(train)) == list(range(50))
    assert numbers(train) != list(range(50))


def test_the_seed_decides() -> None:
    rows = [pair(n, f"p{n}") for n in range(50)]
    assert split(rows, 0.2, 1) == split(rows, 0.2, 1)
    assert split(rows, 0.2, 1) != split(rows, 0.2, 2)


def test_the_held_out_prompts_do_not_depend_on_the_order_of_the_file() -> None:
    rows = [pair(n, f"p{n}") for n in range(50)]
    _, held = split(rows, 0.2, 1)
    _, again = split(rows[::-1], 0.2, 1)
    assert sorted(numbers(held)) == sorted(numbers(again))


def test_another_process_splits_the_same() -> None:
    code = (
        "from backprop_tui.core.rows import Chat, Message\n"
        "from backprop_tui.core.split import split\n"
        "rows = [Chat(n, (Message('user', f'p{n}'), Message('assistant', 'a')))"
        " for n in range(20)]\n"
        "train, held = split(rows, 0.25, 7)\n"
        "print([row.number for row in train], [row.number for row in held])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    rows: list[Row] = [
        Chat(n, (Message("user", f"p{n}"), Message("assistant", "a"))) for n in range(20)
    ]
    train, held = split(rows, 0.25, 7)
    assert said == {f"{numbers(train)} {numbers(held)}\n"}
    # Pinned: a run file made on one machine must split the same on the next.
    assert sorted(numbers(held)) == [4, 5, 9, 13, 16]


def test_rows_without_a_prompt_are_not_one_group() -> None:
    rows = [
        Pair(n, (), (Message("assistant", f"a{n}"),), (Message("assistant", f"b{n}"),))
        for n in range(10)
    ]
    train, held = split(rows, 0.2, 0)
    assert (len(train), len(held)) == (8, 2)


@pytest.mark.parametrize(
    "row",
    [
        lambda n, text: Pair(n, (), (Message("assistant", text),), (Message("assistant", "b"),)),
        lambda n, text: Chat(n, (Message("assistant", text),)),
        lambda n, text: Labelled(n, (), (Message("assistant", text),), n % 2 == 0),
    ],
)
def test_equal_rows_without_a_prompt_stay_together(row: Callable[[int, str], Row]) -> None:
    train, held = split([row(n, "same") for n in range(10)], 0.3, 0)
    assert (len(train), len(held)) == (10, 0)
    texts = [f"a{n // 2}" for n in range(20)]
    train, held = split([row(n, text) for n, text in enumerate(texts)], 0.3, 0)
    assert (len(train), len(held)) == (14, 6)
    assert {texts[n] for n in numbers(train)}.isdisjoint(texts[n] for n in numbers(held))


def test_rows_without_a_prompt_differ_by_either_side() -> None:
    rows = [
        Pair(n, (), (Message("assistant", "a"),), (Message("assistant", f"b{n}"),))
        for n in range(10)
    ]
    train, held = split(rows, 0.2, 0)
    assert (len(train), len(held)) == (8, 2)


def test_one_prompt_only_trains() -> None:
    train, held = split([pair(n, "same") for n in range(5)], 0.5, 0)
    assert (len(train), held) == (5, [])


def test_no_rows() -> None:
    assert split([], 0.5, 0) == ([], [])


@pytest.mark.parametrize("heldout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_nonsense_share_is_refused(heldout: float) -> None:
    with pytest.raises(ValueError, match="heldout must be"):
        split([pair(1, "p")], heldout, 0)

"""Rows of token ids as the model reads them, and where their answers stand."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.train.engine.layout import Group, Layout, divided, packed, padded

PAD = 99
TWO = [Group([1, 2], ([3, 4, 5], [6])), Group([7], ([8], [9, 10]))]
ids = st.lists(st.integers(0, 98), max_size=6)
groups_of_two = st.lists(
    st.builds(Group, ids, st.tuples(ids, ids)),
    min_size=1,
    max_size=6,
)


def test_packed_rows_hold_each_prompt_once_and_no_padding() -> None:
    layout = packed(TWO)
    assert layout.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
    assert layout.attention_mask is None
    assert layout.tokens == 10
    assert [(s.start, s.prompt, s.answers) for s in layout.spans] == [
        (0, 2, (3, 1)),
        (6, 1, (1, 2)),
    ]


def test_packed_positions_start_again_after_the_prompt() -> None:
    positions = packed(TWO).position_ids
    assert positions is not None
    assert positions.tolist() == [[0, 1, 2, 3, 4, 2, 0, 1, 1, 2]]


def test_packed_rows_score_every_answer_token_after_what_comes_before_it() -> None:
    layout = packed(TWO)
    assert layout.targets.tolist() == [3, 4, 5, 6, 8, 9, 10]
    # The last token of a prompt predicts the first of both its answers.
    assert layout.positions.tolist() == [1, 2, 3, 1, 6, 6, 8]
    assert layout.lengths == (3, 1, 1, 2)


def test_without_a_prompt_the_first_token_of_an_answer_is_read_and_not_scored() -> None:
    group = Group([], ([3, 4, 5], [6]))
    for layout in (packed([*TWO, group]), padded([*TWO, group], PAD)):
        assert layout.lengths == (3, 1, 1, 2, 2, 0)
        assert layout.targets.tolist()[-2:] == [4, 5]
        assert seen_before(layout)[-2:] == [3, 4]


def test_padded_rows_are_an_answer_each() -> None:
    layout = padded(TWO, PAD)
    assert layout.input_ids.tolist() == [
        [1, 2, 3, 4, 5],
        [1, 2, 6, PAD, PAD],
        [7, 8, PAD, PAD, PAD],
        [7, 9, 10, PAD, PAD],
    ]
    assert layout.attention_mask is not None
    assert layout.attention_mask.tolist() == (layout.input_ids != PAD).long().tolist()
    assert layout.position_ids is None
    assert layout.spans == ()
    assert layout.tokens == 13


@given(groups_of_two)
def test_both_layouts_score_the_same_tokens_in_the_same_order(groups: list[Group]) -> None:
    # With an empty prompt nothing stands before the first token of an answer.
    answers = [a if group.prompt else a[1:] for group in groups for a in group.answers]
    for layout in (packed(groups), padded(groups, PAD)):
        assert layout.lengths == tuple(map(len, answers))
        assert layout.targets.tolist() == list(itertools.chain(*answers))
        assert len(layout.positions) == len(layout.targets)
        assert seen_before(layout) == list(itertools.chain(*map(before, groups)))


def before(group: Group) -> list[int]:
    """The token that stands before each scored one."""
    sequences = [(group.prompt + answer)[:-1] for answer in group.answers if answer]
    return [token for one in sequences for token in one[max(len(group.prompt) - 1, 0) :]]


def seen_before(layout: Layout) -> list[int]:
    flat = layout.input_ids.flatten()
    return [int(flat[int(position)]) for position in layout.positions]


@given(groups_of_two)
def test_sizes_told_beforehand_are_those_of_the_layouts(groups: list[Group]) -> None:
    assert packed(groups).tokens == sum(group.packed_tokens for group in groups)
    assert padded(groups, PAD).tokens == sum(group.padded_tokens for group in groups)


@given(groups_of_two, st.integers(1, 30), st.booleans())
def test_parts_keep_the_order_and_the_limit(groups: list[Group], most: int, shared: bool) -> None:
    parts = divided(groups, most, shared=shared)
    assert list(itertools.chain(*parts)) == groups

    def size(part: list[Group]) -> int:
        return sum(group.packed_tokens if shared else group.padded_tokens for group in part)

    assert all(size(part) <= most or len(part) == 1 for part in parts)
    # As few as that order allows: no part could have taken the next one's first group.
    for part, following in itertools.pairwise(parts):
        assert size([*part, following[0]]) > most


def test_without_a_limit_there_is_one_part() -> None:
    assert divided(TWO, None, shared=True) == [TWO]


@pytest.mark.parametrize("make", [packed, lambda groups: padded(groups, PAD)])
def test_moving_takes_every_tensor_along_and_no_mask_made_elsewhere(make: object) -> None:
    assert callable(make)
    layout: Layout = make(TWO)
    layout.cache["mask"] = torch.ones(1)
    moved = layout.to("meta")
    tensors = [getattr(moved, name) for name in Layout.__slots__]
    devices = {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)}
    assert devices == {"meta"}
    assert moved.cache == {}
    assert (moved.lengths, moved.spans) == (layout.lengths, layout.spans)

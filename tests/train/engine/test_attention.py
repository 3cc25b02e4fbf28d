"""Attention over packed rows against the plain equation, evaluated for each answer by itself."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from backprop_tui.train.engine import attention
from backprop_tui.train.engine.attention import (
    VARIANTS,
    CannotShare,
    Options,
    shared_attention,
    split_attention,
)
from backprop_tui.train.engine.layout import Group, Layout, packed

HEADS, KV_HEADS, WIDTH = 6, 2, 8
# Prompts and the lengths of their answers.
ROWS: dict[str, list[tuple[int, tuple[int, ...]]]] = {
    "one pair": [(5, (7, 4))],
    "one answer": [(4, (6,))],
    "several": [(5, (7, 4)), (1, (12, 1)), (15, (2, 10)), (3, (5,))],
    "many answers": [(6, (3, 9, 1, 4))],
    "empty answers": [(5, (0, 4)), (6, (3, 0))],
    "empty prompt": [(4, (3, 2)), (0, (5, 6))],
}
OPTIONS = {
    "plain": Options(),
    "scaled": Options(scaling=0.9),
    "window": Options(window=4),
    "wide window": Options(window=1000),
    "softcap": Options(softcap=1.5, scaling=0.8),
    "softcap and window": Options(softcap=1.5, window=3),
}
every_row = pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def row_of(rows: Sequence[tuple[int, tuple[int, ...]]]) -> Layout:
    return packed([Group([5] * prompt, tuple([6] * n for n in ns)) for prompt, ns in rows])


def inputs(
    lean: Layout,
    *,
    dtype: torch.dtype = torch.float64,
    heads: tuple[int, int] = (HEADS, KV_HEADS),
    width: int = WIDTH,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, stored as models store them."""
    torch.manual_seed(0)

    def drawn(heads: int) -> Tensor:
        numbers = torch.randn(1, lean.tokens, heads, width, dtype=dtype)
        return numbers.transpose(1, 2).requires_grad_()

    return drawn(heads[0]), drawn(heads[1]), drawn(heads[1])


def plain(query: Tensor, key: Tensor, value: Tensor, o: Options) -> Tensor:
    """The equation: the last queries of a sequence over all its keys, [heads, tokens, width]."""
    groups = query.shape[0] // key.shape[0]
    key, value = (tensor.repeat_interleave(groups, 0) for tensor in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if o.scaling is None else o.scaling)
    if o.softcap:
        scores = o.softcap * torch.tanh(scores / o.softcap)
    places = torch.arange(key.shape[1])
    back = places[-query.shape[1] :, None] - places if query.shape[1] else places[:0, None]
    seen = (back >= 0) & (back < (o.window or len(places) + 1))
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value


def each_by_itself(inputs: Sequence[Tensor], lean: Layout, o: Options) -> Tensor:
    """[1, tokens, heads, width]; the prompt's part is taken from the first answer."""
    found: list[Tensor] = []
    for span in lean.spans:
        end = span.start + span.prompt
        for number, length in enumerate(span.answers):
            at = [*range(span.start, span.start + span.prompt), *range(end, end + length)]
            query, key, value = (tensor[0][:, at] for tensor in inputs)
            of_answer = plain(query if number == 0 else query[:, span.prompt :], key, value, o)
            found.append(of_answer)
            end += length
    return torch.cat(found, 1).transpose(0, 1)[None]


def gradients(found: Tensor, of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Of a sum with a weight of its own for every number."""
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view(found.shape)
    return torch.autograd.grad((found * weights).sum(), of)


@every_option
@every_row
def test_split_attention_is_the_equation(rows: Any, options: Options) -> None:
    """In float64: results and gradients."""
    lean = row_of(rows)
    tensors = inputs(lean)
    right = each_by_itself(tensors, lean, options)
    found = split_attention(*tensors, lean, options)
    assert found.shape == (1, lean.tokens, HEADS, WIDTH)
    assert found.is_contiguous()
    torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients(found, tensors), gradients(right, tensors), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("heads", [(4, 4), (4, 1)], ids=["all", "one"])
def test_as_many_heads_of_keys_as_of_queries_or_only_one(heads: tuple[int, int]) -> None:
    lean = row_of(ROWS["several"])
    tensors = inputs(lean, heads=heads)
    found = split_attention(*tensors, lean, Options())
    torch.testing.assert_close(found, each_by_itself(tensors, lean, Options()))


@pytest.mark.parametrize("takes", [True, False], ids=["grouped", "repeated"])
@pytest.mark.parametrize("options", [Options(), Options(window=4)], ids=["plain", "window"])
@every_row
def test_calls_for_the_cuda_kernels_are_the_equation_too(
    rows: Any, options: Options, takes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same calls, computed on a CPU: which mask, and how many heads of keys, they are given."""
    monkeypatch.setattr(attention, "_on_card", lambda _tensor: True)
    monkeypatch.setattr(attention, "takes_groups", lambda *_: takes)
    lean = row_of(rows)
    tensors = inputs(lean)
    heads = set()

    def spy(query: Tensor, key: Tensor, value: Tensor, **named: Any) -> Tensor:
        heads.add((named["enable_gqa"], key.shape[1], type(named["attn_mask"]) is Tensor))
        return scaled_dot_product_attention(query, key, value, **named)

    monkeypatch.setattr(attention, "F", SimpleNamespace(scaled_dot_product_attention=spy))
    found = split_attention(*tensors, lean, options)
    right = each_by_itself(tensors, lean, options)
    torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients(found, tensors), gradients(right, tensors), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    # A dense mask only where there is a window, and then never with grouped heads.
    grouped = (True, KV_HEADS, False)
    repeated = (False, HEADS, False)
    masked = (False, HEADS, True)
    assert heads <= {grouped if takes else repeated, masked}
    assert (masked in heads) == bool(lean.cache) == (options.window is not None)


def test_masks_are_made_once_for_all_layers_of_a_row() -> None:
    """And passed on as they are: a copy in every layer would stay until its backward pass."""
    lean = row_of([(5, (7, 4))])
    tensors = inputs(lean)
    kept = set()

    def keep(tensor: Tensor) -> Tensor:
        if tensor.shape[-2:] == (4, 9):
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = [split_attention(*tensors, lean, Options()) for _ in range(3)]
    assert len(alive) == 3
    assert len(lean.cache) == 1
    assert kept == {mask.untyped_storage().data_ptr() for mask in lean.cache.values()}


def test_mask_has_the_type_of_the_queries() -> None:
    """The same row may be read in float32 and, under autocast, in bfloat16."""
    lean = row_of([(5, (7, 4))])
    for dtype in (torch.bfloat16, torch.float32):
        tensors = inputs(lean, dtype=dtype)
        found = split_attention(*tensors, lean, Options())
        right = each_by_itself(tensors, lean, Options())
        assert found.dtype == dtype
        torch.testing.assert_close(found, right, rtol=2e-2, atol=2e-2)


def test_every_variant_is_given_what_autocast_would_give_to_the_split_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Queries and keys may have left it again, as after a norm with float32 weights."""
    seen: list[torch.dtype] = []

    def variant(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
        seen.extend(tensor.dtype for tensor in (query, key, value))
        return query.transpose(1, 2)

    monkeypatch.setitem(VARIANTS, "spy", variant)
    lean = row_of([(5, (7, 4))])
    query, key, value = inputs(lean, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        shared_attention(None, query, key, value.bfloat16(), None, lean=lean, lean_variant="spy")
    assert seen == [torch.bfloat16] * 3


def test_what_is_not_computed_is_refused() -> None:
    lean = row_of([(5, (7, 4))])
    tensors = inputs(lean)
    with pytest.raises(CannotShare, match="where each answer stands"):
        shared_attention(None, *tensors, None)
    with pytest.raises(CannotShare, match="mask of its own"):
        shared_attention(None, *tensors, torch.ones(1), lean=lean)
    with pytest.raises(CannotShare, match="attention sinks"):
        shared_attention(None, *tensors, None, lean=lean, s_aux=torch.ones(1))

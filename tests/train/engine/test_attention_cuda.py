"""The variants for CUDA cards: their numbers as far as a CPU can tell, and on a card where there
is one. FlexAttention runs uncompiled here; flash attention is replaced by its equation."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.attention import flex_attention as flex
from torch.nn.attention import varlen

from backprop_tui.train.engine import attention_cuda
from backprop_tui.train.engine.attention import Options, split_attention
from backprop_tui.train.engine.attention_cuda import (
    BLOCK,
    flex_attention,
    sequences,
    varlen_attention,
)
from tests.train.engine.test_attention import (
    HEADS,
    KV_HEADS,
    OPTIONS,
    ROWS,
    WIDTH,
    each_by_itself,
    every_option,
    every_row,
    gradients,
    inputs,
    plain,
    row_of,
)

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
UNCAPPED = {name: options for name, options in OPTIONS.items() if not options.softcap}
LONG = [(300, (150,)), (20, (30, 40, 50)), (130, (60, 200))]


def unequal(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """What flash attention computes for sequences of unequal lengths; [tokens, heads, width]."""
    left, right = window_size
    assert right == 0
    assert enable_gqa
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    queries, keys = cu_seq_q.diff().tolist(), cu_seq_k.diff().tolist()
    assert (max_q, max_k) == (max(queries), max(keys))
    options = Options(scaling=scale, window=None if left < 0 else left + 1)
    parts = zip(
        torch.split(query.transpose(0, 1), queries, 1),
        torch.split(key.transpose(0, 1), keys, 1),
        torch.split(value.transpose(0, 1), keys, 1),
        strict=True,
    )
    return torch.cat([plain(*part, options) for part in parts], 1).transpose(0, 1)


@pytest.mark.parametrize("options", UNCAPPED.values(), ids=UNCAPPED.keys())
@every_row
def test_varlen_is_the_equation(
    rows: Any, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sequences that flash attention is given are the answers; gradients come back."""
    monkeypatch.setattr(varlen, "varlen_attn", unequal)
    lean = row_of(rows)
    tensors = inputs(lean)
    right = each_by_itself(tensors, lean, options)
    found = varlen_attention(*tensors, lean, options)
    torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients(found, tensors), gradients(right, tensors), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_flash_attention_takes_what_it_is_given() -> None:
    """The real one, forward and backward, as far as it goes without numbers."""
    lean = row_of(ROWS["several"])
    tensors = [
        tensor.detach().to("meta", torch.bfloat16).requires_grad_() for tensor in inputs(lean)
    ]
    found = varlen_attention(tensors[0], tensors[1], tensors[2], lean, Options(0.3, window=4))
    assert found.shape == (1, lean.tokens, HEADS, WIDTH)
    back = torch.autograd.grad(found, tensors, torch.empty_like(found))
    assert [one.shape for one in back] == [tensor.shape for tensor in tensors]


def test_sequences_of_a_row() -> None:
    """[ 0 1 | 2 | 3 4 ] and [ 5 | 6 7 ]: three sequences, the prompt 0 1 in two of them."""
    of = sequences(row_of([(2, (1, 2)), (1, (2,))]), torch.device("cpu"))
    assert of.keys.tolist() == [0, 1, 2, 0, 1, 3, 4, 5, 6, 7]
    assert of.query_ends.tolist() == [0, 3, 5, 8]
    assert of.key_ends.tolist() == [0, 3, 7, 10]
    assert of.longest == (3, 4)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention traced but not compiled: there is no compiled kernel of it for a CPU that
    takes these masks. And with gradients, which it otherwise refuses on a CPU."""
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    for clear in (torch._dynamo.reset, attention_cuda._compiled.cache_clear):
        clear()
    yield
    for clear in (torch._dynamo.reset, attention_cuda._compiled.cache_clear):
        clear()


@pytest.mark.usefixtures("uncompiled")
@every_option
def test_flex_is_the_equation(options: Options) -> None:
    """For rows shorter than a block, longer ones, one answer and several."""
    for rows in (*ROWS.values(), LONG):
        lean = row_of(rows)
        tensors = inputs(lean, dtype=torch.float32, heads=(6, 3), width=24)
        right = each_by_itself(tensors, lean, options)
        found = flex_attention(*tensors, lean, options)
        assert found.is_contiguous()
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(gradients(found, tensors), gradients(right, tensors), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 70])
def test_blocks_that_nobody_sees_are_left_out(window: int | None) -> None:
    """And of the others it is known which are seen as a whole."""
    lean = row_of(LONG)
    missing = -lean.tokens % BLOCK
    mask = attention_cuda._block_mask(lean, lean.tokens, missing, window, torch.device("cpu"))
    right = flex.create_block_mask(
        mask.mask_mod, None, None, lean.tokens + missing, lean.tokens + missing, "cpu"
    )
    assert torch.equal(mask.to_dense(), right.to_dense())
    for name in ("kv_num_blocks", "q_num_blocks", "full_kv_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(mask, name), getattr(right, name)), name
    assert mask.sparsity() > 40
    assert (window is None) == bool(mask.full_kv_num_blocks.sum())


@pytest.mark.usefixtures("uncompiled")
def test_rows_of_other_lengths_do_not_compile_again() -> None:
    """But for one thing: a number of blocks that happens to be the number of heads or the width
    is taken for it when it is the first."""
    counters.clear()
    for rows in (LONG, [(500, (300, 40))], [(5, (7, 4))], [(200, (90, 80)), (10, (30, 20))]):
        lean = row_of(rows)
        tensors = inputs(lean, dtype=torch.float32, heads=(3, 3), width=24)
        with torch.no_grad():
            flex_attention(*tensors, lean, Options(scaling=0.2))
    assert counters["stats"]["unique_graphs"] == 1


def test_numbers_of_a_layer_are_constants_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale and the cap; else they would be looked up on the card in every layer."""
    traced: list[str] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        traced.extend(module.code for module in graph.modules() if hasattr(module, "code"))
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    attention_cuda._compiled.cache_clear()
    lean = row_of(LONG)
    with torch.no_grad():
        flex_attention(*inputs(lean), lean, Options(scaling=0.375, softcap=2.5))
    attention_cuda._compiled.cache_clear()
    code = "".join(traced)
    assert "0.375" in code
    assert "2.5" in code
    assert ".item()" not in code


def test_what_is_not_computed_is_refused() -> None:
    """Never computed wrongly: the probe then leaves the variant out."""
    lean = row_of(ROWS["one pair"])
    tensors = inputs(lean)
    for options in (Options(softcap=2.0), Options(dropout=0.1)):
        with pytest.raises(ValueError, match="varlen attention neither"):
            varlen_attention(*tensors, lean, options)
    with pytest.raises(ValueError, match="does not drop"):
        flex_attention(*tensors, lean, Options(dropout=0.1))


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(attention_cuda, "find_spec", lambda _name: None)
    attention_cuda._compiled.cache_clear()
    lean = row_of(ROWS["one pair"])
    with pytest.raises(RuntimeError, match="needs triton"):
        flex_attention(*inputs(lean), lean, Options())


@needs_card
@pytest.mark.parametrize("options", UNCAPPED.values(), ids=UNCAPPED.keys())
@pytest.mark.parametrize("variant", [split_attention, varlen_attention, flex_attention])
def test_variants_on_a_card(variant: Any, options: Options) -> None:
    """In bfloat16, against the equation in float32 on the same card."""
    _on_a_card(variant, options, (8, KV_HEADS))


@needs_card
@pytest.mark.parametrize("variant", [split_attention, flex_attention])
def test_capped_scores_on_a_card(variant: Any) -> None:
    _on_a_card(variant, Options(softcap=5.0, window=100), (8, 4))


def _on_a_card(variant: Any, options: Options, heads: tuple[int, int]) -> None:
    lean = row_of(LONG)
    rounded = [
        tensor.detach().bfloat16()
        for tensor in inputs(lean, dtype=torch.float32, heads=heads, width=64)
    ]
    exact = [tensor.float().requires_grad_() for tensor in rounded]
    there = [tensor.cuda().requires_grad_() for tensor in rounded]
    right = each_by_itself(exact, lean, options)
    found = variant(*there, lean.to("cuda"), options)
    torch.testing.assert_close(found.float().cpu(), right, rtol=3e-2, atol=3e-2)
    for mine, theirs in zip(gradients(found, there), gradients(right, exact), strict=True):
        assert (mine.float().cpu() - theirs).norm() < 2e-2 * theirs.norm()

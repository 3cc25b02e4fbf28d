"""Two more ways to compute the shared attention, for CUDA cards; attention_probe.py chooses.

varlen  flash attention over sequences of unequal lengths, all in one call. A sequence is an
        answer: its queries, over the keys of [prompt | answer]; those of the prompt go with the
        first answer. Where a sequence has fewer queries than keys, flash aligns its causal mask
        and its window to the bottom right, so that the last query sees the last key: "it is now
        aligned to lower_right" in check_flash_causal_non_square_seqlens of torch's sdp_utils.cpp,
        `row_idx + max_seqlen_k - max_seqlen_q` in flash-attention's csrc/flash_attn/src/mask.h.
flex    FlexAttention, arXiv:2412.05496: one kernel compiled for the whole row, which is told what
        a query sees, and leaves out every block of 128 x 128 that nobody sees. It also takes the
        capped scores of gemma2.

Both raise where they cannot compute what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from backprop_tui.train.engine.attention import Options
    from backprop_tui.train.engine.layout import Layout

BLOCK = 128
# Blocks of queries whose keys are looked at in one go: a mask of the whole row, which grows with
# the square of its length, is never in memory.
TOGETHER = 8
# Lengths differ between rows, so they are variables of the kernel; a scale is a constant of it.
# A kernel for each window, with and without gradients: beyond the limit, which is 8 by default,
# all scores would be held in memory.
COMPILING = {"specialize_float": True, "recompile_limit": 32}


@dataclass(frozen=True, slots=True)
class Sequences:
    """The answers of a row as sequences. keys: their places in the row, sequence after sequence.
    query_ends, key_ends [sequences + 1], int32: where each begins and ends. longest: of the
    sequences, in queries and in keys."""

    keys: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest: tuple[int, int]


def varlen_attention(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """One call of flash attention for the row; [1, tokens, heads, width]. bfloat16 or float16."""
    if o.softcap or o.dropout:
        raise ValueError("varlen attention neither caps scores nor drops them")
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    of = sequences(lean, query.device)
    found = varlen_attn(
        query,
        key.index_select(0, of.keys),
        value.index_select(0, of.keys),
        of.query_ends,
        of.key_ends,
        *of.longest,
        scale=o.scaling,
        # Keys to the left and right of a query, itself not counted; -1: all.
        window_size=(-1 if o.window is None else o.window - 1, 0),
        enable_gqa=True,
    )
    assert isinstance(found, Tensor)
    return found[None]


def sequences(lean: Layout, device: torch.device) -> Sequences:
    """The sequences of a row. Made once a row, used by every layer."""
    if "varlen" not in lean.cache:
        keys: list[Tensor] = []
        queries: list[int] = []
        for span in lean.spans:
            prompt = torch.arange(span.start, span.start + span.prompt)
            end = span.start + span.prompt + span.answers[0]
            keys.append(torch.arange(span.start, end))
            queries.append(end - span.start)
            for length in span.answers[1:]:
                keys.append(torch.cat([prompt, torch.arange(end, end + length)]))
                queries.append(length)
                end += length
        lean.cache["varlen"] = Sequences(
            torch.cat(keys).to(device),
            _ends(queries).to(device),
            _ends(list(map(len, keys))).to(device),
            (max(queries), max(map(len, keys))),
        )
    found: Sequences = lean.cache["varlen"]
    return found


def _ends(lengths: list[int]) -> Tensor:
    return F.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0))


def flex_attention(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """One kernel for the row; [1, tokens, heads, width]. No gradients on a CPU."""
    if o.dropout:
        raise ValueError("FlexAttention does not drop scores")
    tokens = query.shape[2]
    # Whole blocks, at least two of them: a row of one block would be compiled anew.
    missing = max(-(-tokens // BLOCK), 2) * BLOCK - tokens
    if missing:
        query, key, value = (F.pad(tensor, (0, 0, 0, missing)) for tensor in (query, key, value))
    with torch._dynamo.config.patch(COMPILING):
        found: Tensor = _compiled()(
            query,
            key,
            value,
            score_mod=_capped(o.softcap) if o.softcap else None,
            block_mask=_block_mask(lean, tokens, missing, o.window, query.device),
            scale=o.scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
    return found[:, :, :tokens].transpose(1, 2).contiguous()


@cache
def _compiled() -> Callable[..., Any]:
    """FlexAttention, compiled at its first call for rows of any length."""
    from torch.nn.attention.flex_attention import flex_attention as kernel

    if torch.cuda.is_available() and find_spec("triton") is None:
        raise RuntimeError("FlexAttention needs triton, which is not installed")
    return torch.compile(kernel, dynamic=True)


@cache
def _capped(cap: float) -> Callable[..., Tensor]:
    """gemma2 (arXiv:2408.00118, section 2): scores are cap x tanh(score / cap)."""

    def capped(
        score: Tensor, _batch: Tensor, _head: Tensor, _query: Tensor, _key: Tensor
    ) -> Tensor:
        return cap * torch.tanh(score / cap)

    return capped


def _block_mask(
    lean: Layout, tokens: int, missing: int, window: int | None, device: torch.device
) -> Any:
    """What a query sees, with the blocks that nobody sees left out. Made once a row and window."""
    name = ("flex", window)
    if name not in lean.cache:
        from torch.nn.attention.flex_attention import BlockMask

        sees = _sees(lean, missing, window, device)
        total = tokens + missing
        keys = torch.arange(total, device=device)
        some: list[Tensor] = []
        every: list[Tensor] = []
        for rows in torch.split(keys, TOGETHER * BLOCK):
            seen = sees(None, None, rows[:, None], keys).view(-1, BLOCK, total // BLOCK, BLOCK)
            some.append(seen.any(3).any(1))
            every.append(seen.all(3).all(1))
        partly, wholly = torch.cat(some), torch.cat(every)
        lean.cache[name] = BlockMask.from_kv_blocks(
            *_listed(partly & ~wholly),
            *_listed(wholly),
            BLOCK_SIZE=BLOCK,
            mask_mod=sees,
            seq_lengths=(total, total),
        )
    return lean.cache[name]


def _sees(
    lean: Layout, missing: int, window: int | None, device: torch.device
) -> Callable[..., Tensor]:
    """Whether a query at a place of the row sees a key at another: one of its own answer or of
    its prompt, not after it, and not further back than the window."""
    lengths: list[int] = []
    own_part: list[int] = []
    prompt_part: list[int] = []
    for span in lean.spans:
        lengths += (span.prompt, *span.answers)
        parts = 1 + len(span.answers)
        prompt_part += [len(own_part)] * parts
        own_part += range(len(own_part), len(own_part) + parts)
    # What fills the last block sees itself: a query that sees nothing would divide by zero.
    each = torch.tensor([*lengths, missing])
    own = torch.tensor([*own_part, len(own_part)]).repeat_interleave(each).to(device)
    prompt = torch.tensor([*prompt_part, len(own_part)]).repeat_interleave(each).to(device)

    def sees(_batch: Any, _head: Any, query: Tensor, key: Tensor) -> Tensor:
        part = own[key]
        return ((part == own[query]) | (part == prompt[query])) & (key <= query)

    if window is None:
        return sees
    assert lean.position_ids is not None
    at = F.pad(lean.position_ids[0].to(device), (0, missing))
    earliest = at - window + 1

    def sees_near(_batch: Any, _head: Any, query: Tensor, key: Tensor) -> Tensor:
        return sees(_batch, _head, query, key) & (at[key] >= earliest[query])

    return sees_near


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of blocks [rows, columns], how many there are and which, [1, 1, ...]."""
    count = blocks.sum(-1, dtype=torch.int32)
    order = blocks.to(torch.int8).argsort(stable=True, dim=-1, descending=True).to(torch.int32)
    return count[None, None], order[None, None]


def takes_groups(query: Tensor, key: Tensor, value: Tensor, o: Options) -> bool:
    """Whether flash attention, the one fast CUDA kernel that takes fewer heads of keys than of
    queries, takes these, without a dense mask."""
    from torch.backends.cuda import SDPAParams, can_use_flash_attention

    return can_use_flash_attention(SDPAParams(query, key, value, None, o.dropout, False, True))

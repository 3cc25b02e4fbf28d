"""Attention over a packed row: every answer sees its own prompt and itself, nothing else.

    queries \\ keys    prompt    chosen    rejected
    prompt             causal
    chosen             all       causal
    rejected           all                 causal

No mask over the whole row, no padding, and the prompt's keys and values are computed once.
Registered with transformers as an attention implementation of its own name, for which no mask is
made. Of the variants, split works everywhere; for the others see attention_cuda.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backprop_tui.train.engine.attention_cuda import (
    flex_attention,
    takes_groups,
    varlen_attention,
)
from backprop_tui.train.engine.layout import Layout

NAME = "backprop_shared_prompt"
# What some architectures add to attention and this one does not compute, in words.
UNSUPPORTED = {
    "s_aux": "attention sinks",
    "sinks": "attention sinks",
    "position_bias": "a bias for positions",
}


class CannotShare(Exception):
    """The architecture asks for something the shared attention does not compute."""


def shared_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    lean: Layout | None = None,
    lean_variant: str = "split",
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query [1, heads, tokens, width], key and value [1, kv heads, tokens, width] ->
    [1, tokens, heads, width]. Raises CannotShare."""
    if lean is None or not lean.spans:
        raise CannotShare("this model does not tell its attention where each answer stands")
    if attention_mask is not None:
        raise CannotShare("this model makes an attention mask of its own")
    if found := [words for name, words in UNSUPPORTED.items() if others.get(name) is not None]:
        raise CannotShare(f"this model uses {found[0]}")
    if torch.is_autocast_enabled(query.device.type):
        # scaled_dot_product_attention does so itself, the kernels of the other variants do not.
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    options = Options(scaling, dropout, sliding_window or None, softcap)
    return VARIANTS[lean_variant](query, key, value, lean, options), None


@dataclass(frozen=True, slots=True)
class Options:
    """Numbers of one attention layer. scaling None: 1 / sqrt(width). window: how many tokens a
    query sees, itself among them, None: all. softcap None: scores are not capped."""

    scaling: float | None = None
    dropout: float = 0.0
    window: int | None = None
    softcap: float | None = None


def split_attention(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """One scaled_dot_product_attention an answer; [1, tokens, heads, width].

    The first answer follows its prompt, so both are one causal call; each further answer is one
    call of its queries over [prompt | answer].
    """
    # Cut once, so that the gradients are joined once: a slice has one as long as the whole row.
    # All cutting and joining is along [1, tokens, heads, width], as models and kernels store it.
    sizes = [n for span in lean.spans for n in (span.prompt + span.answers[0], *span.answers[1:])]
    stored = (torch.split(tensor.transpose(1, 2), sizes, 1) for tensor in (query, key, value))
    pieces = zip(*stored, strict=True)
    found: list[Tensor] = []
    for span in lean.spans:
        queries, keys, values = next(pieces)
        found.append(_attend(queries, keys, values, lean, o))
        of_prompt = keys[:, : span.prompt], values[:, : span.prompt]
        for _ in span.answers[1:]:
            queries, *own = next(pieces)
            keys, values = (torch.cat(both, 1) for both in zip(of_prompt, own, strict=True))
            found.append(_attend(queries, keys, values, lean, o))
    return torch.cat(found, 1)


Variant = Callable[[Tensor, Tensor, Tensor, Layout, Options], Tensor]
VARIANTS: dict[str, Variant] = {
    "split": split_attention,
    "varlen": varlen_attention,
    "flex": flex_attention,
}


def _attend(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """Causal attention of the last tokens of a sequence over all of it, [1, tokens, heads, width]
    in and out."""
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    if o.softcap:
        return _softcapped(query, key, value, lean, o).transpose(1, 2)
    queries, keys = query.shape[2], key.shape[2]
    window = o.window if o.window is not None and keys > o.window else None
    dense = window is not None or (queries != keys and not _on_card(query))
    mask = None
    if dense:
        mask = _visible(lean, query, keys, window)
    elif queries != keys:
        # The CUDA kernels know this mask by its name. Imported here: it brings the compiler along.
        from torch.nn.attention.bias import causal_lower_right

        mask = causal_lower_right(queries, keys)
    grouped = key.shape[1] != query.shape[1]
    if grouped and _on_card(query) and (dense or not takes_groups(query, key, value, o)):
        key, value = _repeated(query, key), _repeated(query, value)
        grouped = False
    found = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        dropout_p=o.dropout,
        scale=o.scaling,
        enable_gqa=grouped,
    )
    return found.transpose(1, 2)


def _on_card(tensor: Tensor) -> bool:
    """Whether the CUDA kernels compute it."""
    return tensor.is_cuda


def _softcapped(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """gemma2 (arXiv:2408.00118, section 2): scores are cap x tanh(score / cap)."""
    assert o.softcap
    scaling = query.shape[-1] ** -0.5 if o.scaling is None else o.scaling
    scores = query @ _repeated(query, key).transpose(2, 3) * scaling
    scores = torch.tanh(scores / o.softcap) * o.softcap
    scores = scores + _visible(lean, query, key.shape[2], o.window)
    weights = scores.softmax(-1, dtype=torch.float32)
    weights = F.dropout(weights.to(query.dtype), p=o.dropout)
    return weights @ _repeated(query, value)


def _repeated(query: Tensor, grouped: Tensor) -> Tensor:
    """Keys or values, one for every query head."""
    return grouped.repeat_interleave(query.shape[1] // grouped.shape[1], 1)


def _visible(lean: Layout, query: Tensor, keys: int, window: int | None) -> Tensor:
    """[queries, keys]: 0 where a query sees a key, else -inf. Made once a row and used by every
    layer: of a mask of truths each layer would make such numbers and keep them for its backward."""
    queries = query.shape[2]
    name = (queries, keys, window, query.dtype)
    if name not in lean.cache:
        hidden = torch.ones(queries, keys, dtype=torch.bool, device=query.device)
        hidden = hidden.triu(keys - queries + 1)
        if window is not None:
            hidden |= torch.ones_like(hidden).tril(keys - queries - window)
        # Rows of a multiple of 8 numbers: of others the CUDA kernels make a copy in every layer.
        mask = query.new_zeros(queries, -(-keys // 8) * 8)[:, :keys]
        lean.cache[name] = mask.masked_fill_(hidden, -torch.inf)
    found: Tensor = lean.cache[name]
    return found


def register() -> None:
    """Make the implementation known to transformers. Harmless when repeated."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, shared_attention)

"""Log-probabilities of tokens from hidden states: the model's head, without a logits tensor.

A frozen head goes through unitgrad.py. A head that is trained, carries an adapter or is quantised
is called on some rows at a time, and once more in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils.checkpoint import checkpoint

from backprop_tui.train.engine.unitgrad import UnitGradient, parts

TILE_BYTES = 32 * 2**20
PLAIN = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: softcap * tanh(scale * module(hidden) / softcap)."""

    module: nn.Module
    scale: float = 1.0
    softcap: float | None = None

    @property
    def frozen(self) -> bool:
        """A plain nn.Linear that is not trained and that nothing is wrapped around or hooked to.

        Sharded weights (DTensor) and quantised ones are not plain.
        """
        module = self.module
        return (
            type(module) is nn.Linear
            and not (module._forward_hooks or module._forward_pre_hooks)
            and all(
                parameter.dtype in PLAIN
                and not parameter.requires_grad
                and not is_traceable_wrapper_subclass(parameter)
                for parameter in module.parameters()
            )
        )

    @property
    def vocabulary(self) -> int:
        """How many words it scores."""
        module: Any = self.module
        found = getattr(module, "out_features", None)
        return int(module.weight.shape[0] if found is None else found)

    def bend(self, logits: Tensor) -> Tensor:
        """The module's output -> the model's logits, at least float32."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


def head_of(causal_lm: Any) -> Head:
    """The head of a causal language model, and what its forward does to logits afterwards.

    Knows every change that the causal models of transformers 5.23 make by a number in their
    configuration. Others (words masked or cut off, a layer before the head) are not seen here:
    compare with the model's own logits before relying on it.
    """
    module = causal_lm.get_output_embeddings()
    if module is None:
        raise ValueError(f"{type(causal_lm).__name__} has no output embeddings")
    config = causal_lm.config.get_text_config()
    scale = 1.0
    # cohere; falcon_h1; muse: logits are multiplied
    for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    scaling = getattr(config, "logits_scaling", None) or 1.0
    if config.model_type.startswith("hyperclovax"):
        scale *= scaling
    else:  # granite and its kin; minicpm3 divides the hidden state, which is the same
        scale /= scaling
    softcap = None
    # gemma, nanochat, mistral_large4, beam; recurrent_gemma; xlstm
    for name in ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"):
        softcap = softcap or getattr(config, name, None)
    return Head(module, float(scale), float(softcap) if softcap else None)


@overload
def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    head: Head,
    tile_bytes: int = ...,
    *,
    statistics: Literal[False] = ...,
) -> Tensor: ...


@overload
def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    head: Head,
    tile_bytes: int = ...,
    *,
    statistics: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    head: Head,
    tile_bytes: int = TILE_BYTES,
    *,
    statistics: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The log-probability of each target after its hidden state.

    hidden [N, H], targets [N] token ids -> [N] float32 (float64 for a float64 head), in nats.
    The gradient reaches hidden, and the head where it is trained; it cannot be differentiated
    again. Without gradients nothing is stored. tile_bytes bounds the scratch memory; a head that
    is not frozen gets tiles at least the size of its weight, because each call writes as much.
    statistics: also the entropy of each position in nats, [N], detached.

    A frozen head computes in its own precision, or in autocast's; logits are float32 before the
    softmax, sums are float32 throughout.

    ValueError: a target outside the vocabulary. Only targets on the CPU are checked: looking at
    them on a card would wait for it, so there such a row becomes NaN instead.
    """
    if type(targets) is Tensor and targets.device.type == "cpu" and len(targets):
        low, high = (int(found) for found in targets.aminmax())
        if low < 0 or high >= head.vocabulary:
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} is outside the vocabulary of {head.vocabulary}")
    module: Any = head.module
    if head.frozen:
        stored = torch.is_grad_enabled() and hidden.requires_grad
        frozen = (module.weight, module.bias, head.scale, head.softcap)
        logps, entropies = UnitGradient.apply(  # type: ignore[no-untyped-call]
            hidden, targets, *frozen, tile_bytes, stored, statistics
        )
    else:
        logps, entropies = _called(hidden, targets, head, tile_bytes, statistics)
    return (logps, entropies) if statistics else logps


def _called(
    hidden: Tensor, targets: Tensor, head: Head, tile_bytes: int, statistics: bool
) -> tuple[Tensor, Tensor | None]:
    """The same by calling the module on some rows at a time, again in the backward pass."""

    def tile(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = head.bend(head.module(hidden))
        safe = targets.clamp(0, logits.shape[-1] - 1)
        logps = -nn.functional.cross_entropy(logits, safe, reduction="none")
        logps = logps.masked_fill(safe != targets, torch.nan)
        if not statistics:
            return logps, None
        return logps, torch.special.entr(logits.detach().softmax(-1)).sum(-1)

    # A call writes as much as the weight is large: its gradient, or what it unpacks.
    size = max(tile_bytes, head.vocabulary * hidden.shape[-1] * hidden.itemsize)
    tiles = [
        checkpoint(tile, hidden[rows], targets[rows], use_reentrant=False)
        for rows in parts(len(hidden), max(1, size // (8 * head.vocabulary))) or [slice(0)]
    ]
    logps, entropies = zip(*tiles, strict=True)
    return torch.cat(logps), torch.cat(entropies) if statistics else None

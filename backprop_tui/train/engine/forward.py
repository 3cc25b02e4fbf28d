"""A batch -> summed log-probabilities of its answers, without a tensor of logits.

The causal model's own forward is extended by one keyword, `lean`: a Layout. With it, the decoder
runs as ever, but only the positions that are scored reach the head, and what comes back are
log-probabilities. It stays one call of the (wrapped) model, so DistributedDataParallel and FSDP
see their parameters used where they expect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from backprop_tui.train.engine import attention
from backprop_tui.train.engine.layout import Layout
from backprop_tui.train.engine.logprobs import Head, head_of, token_logprobs


@dataclass(frozen=True, slots=True)
class Path:
    """How log-probabilities are computed. shared: packed rows, a prompt read once. lean: the head
    without a logits tensor. variant: of the shared attention; measured: what its choice was made
    on, where there was one. why: when something is off, the reason in words."""

    shared: bool
    lean: bool
    variant: str = "split"
    why: str = ""
    measured: str = ""

    def words(self, head: Head) -> str:
        """For the run file."""
        rows = "a row an answer"
        if self.shared:
            rows = f"shared prompt, {self.variant} attention"
            rows += f" ({self.measured})" if self.measured else ""
        if not self.lean:
            return f"{rows}, the model's own logits"
        return f"{rows}, {'unit-gradient' if head.frozen else 'recomputed'} head"


OWN = Path(shared=False, lean=False)
ROWS = 256  # of the model's own logits that are in float32 at once


class LeanForward:
    """Installed on a causal language model, under any adapter. Call `sums`, not this.

    path is decided by check.py; until then answers are read one a row with the model's own
    logits, which every architecture supports. Called without `lean`, as for generation, the model
    computes as ever.
    """

    def __init__(self, causal: Any) -> None:
        self.causal = causal
        self.head = head_of(causal)
        self.path = OWN
        self._original = causal.forward
        self._own = vars(causal).get("forward")  # None where the class's is used
        self._attention = causal.config._attn_implementation
        attention.register()

        @wraps(self._original)  # generation reads from the signature what it may pass
        def forward(*arguments: Any, lean: Layout | None = None, **named: Any) -> Any:
            if lean is not None:
                return self._forward(lean)
            with self.using(OWN):
                return self._original(*arguments, **named)

        causal.forward = forward

    def remove(self) -> None:
        """Leave the model as it was."""
        self.use(OWN)
        del self.causal.forward
        if self._own is not None:
            self.causal.forward = self._own

    def _forward(self, lean: Layout) -> Any:
        inputs: dict[str, Any] = {"input_ids": lean.input_ids, "use_cache": False}
        if lean.spans:
            inputs |= {
                "position_ids": lean.position_ids,
                "lean": lean,
                "lean_variant": self.path.variant,
            }
        else:
            inputs["attention_mask"] = lean.attention_mask
        if self.path.lean:
            decoder = self.causal.get_decoder()
            if decoder is self.causal:
                raise TypeError(f"{type(self.causal).__name__} does not name its decoder")
            hidden = decoder(**inputs)[0]
            picked = hidden.reshape(-1, hidden.shape[-1]).index_select(0, lean.positions)
            return {"logps": token_logprobs(picked, lean.targets, self.head)}
        return {"logps": self._own_logits(inputs, lean)}

    def _own_logits(self, inputs: dict[str, Any], lean: Layout) -> Tensor:
        """The slow way that is right for every model: its own logits."""
        rows, width = lean.input_ids.shape
        found: list[Tensor] = []
        logits = self._original(**inputs).logits.reshape(rows * width, -1)
        for part, targets in zip(
            torch.split(lean.positions, ROWS), torch.split(lean.targets, ROWS), strict=True
        ):
            chosen = logits.index_select(0, part).float()
            found.append(chosen.gather(1, targets[:, None])[:, 0] - torch.logsumexp(chosen, 1))
        return torch.cat(found)

    def use(self, path: Path) -> None:
        """Compute this way from now on."""
        self.path = path
        self._use_attention(attention.NAME if path.shared else self._attention)

    @contextmanager
    def using(self, path: Path) -> Iterator[None]:
        """Compute this way for a while."""
        before = self.path
        try:
            self.use(path)
            yield
        finally:
            self.use(before)

    def _use_attention(self, name: str) -> None:
        if self.causal.config._attn_implementation != name:
            self.causal.set_attn_implementation(name)


def sums(model: Any, layout: Layout) -> Tensor:
    """Summed log-probability of each answer, [answers] float32, in the order of the layout.

    model: what LeanForward was installed on, or anything wrapped around it.
    """
    logps = model(lean=layout)["logps"].float()
    return torch.stack([part.sum() for part in _parts(logps, layout)])


def _parts(values: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """One piece an answer."""
    return torch.split(values, list(layout.lengths))


def causal_model(model: Any) -> Any:
    """The causal language model under an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model

"""How much work a token is, for the share of the card's peak that training reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module

# A config with one of these sends a token through a few of its experts only.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def flops_per_token(model: Module) -> float | None:
    """Floating-point operations that training on one token of a row has to do.

    For every matrix between the embedding and the head 2 operations a weight forward, 2 backward
    to the activations, and 2 to the weight itself where it is trained: 6 a weight when all are
    trained, 4 when the base is frozen under an adapter, whose own weights count 6. A quantised
    matrix counts as the matrix it stands for.

    Left out, so that the share is never flattered: the head (only the positions of answers are
    projected), the attention scores, norms and biases, what checkpointing computes a second
    time, and rows read forward only (a reference, kto's mismatched answers). That is model FLOPs
    utilisation as in PaLM, arXiv:2204.02311, appendix B, as a lower bound.

    None for a mixture of experts: the weights do not say which of them a token meets.
    """
    from torch import nn

    config = getattr(model, "config", None)
    if any(getattr(config, name, None) not in (None, 0, 1) for name in EXPERTS):
        return None
    head = getattr(model, "get_output_embeddings", lambda: None)()
    outside = set(head.modules()) if head is not None else set()
    total = 0
    for name, module in model.named_modules():
        # Of a layer trained as a whole, PEFT keeps the frozen original beside the copy it uses.
        if module in outside or isinstance(module, nn.Embedding) or "original_module" in name:
            continue
        weights, trained = _matrix(module)
        total += weights * (6 if trained else 4)
    return float(total)


def _matrix(module: Module) -> tuple[int, bool]:
    """Weights of the matrix a module holds itself, 0 for none, and whether they are trained."""
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    if weight is None:  # a wrapper: it names the features of the matrix inside it
        return 0, False
    rows, columns = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(rows, int) and isinstance(columns, int):
        return rows * columns, weight.requires_grad  # two 4-bit weights are stored as one number
    return (weight.numel() if weight.dim() == 2 else 0), weight.requires_grad

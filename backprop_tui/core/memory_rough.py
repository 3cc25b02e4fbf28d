"""How much memory a plan takes, roughly: a closed form from a few numbers of the config.

It stands in until the exact answer is there. Within about a third of the truth for llama-like
models. Rows are as long as max_length, and no prompt is shared. TRL holds full float32 logits for
orpo, simpo and cpo; the lean engine holds one number a token and hidden unit, and a tile of logits.
"""

from __future__ import annotations

from backprop_tui.core.effective import Effective
from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import RunFile

# Bytes per frozen weight. nf4: half a byte; its double-quantised scales, 0.127 bits a weight, are
# a part of their own (QLoRA, arXiv:2305.14314, section 3).
BYTES_PER_WEIGHT = {"nf4": 0.5, "int8": 1.0, "bf16": 2.0, "fp16": 2.0, "fp32": 4.0}
STATE_PER_WEIGHT = {"nf4": 0.127 / 8}
OPTIMIZER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0}  # per trained weight
TILE = 32 * 2**20  # bytes of logits the lean engine looks at together


def rough_parts(run: RunFile, model: ModelFacts, plan: Effective) -> dict[str, int] | None:
    """Bytes of tensors by part; None where the config does not give its sizes."""
    if model.parameters is None or not model.hidden or not model.layers:
        return None
    lora = run.lora is not None
    head = (model.vocabulary or 0) * model.hidden
    # Quantisation leaves embeddings and head in half precision.
    kept = head * (1 if model.tied_embeddings else 2) if plan.precision in ("nf4", "int8") else 0
    # Fully fine-tuned weights are held in float32, whatever they compute in.
    width = BYTES_PER_WEIGHT[plan.precision] if lora else 4.0
    inside = model.parameters - kept
    trained = adapter_parameters(run, model) if lora else model.parameters
    activations, loss = _step_bytes(run, model, plan)
    parts = {
        "weights": inside * width + kept * 2,
        "quantisation": inside * STATE_PER_WEIGHT.get(plan.precision, 0.0),
        "adapter": trained * 4 if lora else 0,
        "gradients": trained * 4,
        "optimizer": trained * OPTIMIZER_BYTES[plan.optimizer],
        "activations": activations,
        "loss": loss,
        "reference": 0,
    }
    return {name: int(value) for name, value in parts.items()}


def adapter_parameters(run: RunFile, model: ModelFacts) -> int:
    """LoRA weights: rank x (in + out) of every adapted layer of a llama-like block."""
    if run.lora is None or not model.hidden or not model.layers:
        return 0
    hidden = model.hidden
    inner = model.intermediate or 4 * hidden
    kv = hidden * (model.kv_heads or model.heads or 1) // (model.heads or 1)
    attention = {
        "q_proj": 2 * hidden,
        "k_proj": hidden + kv,
        "v_proj": hidden + kv,
        "o_proj": 2 * hidden,
    }
    mlp = {"gate_proj": hidden + inner, "up_proj": hidden + inner, "down_proj": hidden + inner}
    targets = run.lora.targets
    if targets == "attention":
        widths = sum(attention.values())
    elif targets == "all-linear":
        widths = sum(attention.values()) + sum(mlp.values())
    else:
        widths = sum((attention | mlp).get(name.split(".")[-1], 2 * hidden) for name in targets)
    return run.lora.rank * widths * model.layers


def _step_bytes(run: RunFile, model: ModelFacts, plan: Effective) -> tuple[float, float]:
    """Activations and loss of one batch, bytes, every row as long as max_length."""
    hidden, layers = model.hidden or 0, model.layers or 0
    inner = model.intermediate or 4 * hidden
    sides = 1 if run.method == "sft" else 2  # kto: the mismatched row
    tokens = plan.batch_size * sides * plan.max_length
    if run.training.batch_tokens and _is_lean(run):
        tokens = min(tokens, max(run.training.batch_tokens, sides * plan.max_length))
    width = 4 if plan.precision == "fp32" else 2
    # What one block keeps for backward: about ten hidden-wide and four inner-wide tensors.
    block = tokens * width * (10 * hidden + 4 * inner)
    recomputed = layers / run.training.checkpoint_every if run.training.checkpointing else 0
    kept = layers - recomputed
    # A recomputed layer keeps its input, and its tensors for as long as it is recomputed.
    activations = kept * block + recomputed * tokens * hidden * width + (block if recomputed else 0)
    if plan.precision == "int8":
        # bitsandbytes keeps the input of each layer where checkpointing does not reach it.
        activations += recomputed * tokens * width * (3 * hidden + inner)
    vocabulary = model.vocabulary or 0
    if _is_lean(run):
        loss: float = tokens * hidden * 4 + TILE
    elif METHODS[run.method].reference or run.method == "sft":
        loss = min(tokens, 4096) * vocabulary * 4 * 2  # TRL computes these in chunks
    else:
        loss = 2.5 * tokens * vocabulary * 4  # float32 logits, their softmax, half a gradient
    return activations, loss


def _is_lean(run: RunFile) -> bool:
    return run.engine == "lean" and run.method != "sft"

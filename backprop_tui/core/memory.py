"""How much memory a plan takes, by part: a rough closed form from the config alone.

Within about a third of the truth for llama-like models; shown as "rough". Rows are as long as
max_length, and no prompt is shared. TRL holds full float32 logits for orpo, simpo and cpo; the
lean engine holds one number a token and hidden unit, and a tile of logits.
"""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.effective import Effective, TrainRows, effective
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import RunFile

# Bytes per frozen weight. nf4: half a byte, plus double-quantised scales of 0.127 bits
# (QLoRA, arXiv:2305.14314, section 3).
BYTES_PER_WEIGHT = {"nf4": 0.5 + 0.127 / 8, "int8": 1.0, "bf16": 2.0, "fp16": 2.0, "fp32": 4.0}
OPTIMIZER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0}  # per trained weight
CUDA_CONTEXT = 600 * 2**20  # bytes, typical of recent drivers; measured at the start of a run
TORCH_ON_CPU = 550 * 2**20  # bytes the libraries themselves take (measured)
TILE = 32 * 2**20  # bytes of logits the lean engine looks at together
PARTS = ("weights", "adapter", "optimizer", "activations", "loss", "overhead")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by part, and what is there to hold them (None: unknown)."""

    parts: dict[str, int]
    available: int | None
    total: int | None

    @property
    def needed(self) -> int:
        """All parts together, bytes."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool | None:
        """Whether the need is below what is free now; None when that is unknown."""
        return None if self.available is None else self.needed <= self.available

    @property
    def headroom(self) -> float | None:
        """Share of the whole card left free; negative when it does not fit."""
        if self.available is None or not self.total:
            return None
        return (self.available - self.needed) / self.total


def estimate(
    run: RunFile, facts: Facts, plan: Effective, free_ram: int | None = None
) -> Estimate | None:
    """None while the model is unknown. free_ram: bytes, what a CPU run may use."""
    model = facts.model
    if model is None or model.parameters is None or not model.hidden or not model.layers:
        return None
    lora = run.lora is not None
    head = (model.vocabulary or 0) * model.hidden
    # Quantisation leaves embeddings and head in half precision.
    kept = head * (1 if model.tied_embeddings else 2) if plan.precision in ("nf4", "int8") else 0
    # Fully fine-tuned weights are held in float32, whatever they compute in.
    width = BYTES_PER_WEIGHT[plan.precision] if lora else 4.0
    weights = (model.parameters - kept) * width + kept * 2
    trained = adapter_parameters(run, model) if lora else model.parameters
    adapter = trained * (4 + 4) if lora else trained * 4  # float32 values and gradients
    activations, loss = _step_bytes(run, model, plan)
    parts = {
        "weights": weights,
        "adapter": adapter,
        "optimizer": trained * OPTIMIZER_BYTES[plan.optimizer],
        "activations": activations,
        "loss": loss,
        "overhead": CUDA_CONTEXT if plan.device == "cuda" else TORCH_ON_CPU,
    }
    card = facts.gpu_card if plan.device == "cuda" else None
    available = card.memory_free if card else free_ram
    total = card.memory_total if card else free_ram
    return Estimate({name: int(value) for name, value in parts.items()}, available, total)


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


def memory_at(run: RunFile, facts: Facts, rows: TrainRows, max_length: int) -> int | None:
    """Bytes the plan would need at another max_length, roughly; None while that is unknown."""
    data = run.data.model_copy(update={"max_length": max_length})
    other = run.model_copy(update={"data": data})
    found = estimate(other, facts, effective(other, facts, rows))
    return found.needed if found else None

"""A plan and its token ids -> a trainer: arguments, columns, and what every method shares.

TRL itself is known only to `trl_trainers.py`. Shared here:
- The adapter of a quantised model is cast to bf16 by some trainers, where small steps are
  rounded away: `float32_adapter` undoes it.
- A non-finite loss is logged as 0.0 by default: the filter is switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.effective import Effective
from backprop_tui.core.errors import InputError
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.encoded import EncodedChat, EncodedLabelled, sequences
from backprop_tui.train.engine.mismatch import mismatched
from backprop_tui.train.model import stay_as_loaded

OPTIMIZERS = {
    "adamw": "adamw_torch",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class TrainerInput:
    """What a trainer is built from."""

    run: RunFile
    plan: Effective
    model: Any
    tokenizer: Any
    train: list[Any]  # encoded rows
    heldout: list[Any]
    checkpoints: Path
    callback: Any  # train.emit.EventCallback
    path: Any = None  # train.engine.forward.Path, where it is decided already
    order_batch: int | None = None  # rows of a batch when their order was drawn, if not as now


def build_trainer(given: TrainerInput) -> Any:
    """The transformers.Trainer for the run's method, its adapter in float32."""
    check_tokens(given.model, given.tokenizer, [*given.train, *given.heldout])
    if given.plan.precision == "nf4":
        stay_as_loaded(given.model)
    if uses_lean(given.run):
        from backprop_tui.train.engine.build import build_lean

        trainer: Any = build_lean(given)
    else:
        from backprop_tui.train.trl_trainers import BUILDERS  # imports TRL: seconds

        trainer = BUILDERS[given.run.method](given)
        _count_tokens(trainer, given.callback)
    _remove_printing(trainer)
    float32_adapter(trainer.model)
    return trainer


def check_tokens(model: Any, tokenizer: Any, rows: list[Any]) -> None:
    """Refuse rows with a token that the model has no embedding for. On a card they would end in
    an error that names neither. Raises InputError."""
    known = int(model.get_input_embeddings().weight.shape[0])
    if max(tokenizer.get_vocab().values()) < known:
        return
    for row in rows:
        for sequence in sequences(row):
            if found := [token for token, _ in sequence if token >= known]:
                raise InputError(
                    f"Row {row.number} has the token {tokenizer.decode(found[:1])!r}, number "
                    f"{found[0]:,} of the tokenizer; the model knows {known:,} tokens.",
                    hint="the tokenizer belongs to another model, or was given more tokens "
                    "than the model was",
                    code="MODEL_TOKENIZER_MISMATCH",
                )


def uses_lean(run: RunFile) -> bool:
    """Whether our own engine trains it; sft is always TRL's."""
    return run.engine == "lean" and run.method != "sft"


def float32_adapter(model: Any) -> None:
    """Trained weights in float32: in bf16 a step at 1e-6 moves 0.4 % of them (measured)."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.to(torch.float32)


def common_arguments(given: TrainerInput) -> dict[str, Any]:
    """Training arguments every method shares."""
    run, plan = given.run, given.plan
    training = run.training
    # A quantised or half-precision base computes in bf16 or fp16, the adapter stays float32.
    half = plan.precision in ("bf16", "nf4", "int8") and not _needs_fp16(plan)
    return {
        "output_dir": str(given.checkpoints),
        "per_device_train_batch_size": plan.batch_size,
        "per_device_eval_batch_size": plan.batch_size,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": SCHEDULES[training.schedule],
        "warmup_steps": training.warmup,
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "optim": OPTIMIZERS[plan.optimizer],
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "gradient_checkpointing": training.checkpointing,
        "activation_checkpointing_kwargs": {
            "use_reentrant": False,
            "every_n_layers": training.checkpoint_every,
        },
        "bf16": half,
        "fp16": plan.precision == "fp16" or _needs_fp16(plan),
        "use_cpu": plan.device == "cpu",
        "seed": training.seed,
        "data_seed": run.data.heldout_seed,
        "max_length": plan.max_length,
        "eval_strategy": "steps" if given.heldout else "no",
        "eval_steps": plan.eval_steps,
        "eval_on_start": bool(given.heldout),
        "save_strategy": "steps",
        "save_steps": plan.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": plan.device == "cuda",
        "push_to_hub": False,
    }


def _needs_fp16(plan: Effective) -> bool:
    """A quantised base on a card without bf16 computes in fp16."""
    if plan.device != "cuda" or plan.precision not in ("nf4", "int8"):
        return False
    import torch

    return not torch.cuda.is_bf16_supported(including_emulation=False)


def dataset(rows: list[dict[str, Any]]) -> Any:
    """A datasets.Dataset held in memory; None when there are no rows."""
    from datasets import Dataset

    return Dataset.from_list(rows) if rows else None


def labelled_columns(rows: list[EncodedLabelled], seed: int) -> list[dict[str, Any]]:
    """Each row with the answer it borrows for the KL estimate (`engine/mismatch.py`)."""
    borrowed = mismatched(rows, seed)
    return [
        {
            "prompt_ids": row.prompt,
            "completion_ids": row.completion,
            "KL_completion_ids": rows[other].completion,
            "label": row.label,
        }
        for row, other in zip(rows, borrowed, strict=True)
    ]


def chat_columns(row: EncodedChat) -> dict[str, Any]:
    return {"input_ids": row.input_ids, "labels": row.labels}


def _remove_printing(trainer: Any) -> None:
    """transformers prints every log line to stdout when progress bars are off."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _count_tokens(trainer: Any, callback: Any) -> None:
    """Let the callback see every training batch; TRL's own counts differ by method."""
    step = trainer.training_step

    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        callback.count_tokens(inputs)
        return step(model, inputs, *rest, **named)

    trainer.training_step = counted

"""method -> trainer. The one file that knows TRL.

Rows arrive as token ids (`batches.py`), so TRL neither renders templates nor cuts. What
its trainers would do wrong with them is overridden here and watched by tests/train:
- ORPO and CPO add a BOS and a second EOS, and a prompt that fills max_length turns the
  adapter into NaN: `tokenize_row` returns our ids instead.
- KTO and SFT cast the adapter of a quantised model to bf16, where small steps are rounded
  away: `float32_adapter` undoes it.
- KTO reads rows in file order: ours arrive shuffled, with both labels mixed.
- A non-finite loss is logged as 0.0: the filter is switched off.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.effective import Effective
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.batches import IGNORE, EncodedChat, EncodedLabelled, EncodedPair
from backprop_tui.train.model import lora_config

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


def build_trainer(given: TrainerInput) -> Any:
    """The transformers.Trainer for the run's method, its adapter in float32."""
    trainer = BUILDERS[given.run.method](given)
    _remove_printing(trainer)
    _count_tokens(trainer, given.callback)
    float32_adapter(trainer.model)
    return trainer


def float32_adapter(model: Any) -> None:
    """Trained weights in float32: in bf16 a step at 1e-6 moves 0.4 % of them (measured)."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.to(torch.float32)


def _orpo(given: TrainerInput) -> Any:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    assert given.run.orpo is not None
    arguments = ORPOConfig(
        **_common(given), beta=given.run.orpo.beta, disable_dropout=_no_dropout(given.run)
    )
    return _paired_trainer(ORPOTrainer, given, arguments)


def _simpo(given: TrainerInput) -> Any:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    assert given.run.simpo is not None
    arguments = CPOConfig(
        **_common(given),
        loss_type="simpo",
        cpo_alpha=0.0,  # above 0 it adds an imitation term, which is not SimPO
        beta=given.run.simpo.beta,
        simpo_gamma=given.run.simpo.gamma,
        disable_dropout=_no_dropout(given.run),
    )
    return _paired_trainer(CPOTrainer, given, arguments)


def _paired_trainer(base: Any, given: TrainerInput, arguments: Any) -> Any:
    """ORPO or CPO on our token ids."""
    from peft import get_peft_model
    from transformers import set_seed

    class PairedTrainer(base):  # type: ignore[misc]
        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            return {}  # the ids are already in the row

        def store_metrics(self, metrics: dict[str, float], train_eval: str = "train") -> None:
            for key, value in metrics.items():
                self._stored_metrics[train_eval][key].append((value, self._batch_rows))

        def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: str = "train") -> Any:
            self._batch_rows = len(batch["chosen_labels"])
            return super().get_batch_loss_metrics(model, batch, train_eval)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            # Weighted by rows: TRL averages batches, and the last one may be smaller.
            side = "train" if "loss" in logs else "eval"
            for key, pairs in self._stored_metrics[side].items():
                rows = sum(n for _, n in pairs)
                logs[key] = sum(value * n for value, n in pairs) / rows
            self._stored_metrics[side] = defaultdict(list)
            super(base, self).log(logs, start_time)

    model = given.model
    config = lora_config(given.run)
    if config is not None:
        set_seed(given.run.training.seed)  # the adapter's first values are random
        model = get_peft_model(model, config)
    if given.run.training.checkpointing:
        model.enable_input_require_grads()
    return PairedTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset([_pair_columns(row) for row in given.train]),
        eval_dataset=_dataset([_pair_columns(row) for row in given.heldout]),
        processing_class=given.tokenizer,
        callbacks=[given.callback],
    )


def _kto(given: TrainerInput) -> Any:
    from trl import KTOConfig, KTOTrainer

    assert given.run.kto is not None
    balance = given.plan.balance

    class UnpairedTrainer(KTOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
            return dataset  # tokenised, guarded and matched with KL completions already

    arguments = KTOConfig(
        **_common(given),
        beta=given.run.kto.beta,
        desirable_weight=balance.desirable_weight if balance else given.run.kto.desirable_weight,
        undesirable_weight=(
            balance.undesirable_weight if balance else given.run.kto.undesirable_weight
        ),
        disable_dropout=_no_dropout(given.run),
    )
    return UnpairedTrainer(
        model=given.model,
        args=arguments,
        train_dataset=_dataset(_labelled_columns(given.train)),
        eval_dataset=_dataset(_labelled_columns(given.heldout)),
        processing_class=given.tokenizer,
        peft_config=lora_config(given.run),
        callbacks=[given.callback],
    )


def _sft(given: TrainerInput) -> Any:
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(**_common(given), packing=False)
    return SFTTrainer(
        model=given.model,
        args=arguments,
        train_dataset=_dataset([_chat_columns(row) for row in given.train]),
        eval_dataset=_dataset([_chat_columns(row) for row in given.heldout]),
        processing_class=given.tokenizer,
        peft_config=lora_config(given.run),
        callbacks=[given.callback],
    )


BUILDERS = {"sft": _sft, "orpo": _orpo, "simpo": _simpo, "kto": _kto}


def _common(given: TrainerInput) -> dict[str, Any]:
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


def _no_dropout(run: RunFile) -> bool:
    """TRL would switch off the adapter's own dropout as well."""
    return run.lora is None or run.lora.dropout == 0


def _dataset(rows: list[dict[str, Any]]) -> Any:
    """A datasets.Dataset held in memory; None when there are no rows."""
    from datasets import Dataset

    return Dataset.from_list(rows) if rows else None


def _pair_columns(row: EncodedPair) -> dict[str, Any]:
    columns: dict[str, Any] = {"prompt": "", "chosen": "", "rejected": ""}
    columns["prompt_input_ids"] = row.prompt
    columns["prompt_attention_mask"] = [1] * len(row.prompt)
    for side, answer in (("chosen", row.chosen), ("rejected", row.rejected)):
        ids = row.prompt + answer
        columns[f"{side}_input_ids"] = ids
        columns[f"{side}_attention_mask"] = [1] * len(ids)
        columns[f"{side}_labels"] = [IGNORE] * len(row.prompt) + answer
    return columns


def _labelled_columns(rows: list[EncodedLabelled]) -> list[dict[str, Any]]:
    """Each row carries the previous row's answer as its mismatched one, for the KL estimate.

    Inside a batch the mismatched answers are then the batch's own, shifted by one
    (KTO paper, section 4.1); the first row takes the last row's.
    """
    return [
        {
            "prompt_ids": row.prompt,
            "completion_ids": row.completion,
            "KL_completion_ids": rows[i - 1].completion,
            "label": row.label,
        }
        for i, row in enumerate(rows)
    ]


def _chat_columns(row: EncodedChat) -> dict[str, Any]:
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

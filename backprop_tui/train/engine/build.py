"""A plan and its token ids -> the lean trainer."""

from __future__ import annotations

import re
from typing import Any

import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import TrainingArguments, set_seed

from backprop_tui.core.runfile import RunFile
from backprop_tui.train.engine.attention import VARIANTS
from backprop_tui.train.engine.batch import RowSet
from backprop_tui.train.engine.objectives import OBJECTIVES
from backprop_tui.train.engine.trainer import PreferenceTrainer
from backprop_tui.train.model import lora_config
from backprop_tui.train.trainers import TrainerInput, common_arguments, float32_adapter


def build_lean(given: TrainerInput) -> PreferenceTrainer:
    """The trainer of any preference method, its adapter in float32."""
    run, plan = given.run, given.plan
    arguments = common_arguments(given)
    del arguments["max_length"]  # the rows are within it already
    arguments["activation_checkpointing"] = arguments.pop("gradient_checkpointing")
    knobs = dict(run.knobs)
    if plan.balance:
        knobs |= {
            "desirable_weight": plan.balance.desirable_weight,
            "undesirable_weight": plan.balance.undesirable_weight,
        }
    model = given.model
    without_dropout(model)
    config = lora_config(run)
    if config is not None:
        set_seed(run.training.seed)  # the adapter's first values are random
        model = get_peft_model(model, config)
    float32_adapter(model)
    args = TrainingArguments(**arguments, remove_unused_columns=False)
    if args.bf16 or (args.fp16 and not args.use_cpu):  # where there is autocast
        keep_inputs(model)
    seed = run.data.heldout_seed
    return PreferenceTrainer(
        model=model,
        args=args,
        train=RowSet(given.train, seed, training=True),
        heldout=RowSet(given.heldout, seed, training=False) if given.heldout else None,
        tokenizer=given.tokenizer,
        objective=OBJECTIVES[run.method],
        knobs=knobs,
        count=given.callback.count,
        batch_tokens=run.training.batch_tokens,
        variant=recorded_variant(run),
        path=given.path,
        order_batch=given.order_batch,
        callbacks=[given.callback],
    )


def without_dropout(model: Any) -> None:
    """Switch off the base's own dropout, before it gets an adapter, whose dropout stays.

    A policy that drops what its reference keeps differs from it before anything is learned. TRL
    switches dropout off as well.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "attn_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def recorded_variant(run: RunFile) -> str | None:
    """The attention that the run file's earlier run was computed with, on this same device."""
    words = run.provenance.engine if run.provenance else ""
    found = re.search(r"shared prompt, (\w+) attention", words)
    return found[1] if found and found[1] in VARIANTS else None


def keep_inputs(model: Any) -> None:
    """Stop the adapters from keeping a float32 copy of what they read.

    Under autocast the product is computed in 16 bits anyhow; the copies are a seventh of what a
    step keeps for its backward (measured).
    """
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False

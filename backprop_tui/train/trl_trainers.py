"""The one file that knows TRL: its trainers on token ids of ours, and what is mended in them.

Imports TRL, so it is imported only when a trainer is built. Every override is watched by
tests/train/test_trainers.py against the installed TRL:
- ORPO and CPO add a BOS and a second EOS, and a prompt that fills max_length turns the
  adapter into NaN: `tokenize_row` leaves our ids alone.
- ORPO's imitation term reads the prompt too; the paper's does not (arXiv:2403.07691, eq. 6).
- CPO with loss_type "simpo" adds an imitation term unless cpo_alpha is 0.
- KTO reads rows in file order: ours arrive shuffled, with both labels mixed.
- Figures are means of batches, whatever their size: here they are means of rows.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from peft import get_peft_model
from transformers import set_seed
from trl import KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from backprop_tui.train.columns import paired_dataset
from backprop_tui.train.model import lora_config
from backprop_tui.train.trainers import (
    TrainerInput,
    chat_columns,
    common_arguments,
    dataset,
    labelled_columns,
)


class PairedIds:
    """Mixed into ORPOTrainer and CPOTrainer: rows are token ids, figures are means of rows."""

    _stored_metrics: Any
    _batch_rows = 0

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        """Nothing to add: the ids are in the row."""
        return {}

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: str = "train") -> Any:
        """Remember the size of the batch for `store_metrics`."""
        self._batch_rows = len(batch["chosen_labels"])
        return super().get_batch_loss_metrics(model, batch, train_eval)  # type: ignore[misc]

    def store_metrics(self, metrics: dict[str, float], train_eval: str = "train") -> None:
        """Keep each figure with the rows it is the mean of."""
        for key, value in metrics.items():
            self._stored_metrics[train_eval][key].append((float(value), self._batch_rows))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means over rows, not over batches."""
        side = "train" if "loss" in logs else "eval"
        for key, pairs in self._stored_metrics[side].items():
            logs[key] = sum(value * n for value, n in pairs) / sum(n for _, n in pairs)
        self._stored_metrics[side] = defaultdict(list)
        super().log(logs, start_time)  # type: ignore[misc]


class OrpoOnIds(PairedIds, ORPOTrainer):  # type: ignore[misc]
    """ORPO with the imitation term over the answer alone."""

    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """Element 4 is the imitation term; element 0 the chosen mean log-prob per token."""
        outputs = list(super().concatenated_forward(model, batch))
        outputs[4] = -outputs[0].mean()
        return tuple(outputs)


class SimpoOnIds(PairedIds, CPOTrainer):  # type: ignore[misc]
    """SimPO, through the CPO trainer."""


class KtoOnIds(KTOTrainer):  # type: ignore[misc]
    """KTO with figures that do not depend on how rows fall into batches."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._counts: dict[str, list[int]] = defaultdict(list)  # rows behind each train figure
        self._measured: list[tuple[Any, Any, Any]] = []  # held-out rewards, log-probs, labels

    def _prepare_dataset(self, rows: Any, *_arguments: Any) -> Any:
        """Tokenised, guarded and matched with KL completions already."""
        return rows

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        good = int(inputs["label"].sum())
        for side, n in (("chosen", good), ("rejected", len(inputs["label"]) - good)):
            if n:  # TRL logs a side only when the batch has it
                self._counts[side].append(n)
        return super()._compute_loss(model, inputs, return_outputs)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, None, None]:
        """The KTO loss of one held-out batch, keeping every row's reward.

        arXiv:2402.01306, eq. 8, with z0 estimated from the batch's mismatched answers.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            reference, reference_kl = self.compute_ref_log_probs(model, inputs)
            policy = _answer_logps(model, inputs, "")
            kl = (_answer_logps(model, inputs, "KL_") - reference_kl).mean().clamp(min=0)
            good = inputs["label"].bool()
            rewards = self.beta * (policy - reference)
            losses = torch.where(
                good,
                self.desirable_weight * (1 - torch.sigmoid(rewards - self.beta * kl)),
                self.undesirable_weight * (1 - torch.sigmoid(self.beta * kl - rewards)),
            )
        self._measured.append((rewards.float().cpu(), policy.float().cpu(), good.cpu()))
        return losses.mean().detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means over rows; for held-out rows also how often a good one outranks a bad one."""
        if "eval_loss" in logs and self._measured:
            rewards, logps, good = (torch.cat(part) for part in zip(*self._measured, strict=True))
            self._measured.clear()
            logs |= _kto_figures(rewards, logps, good)
        elif "loss" in logs:
            self._weight_train_figures()
        super().log(logs, start_time)

    def _weight_train_figures(self) -> None:
        figures = self._metrics["train"]
        for side, counts in self._counts.items():
            for kind in ("rewards", "logps"):
                values = figures.get(f"{kind}/{side}", [])
                if len(values) == len(counts):
                    total = sum(value * n for value, n in zip(values, counts, strict=True))
                    figures[f"{kind}/{side}"] = [total / sum(counts)]
        self._counts.clear()
        figures.pop("rewards/margins", None)
        if figures.get("rewards/chosen") and figures.get("rewards/rejected"):
            margin = figures["rewards/chosen"][0] - figures["rewards/rejected"][0]
            figures["rewards/margins"] = [margin]


def _answer_logps(model: Any, inputs: Any, prefix: str) -> Any:
    """Summed log-probability of each row's answer, [rows]; prefix "KL_": the mismatched one."""
    ids = inputs[f"{prefix}input_ids"]
    labels = ids.masked_fill(inputs[f"{prefix}completion_mask"] == 0, -100)
    outputs = model(
        input_ids=ids,
        attention_mask=inputs[f"{prefix}attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    return outputs.log_probs[:, -(ids.size(1) - 1) :].sum(-1)


def _kto_figures(rewards: Any, logps: Any, good: Any) -> dict[str, float]:
    """Held-out figures. KTO has no pairs: accuracy is the share of all (good, bad) row pairs in
    which the good row has the higher reward (the area under the ROC curve), ties counting half.
    """
    figures: dict[str, float] = {}
    for name, side in (("chosen", good), ("rejected", ~good)):
        if side.any():
            figures[f"eval_rewards/{name}"] = rewards[side].mean().item()
            figures[f"eval_logps/{name}"] = logps[side].mean().item()
    if good.any() and (~good).any():
        higher = rewards[good][:, None] - rewards[~good][None, :]
        wins = (higher > 0).double().mean() + (higher == 0).double().mean() / 2
        figures["eval_rewards/accuracies"] = wins.item()
        figures["eval_rewards/margins"] = (
            figures["eval_rewards/chosen"] - figures["eval_rewards/rejected"]
        )
    return figures


def build_orpo(given: TrainerInput) -> Any:
    """ORPO, arXiv:2403.07691."""
    assert given.run.orpo is not None
    arguments = ORPOConfig(
        **common_arguments(given), beta=given.run.orpo.beta, disable_dropout=_no_dropout(given)
    )
    return _paired(OrpoOnIds, given, arguments)


def build_simpo(given: TrainerInput) -> Any:
    """SimPO, arXiv:2405.14734: the CPO trainer without its imitation term."""
    assert given.run.simpo is not None
    arguments = CPOConfig(
        **common_arguments(given),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=given.run.simpo.beta,
        simpo_gamma=given.run.simpo.gamma,
        disable_dropout=_no_dropout(given),
    )
    return _paired(SimpoOnIds, given, arguments)


def build_kto(given: TrainerInput) -> Any:
    """KTO, arXiv:2402.01306, with the balanced weights of the plan."""
    kto, balance = given.run.kto, given.plan.balance
    assert kto is not None
    arguments = KTOConfig(
        **common_arguments(given),
        beta=kto.beta,
        desirable_weight=balance.desirable_weight if balance else kto.desirable_weight,
        undesirable_weight=balance.undesirable_weight if balance else kto.undesirable_weight,
        disable_dropout=_no_dropout(given),
    )
    return KtoOnIds(
        model=given.model,
        args=arguments,
        train_dataset=dataset(labelled_columns(given.train)),
        eval_dataset=dataset(labelled_columns(given.heldout)),
        processing_class=given.tokenizer,
        peft_config=lora_config(given.run),
        callbacks=[given.callback],
    )


def build_sft(given: TrainerInput) -> Any:
    """Supervised fine-tuning on the labelled positions."""
    return SFTTrainer(
        model=given.model,
        args=SFTConfig(**common_arguments(given), packing=False),
        train_dataset=dataset([chat_columns(row) for row in given.train]),
        eval_dataset=dataset([chat_columns(row) for row in given.heldout]),
        processing_class=given.tokenizer,
        peft_config=lora_config(given.run),
        callbacks=[given.callback],
    )


BUILDERS = {"sft": build_sft, "orpo": build_orpo, "simpo": build_simpo, "kto": build_kto}


def _paired(trainer: Any, given: TrainerInput, arguments: Any) -> Any:
    model = given.model
    config = lora_config(given.run)
    if config is not None:
        # Given a peft_config, these trainers would upcast embeddings and head of a quantised
        # model to float32; given an adapter, they leave the base alone.
        set_seed(given.run.training.seed)  # the adapter's first values are random
        model = get_peft_model(model, config)
    if given.run.training.checkpointing:
        model.enable_input_require_grads()
    return trainer(
        model=model,
        args=arguments,
        train_dataset=paired_dataset(given.train),
        eval_dataset=paired_dataset(given.heldout),
        processing_class=given.tokenizer,
        callbacks=[given.callback],
    )


def _no_dropout(given: TrainerInput) -> bool:
    """Whether TRL may switch all dropout off; it would switch off the adapter's own as well."""
    return given.run.lora is None or given.run.lora.dropout == 0

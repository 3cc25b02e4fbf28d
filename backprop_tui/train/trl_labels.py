"""What is mended in TRL's trainer of single answers: mixed into it in `trl_trainers.py`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from backprop_tui.train.trl_pairs import Watched

SIDES = ("chosen", "rejected")


class LabelledIds:
    """Mixed into KTOTrainer: rows are token ids, figures do not depend on how rows fall into
    batches."""

    _metrics: Any
    beta: float
    desirable_weight: float
    undesirable_weight: float
    _prepare_inputs: Any
    compute_loss_context_manager: Any
    compute_ref_log_probs: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._counts: dict[str, list[int]] = defaultdict(list)  # rows behind each train figure
        self._logps: dict[str, list[float]] = defaultdict(list)  # of the rows trained on
        self._measured: list[tuple[Any, ...]] = []  # held-out rewards, labels, log-probs

    def _prepare_dataset(self, rows: Any, *_arguments: Any) -> Any:
        """Tokenised, guarded and matched with KL completions already."""
        return rows

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        watched = Watched(model)
        loss = super()._compute_loss(watched, inputs, return_outputs)  # type: ignore[misc]
        good = inputs["label"].bool().cpu()
        answers = watched.answers(inputs["completion_mask"])
        for side, rows in zip(SIDES, (good, ~good), strict=True):
            if rows.any():  # TRL logs a side only when the batch has it
                self._counts[side].append(int(rows.sum()))
                for name, logps in answers.items():
                    self._logps[f"{name}/{side}"] += logps[rows].tolist()
        return loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, None, None]:
        """The KTO loss of one held-out batch, keeping every row's reward.

        arXiv:2402.01306, eq. 8, with z0 estimated from the batch's mismatched answers.
        """
        inputs = self._prepare_inputs(inputs)
        watched = Watched(model)
        with torch.no_grad(), self.compute_loss_context_manager():
            reference, reference_kl = self.compute_ref_log_probs(model, inputs)
            kl = (_answer_logps(watched, inputs, "KL_") - reference_kl).mean().clamp(min=0)
            policy = _answer_logps(watched, inputs, "")
            good = inputs["label"].bool()
            rewards = self.beta * (policy - reference)
            losses = torch.where(
                good,
                self.desirable_weight * (1 - torch.sigmoid(rewards - self.beta * kl)),
                self.undesirable_weight * (1 - torch.sigmoid(self.beta * kl - rewards)),
            )
        logps = watched.answers(inputs["completion_mask"])
        self._measured.append((rewards.float().cpu(), good.cpu(), *logps.values()))
        return losses.mean().detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means over rows; for held-out rows also how often a good one outranks a bad one."""
        if "eval_loss" in logs and self._measured:
            measured = [torch.cat(part) for part in zip(*self._measured, strict=True)]
            self._measured.clear()
            logs |= _kto_figures(*measured)
        elif "loss" in logs:
            self._weight_train_figures()
        super().log(logs, start_time)  # type: ignore[misc]

    def _weight_train_figures(self) -> None:
        figures = self._metrics["train"]
        for side, counts in self._counts.items():
            values = figures.get(f"rewards/{side}", [])
            if len(values) == len(counts):
                total = sum(value * n for value, n in zip(values, counts, strict=True))
                figures[f"rewards/{side}"] = [total / sum(counts)]
        for name, values in self._logps.items():
            figures[name] = [sum(values) / len(values)]
        self._counts.clear()
        self._logps.clear()
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


def _kto_figures(rewards: Any, good: Any, per_token: Any, sums: Any) -> dict[str, float]:
    """Held-out figures. KTO has no pairs: accuracy is the share of all (good, bad) row pairs in
    which the good row has the higher reward (the area under the ROC curve), ties counting half.
    """
    figures: dict[str, float] = {}
    for name, side in zip(SIDES, (good, ~good), strict=True):
        if side.any():
            figures[f"eval_rewards/{name}"] = rewards[side].mean().item()
            figures[f"eval_logps/{name}"] = per_token[side].mean().item()
            figures[f"eval_logps_sum/{name}"] = sums[side].mean().item()
    if good.any() and (~good).any():
        higher = rewards[good][:, None] - rewards[~good][None, :]
        wins = (higher > 0).double().mean() + (higher == 0).double().mean() / 2
        figures["eval_rewards/accuracies"] = wins.item()
        figures["eval_rewards/margins"] = (
            figures["eval_rewards/chosen"] - figures["eval_rewards/rejected"]
        )
    return figures

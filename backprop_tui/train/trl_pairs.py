"""What is mended in TRL's trainers of pairs: mixed into them in `trl_trainers.py`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from backprop_tui.train.encoded import IGNORE


class PairedIds:
    """Mixed into ORPOTrainer and CPOTrainer: rows are token ids, figures are means of rows."""

    _stored_metrics: Any
    _per_token = True  # what TRL compares: mean log-probabilities, or sums
    _logps: dict[str, Any]  # side -> (per token, summed), each [rows], of the latest batch
    _batch_rows = 0

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        """Nothing to add: the ids are in the row."""
        return {}

    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """Elements 0 and 1 are the log-probabilities of the sides, 4 the imitation term."""
        outputs = super().concatenated_forward(model, batch)  # type: ignore[misc]
        self._logps = {}
        for side, logps in zip(("chosen", "rejected"), outputs[:2], strict=True):
            # The first token of a row is not predicted.
            tokens = (batch[f"{side}_labels"][:, 1:] != IGNORE).sum(-1).to(logps.device)
            both = (logps, logps * tokens) if self._per_token else (logps / tokens, logps)
            self._logps[side] = both
        return outputs

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: str = "train") -> Any:
        """TRL's loss and figures, with log-probabilities per token and summed."""
        self._batch_rows = len(batch["chosen_labels"])
        loss, metrics = super().get_batch_loss_metrics(model, batch, train_eval)  # type: ignore[misc]
        prefix = "eval_" if train_eval == "eval" else ""
        for side, both in self._logps.items():
            for name, logps in zip(("logps", "logps_sum"), both, strict=True):
                metrics[f"{prefix}{name}/{side}"] = logps.detach().mean().item()
        return loss, metrics

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


class RowImitation(PairedIds):
    """Mixed into ORPOTrainer and CPOTrainer: the imitation term reads the answer alone, and every
    row weighs the same, however long."""

    def concatenated_forward(self, model: Any, batch: Any) -> Any:
        """Element 4 is the imitation term: the mean of rows, each per token."""
        outputs = list(super().concatenated_forward(model, batch))
        outputs[4] = -self._logps["chosen"][0].mean()
        return tuple(outputs)


class ReferencedIds:
    """Mixed into DPOTrainer: rows are token ids, figures are means of rows."""

    _metrics: Any
    model: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._counts: dict[str, list[int]] = {"train": [], "eval": []}  # rows behind each figure
        super().__init__(*arguments, **named)

    def _prepare_dataset(self, rows: Any, *_arguments: Any) -> Any:
        """Tokenised and guarded already."""
        return rows

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        mode = "train" if self.model.training else "eval"
        watched = Watched(model)
        loss = super()._compute_loss(watched, inputs, return_outputs)  # type: ignore[misc]
        figures = self._metrics[mode]
        for name, values in watched.answers(inputs["completion_mask"]).items():
            for side, logps in zip(("chosen", "rejected"), values.chunk(2), strict=True):
                kept = figures[f"{name}/{side}"]
                del kept[len(self._counts[mode]) :]  # TRL's own figure of this batch
                kept.append(logps.mean().item())
        if figures["rewards/chosen"][-1] == figures["rewards/rejected"][-1] == 0:
            figures["rewards/accuracies"][-1] = 0.5  # the policy is its reference: every pair ties
        self._counts[mode].append(len(inputs["completion_mask"]) // 2)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Means over rows, not over batches."""
        mode = "train" if self.model.training else "eval"
        counts, self._counts[mode] = self._counts[mode], []
        for values in self._metrics[mode].values():
            if len(values) == len(counts):
                mean = sum(value * n for value, n in zip(values, counts, strict=True))
                values[:] = [mean / sum(counts)]
        super().log(logs, start_time)  # type: ignore[misc]


class Watched:
    """A model whose latest log-probabilities can be read once it was called."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._log_probs: Any = None

    def __call__(self, **named: Any) -> Any:
        outputs = self._model(**named)
        self._log_probs = outputs.log_probs.detach()
        return outputs

    def answers(self, mask: Any) -> dict[str, Any]:
        """Log-probabilities of each row's answer, per token and summed, [rows]. mask: the tokens
        of the answers, [rows, longest]; the first token of a row is not predicted."""
        sums = self._log_probs[:, -(mask.size(1) - 1) :].sum(-1).float().cpu()
        return {"logps": sums / mask[:, 1:].sum(-1).cpu(), "logps_sum": sums}

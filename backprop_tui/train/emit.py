"""From trainer callbacks to events, and from requests to trainer flags."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import TrainerCallback

from backprop_tui.core.control import Control
from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Evaluated, Event, Saved, Step
from backprop_tui.train.checkpoints import RunState
from backprop_tui.train.pausing import Pauses

Emit = Callable[[Event], None]
METRICS = {
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "logp_chosen": "logps/chosen",
    "logp_rejected": "logps/rejected",
    "logp_chosen_sum": "logps_sum/chosen",
    "logp_rejected_sum": "logps_sum/rejected",
    "kl": "kl",
}
INTERVALS = {  # of held-out pairs
    "margin_low": "rewards/margins_low",
    "margin_high": "rewards/margins_high",
    "accuracy_low": "rewards/accuracies_low",
    "accuracy_high": "rewards/accuracies_high",
}
COUNTED = ("attention_mask", "chosen_attention_mask", "rejected_attention_mask")


class StopNow(Exception):
    """Raised where a stop is asked for and training has no flag: in a measurement, in a pause."""


class EventCallback(TrainerCallback):  # type: ignore[misc]
    """Turns logs into Step and Evaluated, and honours stop and save within one step.

    flops_per_token: work a token is, in FLOP. peak_flops: of the cards whose tokens are counted,
    in FLOP/s. With both set, steps tell the share of the peak that training reaches.
    """

    def __init__(self, emit: Emit, control: Control, clock: Callable[[], float]) -> None:
        self.emit = emit
        self.requests = control
        self.clock = clock
        self.heldout_rows = 0
        self.flops_per_token: float | None = None
        self.peak_flops: float | None = None
        self.tokens = 0  # of the training batches, padding left out
        self.rows = 0  # of the training batches
        self.evaluated_at: int | None = None
        self.evaluated: Evaluated | None = None  # the newest
        self.updating = False  # inside the optimizer: weights may be half new
        self.pauses = Pauses(control, emit, clock)
        self.save_now: Callable[[], None] = _nothing
        self.is_due: Callable[[], bool] = self.is_old
        self.save_every = math.inf  # seconds from one checkpoint to the next, at most
        self._saved_at = clock()
        self.is_best: Callable[[int], bool] = lambda step: False  # worth a checkpoint at once
        self.order_batch: int | None = None  # rows of a batch when their order was drawn
        self._logged = (0, 0)  # tokens and rows of the steps that are done
        self._last: _Reached | None = None

    def state(self, step: int) -> RunState:
        """What a checkpoint of this step has to know."""
        here = self.evaluated if self.evaluated and self.evaluated.step == step else None
        tokens, rows = self._logged
        return RunState(step, tokens, rows, self.evaluated_at, here, self.order_batch)

    def go_on_from(self, state: RunState) -> None:
        """Count on from a checkpoint."""
        self.tokens, self.rows = self._logged = state.tokens, state.rows
        self.evaluated_at, self.evaluated = state.evaluated_at, state.evaluated
        self.pauses.step, self.updating, self._last = state.step, False, None
        self.order_batch = state.order_batch or self.order_batch

    def count(self, tokens: int, rows: int) -> None:
        """Add a training batch: the tokens the model reads without padding, a prompt that two
        answers share once; and its rows: pairs, judged answers or conversations."""
        self.tokens += tokens
        self.rows += rows

    def count_tokens(self, batch: dict[str, Any]) -> None:
        """Add a training batch of TRL's: what its masks cover, rows read for KL left out."""
        masks = [batch[key] for key in COUNTED if key in batch]
        if masks:
            # TRL's dpo stacks the chosen answers on the rejected ones; only kto has a label.
            stacked = len(masks) == 1 and "completion_mask" in batch and "label" not in batch
            rows = len(masks[0]) // 2 if stacked else len(masks[0])
            self.count(sum(int(mask.sum()) for mask in masks), rows)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Between two steps is where a pause waits; what was learned is on disk meanwhile."""
        if self.pauses.wait_while_asked(self.save_now):
            self._last = None  # waiting is not training time
            if self.requests.stopping:
                raise StopNow

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """The weights are about to change."""
        self.updating = True

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """They have changed, all of them."""
        self.updating = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """A stop or a save asked for meanwhile. What is stopped can be resumed."""
        self.pauses.step = state.global_step
        self._honour(control)

    def _honour(self, control: Any) -> None:
        if self.requests.stopping:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False
        elif self.requests.take_save() or self.is_due():
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """The best weights so far are kept, whatever the cadence of checkpoints."""
        if self.is_best(state.global_step):
            control.should_save = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """An evaluation can be long; a stop does not wait for its end."""
        if self.requests.stopping:
            raise StopNow

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_kw: Any
    ) -> None:
        """One optimizer step, or one evaluation."""
        logs = logs or {}
        if "eval_loss" in logs:
            self._evaluated(state.global_step, logs)
        elif "loss" in logs:
            self._step(state, logs)
            self._honour(control)

    def is_old(self) -> bool:
        """Whether the newest checkpoint, or the start, is too long ago."""
        return self.clock() - self._saved_at > self.save_every

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """A checkpoint is on disk."""
        self._saved_at = self.clock()
        self.emit(
            Saved(
                t=self.clock(),
                step=state.global_step,
                path=f"{args.output_dir}/checkpoint-{state.global_step}",
                kind="checkpoint",
            )
        )

    def _step(self, state: Any, logs: dict[str, Any]) -> None:
        self._logged = self.tokens, self.rows
        speed, rows_speed = self._pace()
        loss = float(logs["loss"])
        memory, reserved, peak = memory_in_use()
        self.emit(
            Step(
                t=self.clock(),
                step=state.global_step,
                steps=state.max_steps,
                epoch=float(state.epoch or 0),
                loss=loss,
                learning_rate=float(logs.get("learning_rate", 0.0)),
                grad_norm=_number(logs.get("grad_norm")),
                tokens=self.tokens,
                rows=self.rows,
                tokens_per_second=speed,
                rows_per_second=rows_speed,
                mfu=self._mfu(speed),
                memory=memory,
                memory_reserved=reserved,
                memory_peak=peak,
                **_metrics(logs, "", METRICS),
            )
        )
        if not math.isfinite(loss):
            raise RunError(
                f"The loss became {loss} at step {state.global_step}.",
                hint="start it anew with a lower training.learning_rate; the last checkpoint is "
                "intact",
                code="RUN_NOT_FINITE",
            )

    def _evaluated(self, step: int, logs: dict[str, Any]) -> None:
        self.evaluated_at = step
        self.evaluated = Evaluated(
            t=self.clock(),
            step=step,
            rows=self.heldout_rows,
            loss=float(logs["eval_loss"]),
            **_metrics(logs, "eval_", METRICS | INTERVALS),
        )
        self.emit(self.evaluated)
        # What was spent on evaluating is not training time.
        self._last = self._reached() if self._last else None

    def _reached(self) -> _Reached:
        return _Reached(time.perf_counter(), self.tokens, self.rows)

    def _pace(self) -> tuple[float | None, float | None]:
        """Tokens and rows per second since the step before; None for the first one."""
        before, self._last = self._last, self._reached()
        if before is None or self._last.at <= before.at:
            return None, None
        seconds = self._last.at - before.at
        return (
            (self._last.tokens - before.tokens) / seconds,
            (self._last.rows - before.rows) / seconds,
        )

    def _mfu(self, tokens_per_second: float | None) -> float | None:
        if tokens_per_second is None or not self.flops_per_token or not self.peak_flops:
            return None
        return tokens_per_second * self.flops_per_token / self.peak_flops


def _nothing() -> None:
    """No trainer to save yet."""


class _Reached(NamedTuple):
    """What was counted when."""

    at: float
    tokens: int
    rows: int


def memory_in_use() -> tuple[int | None, int | None, int | None]:
    """Bytes: held by tensors, reserved, peak. On a CPU: the process, None, its peak."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return (
            torch.cuda.memory_allocated(),
            torch.cuda.memory_reserved(),
            torch.cuda.max_memory_reserved(),
        )
    import psutil

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return psutil.Process().memory_info().rss, None, peak


def _metrics(logs: dict[str, Any], prefix: str, keys: dict[str, str]) -> dict[str, float | None]:
    return {name: _number(logs.get(f"{prefix}{key}")) for name, key in keys.items()}


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None

"""The evidence of a verdict: every figure that was looked at, in words and as a number. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from backprop_tui.core.events import Evaluated, Step
from backprop_tui.core.guards import better, watched
from backprop_tui.core.interval import RANKED, WILSON
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_guards import GuardsSection, Watch
from backprop_tui.core.symptoms import WINDOW, Ends, ends_of, figure
from backprop_tui.core.text import count, percent, plural, rate
from backprop_tui.core.verdict_seen import PER_TOKEN, Evidence, Seen, length_share, mean_lengths

TRAIN = (  # name, label, figure of a step
    ("train_margin", "margin", "margin"),
    ("train_chosen", "chosen reward", "reward_chosen"),
    ("train_rejected", "rejected reward", "reward_rejected"),
    ("train_accuracy", "accuracy", "accuracy"),
    ("train_logp_chosen", "log-probability of chosen, per token", "logp_chosen"),
    ("train_logp_rejected", "log-probability of rejected, per token", "logp_rejected"),
    ("train_loss", "loss", "loss"),
)
HELD = (
    ("heldout_margin", "margin", "margin"),
    ("heldout_chosen", "chosen reward", "reward_chosen"),
    ("heldout_rejected", "rejected reward", "reward_rejected"),
    ("heldout_loss", "loss", "loss"),
)
UNSIGNED = ("train loss", "train accuracy", "loss")
LITTLE = 1_000  # training rows under which a run tells little of the method


def evidence(run: Seen, plan: RunFile | None) -> tuple[Evidence, ...]:
    """All of it, in reading order; what the log does not have is left out."""
    held = (*_held(run), *_accuracy(run), *_best(run))
    return (*_train(run), *held, *_length(run), *_size(run, plan))


def _train(run: Seen) -> Iterator[Evidence]:
    for name, label, key in TRAIN:

        def value(step: Step, key: str = key) -> float | None:
            found: float | None = getattr(step, key)
            return found

        ends = ends_of(run.history.steps, value)
        if ends.found:
            yield Evidence(name, _early_late(f"train {label}", ends), _ends(ends))


def _early_late(label: str, ends: Ends) -> str:
    width = max(1, min(WINDOW, ends.found // 2))
    means = f"first and last {plural(width, 'step')}"
    first, last = (figure(value, signed=label not in UNSIGNED) for value in (ends.first, ends.last))
    return f"{label} {first} → {last} ± {figure(ends.error)} ({means})"


def _ends(ends: Ends) -> dict[str, float]:
    return {"early": ends.first, "late": ends.last, "error": ends.error}


def _held(run: Seen) -> Iterator[Evidence]:
    start, now = run.start, run.now
    if start is None or now is None:
        return
    for name, label, key in HELD:
        before, after = getattr(start, key), getattr(now, key)
        if before is not None and after is not None and math.isfinite(after - before):
            signed = label not in UNSIGNED
            words = f"{figure(before, signed=signed)} → {figure(after, signed=signed)}"
            ends = _resampled(now, key)
            between = ""
            if ends:
                between = "; 95 % bootstrap interval {} to {}".format(
                    *(figure(end, signed=signed) for end in ends.values())
                )
            at = f"steps {count(start.step)} and {count(now.step)}, "
            at += f"measured {plural(run.measured, 'time')}"
            yield Evidence(
                name,
                f"held-out {label} {words} ({at}{between})",
                {
                    "first": before,
                    "last": after,
                    "first_step": start.step,
                    "last_step": now.step,
                    **ends,
                },
            )


def _accuracy(run: Seen) -> Iterator[Evidence]:
    start, now = run.start, run.now
    if start is None or now is None or now.accuracy is None:
        return
    words = f"held-out accuracy {percent(start.accuracy)} → {percent(now.accuracy)}"
    figures = {"first": start.accuracy, "last": now.accuracy, "rows": now.rows or None}
    if run.interval is None:
        yield Evidence(
            "heldout_accuracy", f"{words}; no interval: of how many rows is not known", figures
        )
        return
    low, high = run.interval
    source = WILSON + (
        f"; kto ranks good rows against bad ones, which is worth at least {run.tests} trials "
        f"({RANKED})"
        if run.method == "kto"
        else ""
    )
    ends = _resampled(now, "accuracy")
    words += f", 95 % Wilson interval {percent(low)} to {percent(high)}"
    if ends:
        words += ", bootstrap {} to {},".format(*map(percent, ends.values()))
    words += f" over {plural(now.rows, 'row')}"
    yield Evidence(
        "heldout_accuracy",
        f"{words} ({source})",
        {
            **figures,
            "low": low,
            "high": high,
            "interval": "wilson",
            "trials": run.tests,
            **ends,
        },
    )


def _resampled(measured: Evaluated, key: str) -> dict[str, float]:
    """The bootstrap interval of a figure, where the events have one."""
    low = getattr(measured, f"{key}_low", None)
    high = getattr(measured, f"{key}_high", None)
    return {} if low is None or high is None else {"bootstrap_low": low, "bootstrap_high": high}


def _best(run: Seen) -> Iterator[Evidence]:
    best: Evaluated | None = None
    watch = watched(GuardsSection(), run.method)
    for item in run.history.evaluations:
        if item.step and (best is None or better(item, best, watch)):
            best = item
    if best is not None and run.now is not None and _stands_out(best, run.now, watch):
        value = figure(best.loss) if watch == "loss" else percent(best.accuracy)
        yield Evidence(
            "best_measurement",
            f"the best held-out {watch} was {value} at step {count(best.step)}, not the last one",
            {"step": best.step, watch: getattr(best, watch)},
        )


def _stands_out(best: Evaluated, now: Evaluated, watch: Watch) -> bool:
    """Whether the figure itself is better than the last one: of two equal accuracies the one with
    the larger margin is the best, which is no reason to doubt the last weights."""
    before, last = getattr(best, watch), getattr(now, watch)
    return best.step != now.step and before != last and better(best, now, watch)


def _length(run: Seen) -> Iterator[Evidence]:
    """Lengths follow from sums by means; of what the model writes itself the log has nothing."""
    if run.method == "sft":
        return
    lengths, share = mean_lengths(run.start), length_share(run)
    started = run.history.started
    shorter = started.chosen_shorter if started else None
    unsaid = "What the tuned model writes is not in the log"
    if lengths is None and shorter is None:
        yield Evidence("length", f"length: the log does not tell. {unsaid}", {})
        return
    told: list[str] = []
    figures: dict[str, float] = {}
    if lengths is not None:
        told.append(
            f"held-out chosen answers have about {lengths[0]:.0f} tokens, rejected {lengths[1]:.0f}"
        )
        figures |= {"chosen_tokens": lengths[0], "rejected_tokens": lengths[1]}
    if shorter is not None:
        told.append(f"chosen is the shorter one in {percent(shorter)} of the held-out rows")
        figures["chosen_shorter"] = shorter
    if share is not None:
        loss = "divides by length" if run.method in PER_TOKEN else "takes sums"
        told.append(
            f"at equal lengths {percent(min(1.0, max(0.0, 1 - share)))} of the gain of the summed "
            f"margin would be left, and the loss {loss}"
        )
        figures["explained_by_length"] = share
    yield Evidence("length", f"{'; '.join(told)}. {unsaid}", figures)


def _size(run: Seen, plan: RunFile | None) -> Iterator[Evidence]:
    """What else could explain the figures: rank and data."""
    started, last = run.history.started, run.history.last
    if plan is not None and started is not None:
        rank = plan.lora.rank if plan.lora else None
        words = f"rank {rank}" if rank else "every weight trained, no adapter"
        yield Evidence(
            "rank",
            f"{words}, {count(started.trainable)} trainable parameters, rate "
            f"{rate(started.learning_rate)}: a higher rank alone widens the train margin",
            {"rank": rank, "trainable": started.trainable, "rate": started.learning_rate},
        )
    if started is not None and last is not None:
        few = (
            f"; under {count(LITTLE)} rows are soon learned by heart"
            if (started.train_rows < LITTLE)
            else ""
        )
        yield Evidence(
            "data",
            f"{plural(started.train_rows, 'training row')}, read {last.epoch:.2g} times{few}",
            {"train_rows": started.train_rows, "passes": last.epoch},
        )

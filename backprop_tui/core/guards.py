"""Guards: what watches over a run while nobody looks. Pure: events in, verdicts out.

All that a guard knows comes from events, so feeding the events of a killed run to a new Guards
makes it what it was. Memory and the work of an event do not grow with the run.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

from backprop_tui.core.card_guard import CardGuard, Verdict
from backprop_tui.core.events import Evaluated, Event, GpuSampled, Resumed, Saved, Started, Step
from backprop_tui.core.runfile_guards import GuardsSection, Watch
from backprop_tui.core.symptoms import ENOUGH, EXPLODING, ends, figure, inflation
from backprop_tui.core.text import percent, plural, rate

EXPLOSION = 3  # steps in a row with a gradient over the limit
KEPT = 8  # states at checkpoints: more than there are checkpoints to resume from
HOUR = 3600.0  # seconds

__all__ = ["Guards", "Verdict", "better", "watched"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of the steps so far; set back when a run is resumed."""

    step: int = 0
    last: bool = False  # there is no step after it
    learning_rate: float | None = None
    exploding: int = 0  # steps in a row
    head: tuple[float, ...] = ()  # the first train margins
    tail: tuple[float, ...] = ()  # the last ones
    margins: int = 0  # measurements that have a margin
    start: Evaluated | None = None  # the first of them
    best: Evaluated | None = None
    waited: int = 0  # measurements since the best one
    measured_at: int = -1  # step of the newest measurement
    warned: frozenset[str] = frozenset()


ENOUGH_BETTER = 0.01


class Guards:
    """Judges every event of a run, from any thread."""

    def __init__(self, section: GuardsSection, method: str) -> None:
        self.section = section
        self.watch = watched(section, method)
        self._lock = threading.Lock()
        self._seen = _Seen()
        self._card = CardGuard(section)
        self._stopped = False  # asked of this process
        self._kept = {0: self._seen}  # step -> what was known after it

    @property
    def best(self) -> Evaluated | None:
        """The best held-out measurement; the one at step 0 is left out: nothing was learned."""
        return self._seen.best

    def judge(self, event: Event) -> list[Verdict]:
        """What to do about this event; most often nothing. Nothing is stopped twice, nor at the
        last step."""
        with self._lock:
            match event:
                case GpuSampled():
                    return self._card.judge(event)
                case Resumed():
                    self._set_back(event.step)
                    return []
                case Started():
                    self._seen = replace(self._seen, learning_rate=event.learning_rate)
                    found = []
                case Step():
                    found = [*self._gradient(event), *self._time(event)]
                case Evaluated():
                    found = self._measured(event)
                case Saved():
                    self._keep(event.step)
                    return []
                case _:
                    return []
            if self._seen.step in self._kept:  # measured after its checkpoint was written
                self._kept[self._seen.step] = self._seen
            if self._stopped or self._seen.last:  # nothing is left to stop
                found = [verdict for verdict in found if verdict.kind != "stop"]
            self._stopped = self._stopped or any(verdict.kind == "stop" for verdict in found)
            return found

    def _gradient(self, step: Step) -> list[Verdict]:
        """Takes the step in; more than a few gradients over the limit are an explosion."""
        seen, norm, margin = self._seen, step.grad_norm, step.margin
        exploding = seen.exploding
        if norm is not None and math.isfinite(norm):  # else it is no sign of calm, either
            exploding = exploding + 1 if norm > EXPLODING else 0
        head, tail = seen.head, seen.tail
        if margin is not None and math.isfinite(margin):
            head = head if len(head) == ENOUGH else (*head, margin)
            tail = (*tail, margin)[-ENOUGH:]
        last = step.step >= step.steps
        self._seen = replace(
            seen, step=step.step, last=last, exploding=exploding, head=head, tail=tail
        )
        if exploding < EXPLOSION or norm is None:
            return []
        words = (
            f"the gradient norm was over {EXPLODING:.0f} for {plural(exploding, 'step')} in a row "
            f"({figure(norm)} at step {step.step})"
        )
        used = f" ({rate(seen.learning_rate)})" if seen.learning_rate else ""
        advice = f": the run is exploding. Lower training.learning_rate{used}."
        message = words[0].upper() + words[1:] + advice
        return self._warn_or_stop(
            code="gradient-explosion",
            message=message,
            why=words,
            stop=self.section.stop_on_explosion,
        )

    def _time(self, step: Step) -> list[Verdict]:
        hours = self.section.max_hours
        if hours is None or step.t < hours * HOUR:
            return []
        message = f"the time of guards.max_hours = {rate(hours)} is over"
        return [Verdict(kind="stop", code="time-over", message=message)]

    def _measured(self, measured: Evaluated) -> list[Verdict]:
        anew = measured.step > self._seen.measured_at  # else the same weights once more
        self._seen = replace(self._seen, measured_at=measured.step)
        found = self._inflation(measured, anew)
        return [*found, *self._patience(measured)] if anew and measured.step else found

    def _inflation(self, measured: Evaluated, anew: bool) -> list[Verdict]:
        """The train margin rises and the held-out rows do not follow."""
        if measured.margin is None:
            return []
        seen = self._seen
        start = seen.start or measured
        self._seen = seen = replace(seen, start=start, margins=seen.margins + anew)
        margin = ends(seen.head, seen.tail[::-1])
        words = inflation(margin, seen.margins, start, measured)
        if not words:
            return []
        return self._warn_or_stop(
            code="margin-inflation",
            message=f"{words} Lower training.learning_rate or lora.rank, or train on more rows.",
            why=words[0].lower() + words[1:].removesuffix("."),
            stop=self.section.stop_on_inflation,
        )

    def _patience(self, measured: Evaluated) -> list[Verdict]:
        """Counts measurements since the best one."""
        seen = self._seen
        if better(measured, seen.best, self.watch) if seen.best else _usable(measured):
            self._seen = replace(seen, best=measured, waited=0)
            return []
        self._seen = seen = replace(seen, waited=seen.waited + 1)
        patience = self.section.patience
        if patience is None or seen.waited < patience:
            return []
        message = _not_better(seen.best, seen.waited, self.watch)
        return [Verdict(kind="stop", code="no-improvement", message=message)]

    def _warn_or_stop(self, code: str, message: str, why: str, stop: bool) -> list[Verdict]:
        """A warning once a run, and a stop if the run file asks for it."""
        found = []
        if code not in self._seen.warned:
            self._seen = replace(self._seen, warned=self._seen.warned | {code})
            found.append(Verdict(kind="warn", code=code, message=message))
        if stop:
            found.append(Verdict(kind="stop", code=code, message=why))
        return found

    def _keep(self, step: int) -> None:
        """A checkpoint was written: the run may be resumed from here."""
        if step != self._seen.step:
            return
        self._kept[step] = self._seen
        best = self.best.step if self.best else 0
        while len(self._kept) > KEPT:
            del self._kept[next(kept for kept in self._kept if kept not in (0, best))]

    def _set_back(self, step: int) -> None:
        """Forget what a killed process did after its last checkpoint: it is done again."""
        self._card.begin_anew()
        self._stopped = False
        if step < self._seen.step:
            # Step 0 always stays, whatever number a damaged file names.
            self._kept = {kept: seen for kept, seen in self._kept.items() if kept <= max(step, 0)}
            self._seen = self._kept[max(self._kept)]


def watched(section: GuardsSection, method: str) -> Watch:
    """The held-out figure that tells better from worse. Absent: accuracy; loss for sft.

    Where a measurement lacks it, as sft lacks accuracy and margin, losses are compared.
    """
    return section.watch or ("loss" if method == "sft" else "accuracy")


def better(new: Evaluated, old: Evaluated, watch: Watch) -> bool:
    """Whether `new` is the better measurement: of two equal accuracies the one with the larger
    margin. A margin or loss is better from a hundredth on: less is chance, and would be saved
    again and again. One whose loss is not a number never is."""
    if not (_usable(new) and _usable(old)):
        return _usable(new)
    watch = _comparable(watch, new, old)
    if watch == "accuracy" and new.accuracy == old.accuracy:
        watch = _comparable("margin", new, old)
    if watch == "loss":
        return new.loss < old.loss - ENOUGH_BETTER * abs(old.loss)
    before, now = getattr(old, watch), getattr(new, watch)
    least = ENOUGH_BETTER * abs(before) if watch == "margin" else 0.0
    return bool(now > before + least)


def _usable(measured: Evaluated) -> bool:
    return _known(measured.loss)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _comparable(watch: Watch, *measured: Evaluated) -> Watch:
    """`watch`, or the loss where one of them lacks that figure."""
    return watch if all(_known(getattr(item, watch)) for item in measured) else "loss"


def _not_better(best: Evaluated | None, waited: int, watch: Watch) -> str:
    """The clause for a run that gets no better."""
    times = plural(waited, "measurement")
    if best is None:
        return f"the held-out loss has not been a number for {times}"
    watch = _comparable(watch, best)
    value = percent(best.accuracy) if watch == "accuracy" else figure(getattr(best, watch))
    words = f"the held-out {watch} has not been better than {value} (step {best.step}) for {times}"
    if watch == "accuracy" and _known(best.margin):
        words += f", nor as good with a margin over {figure(best.margin, signed=True)}"
    return words

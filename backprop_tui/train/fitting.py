"""From step 1, or from a checkpoint, to the end and onto the disk.

What runs out of memory on the way is mended (mending.py). A gradient that is no number never
reaches the weights.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Finished, Saved
from backprop_tui.core.guards import better, watched
from backprop_tui.core.text import rate
from backprop_tui.probe.survey import Survey
from backprop_tui.train.building import Builder
from backprop_tui.train.checkpoints import Checkpoint, Checkpoints, RunState
from backprop_tui.train.mending import Mending
from backprop_tui.train.resuming import plan_of
from backprop_tui.train.saving import Saver
from backprop_tui.train.trial import keeping_chance

if TYPE_CHECKING:
    from backprop_tui.train.emit import EventCallback
    from backprop_tui.train.preflight import Fitted
    from backprop_tui.train.session import Session

logger = logging.getLogger(__name__)


def ready(session: Session, fitted: Fitted, builder: Builder) -> Fitting:
    """What holds the trainer from here on; nothing else may, for memory must be free to go."""
    folder, run, callback = session.folder, session.run, builder.callback
    assert folder is not None

    def state(step: int) -> RunState:
        known: RunState = callback.state(step)
        return replace(known, plan=plan_of(session.run))

    store = Checkpoints(folder.checkpoints, watched(run.guards, run.method))
    saver = Saver(store, session.team, callback.pauses, session.asked, state, folder.still_there)
    callback.save_now = saver.save_now
    callback.save_every = run.training.save_minutes * 60
    if not session.team.alone:  # clocks differ, and all must save together
        callback.is_due = lambda: session.team.share(callback.is_old())
    if run.training.keep_best:
        callback.is_best = lambda step: session.team.share(session.is_best(step))
    start = session.start_from
    return Fitting(session, builder, callback, saver, fitted.trainer, fitted.found, start)


def fit(fitting: Fitting) -> Finished:
    """Train, measure once more at the end, and save what was learned."""
    if fitting.start is None:
        fitting.saver.check_room(fitting.trainer)
    fitting.to_end()
    return _saved(fitting)


def _saved(fitting: Fitting) -> Finished:
    """The result on the disk, and the last event."""
    session, trainer, folder = fitting.session, fitting.trainer, fitting.session.folder
    assert folder is not None
    run, last = session.run, trainer.state.global_step
    stopped = session.asked.stopping and last < trainer.state.max_steps
    if last == 0:
        return session.finished(stopped=True, path="")
    step = fitting.take_best()
    kind = "adapter" if run.lora else "model"
    weights = str(folder.weights(lora=run.lora is not None))
    fitting.saver.durably(lambda: folder.save(trainer, run), f"the {kind}")
    session.team.gather(None)  # no process may leave before the weights are on disk
    if step != last:
        session.warn(
            f"The weights of step {step} are saved: they did best on the held-out rows.",
            code="best-kept",
        )
    session.emit(Saved(t=session.clock(), step=step, path=weights, kind=kind))
    return session.finished(stopped=stopped, path=weights, step=last)


class NotFinite(Exception):
    """A gradient is infinite or no number; the weights are as they were."""


@dataclass(slots=True)
class Fitting:
    """One training. trainer, found, builder follow the plan when it is amended."""

    session: Session
    builder: Builder
    callback: EventCallback
    saver: Saver
    trainer: Any
    found: Survey
    start: Checkpoint | None  # what it goes on from

    def to_end(self) -> None:
        """Train, and measure once more at the end. RunError: it cannot go on."""
        mending = Mending(self)
        while why := self._attempt():
            # Outside of the except block, which holds what filled the memory.
            mending.make_room(why)

    def _attempt(self) -> str:
        """Train on; why not to the end, in words, "" when it came there or was stopped."""
        import torch

        from backprop_tui.train.emit import StopNow

        watch_trainer(self.trainer)
        self.saver.attach(self.trainer)
        try:
            self._train()
        except StopNow:
            logger.info("a stop was asked for in a measurement or a pause")
            self.keep_step()
        except NotFinite:
            self._not_finite()
        except torch.OutOfMemoryError as error:
            logger.warning("out of memory: %s", error)
            asked = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
            more = f" ({asked[1]} more were asked for)" if asked else ""
            return f"The card ran out of memory{more}"
        return ""

    def _train(self) -> None:
        trainer, start = self.trainer, self.start
        step = start.step if start else 0
        heldout = trainer.eval_dataset is not None
        due = step % self.found.plan.eval_steps == 0 and self.callback.evaluated_at != step
        trainer.args.eval_on_start = heldout and due
        if start and step >= self.found.plan.steps:
            load(trainer, start)  # trained to its end, but not saved
        else:
            trainer.train(resume_from_checkpoint=str(start.path) if start else None)
        if heldout and self.callback.evaluated_at != trainer.state.global_step:
            trainer.evaluate()

    def keep_step(self) -> Checkpoint | None:
        """A checkpoint of the step the weights belong to; the newest one where that is lost."""
        step = self.trainer.state.global_step
        store = self.saver.store
        if step and not self.callback.updating and store.at(step) is None:
            self.saver.save_now()
        return store.newest()

    def _not_finite(self) -> None:
        step = self.trainer.state.global_step
        kept = self.keep_step()
        now = rate(self.found.plan.learning_rate)
        raise RunError(
            f"The gradient of step {step + 1} is not a number; that step was not taken.",
            hint=f"start it anew with a lower training.learning_rate (it is {now}): --set on the "
            "command line, or the plan in the wizard"
            + (f"; the weights of step {kept.step} are in {kept.path}" if kept else ""),
            code="RUN_NOT_FINITE",
        )

    def take_best(self) -> int:
        """Put the best weights in place of the last, where they are kept; the step they are of."""
        trainer, last = self.trainer, self.trainer.state.global_step
        best = self.saver.store.best() if self.session.run.training.keep_best else None
        if best is None or best.step >= last:
            return int(last)
        end, then = self.callback.evaluated, best.state.evaluated
        assert then is not None
        if end and end.step == last and not better(then, end, self.saver.store.watch):
            return int(last)
        if trainer.is_fsdp_enabled:
            self.session.warn(
                f"The best weights were those of step {best.step}; they cannot be put back where "
                f"processes share one model, so the last ones are saved. They are in {best.path}.",
                code="best-not-loaded",
            )
            return int(last)
        trainer._load_from_checkpoint(str(best.path))
        return best.step


def load(trainer: Any, start: Checkpoint) -> None:
    """Weights and state of a checkpoint, without training on."""
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    trainer._load_from_checkpoint(str(start.path))
    trainer.state = TrainerState.load_from_json(str(start.path / TRAINER_STATE_NAME))


def watch_trainer(trainer: Any) -> None:
    """Measuring draws no random number of the training's; no gradient that is not a number gets
    into the weights. In fp16 the library's scaler skips such steps itself."""
    import torch

    measure, norm_of = trainer.evaluate, trainer._get_grad_norm

    def evaluate(*arguments: Any, **named: Any) -> Any:
        with keeping_chance():
            return measure(*arguments, **named)

    def checked(*arguments: Any, **named: Any) -> Any:
        norm = norm_of(*arguments, **named)
        finite = norm is None or bool(torch.isfinite(torch.as_tensor(norm)).all())
        if not finite and not trainer.args.fp16:
            raise NotFinite
        return norm

    trainer.evaluate, trainer._get_grad_norm = evaluate, checked

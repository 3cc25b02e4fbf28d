"""A run that goes out of memory goes on.

The state of the last whole step is kept, everything is freed, and the step is taken again; if it
fails again the plan is made smaller. Its rows and their order stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backprop_tui.core.effective import effective
from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Amended, Resumed
from backprop_tui.core.lowering import Lowered, amended
from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.core.text import plural
from backprop_tui.train.checkpoints import Checkpoint, RunState
from backprop_tui.train.trial import tidy

if TYPE_CHECKING:
    from backprop_tui.train.fitting import Fitting

MOST_AMENDED = 3  # times a plan is made smaller before the run is given up
MOST_RETRIED = 3  # times a step is taken again with the same plan


@dataclass(slots=True)
class Mending:
    """What was tried so far for one training."""

    fitting: Fitting
    failed_at: int = -1  # step that ran out of memory last
    retried: int = 0
    amended: int = 0

    def make_room(self, why: str) -> None:
        """Free everything, and build the trainer anew for the same or a smaller plan.

        RunError: neither helped.
        """
        fitting, session = self.fitting, self.fitting.session
        step = fitting.trainer.state.global_step
        if not session.team.alone:
            raise RunError(
                f"{why}, at step {step + 1}.",
                hint="lower training.batch_size and raise training.accumulation; with several "
                "processes the plan is not changed while it runs",
                code="RUN_OUT_OF_MEMORY",
            )
        fitting.start = fitting.keep_step()
        again = step == self.failed_at or self.retried == MOST_RETRIED
        self.failed_at = step
        if again:
            self._amend(why, step)
        else:
            self.retried += 1
            session.warn(
                f"{why}, at step {step + 1}: everything is freed and the step taken again.",
                code="memory-retry",
            )
        fitting.trainer = None
        fitting.saver.detach()
        tidy()
        self._go_back_to(fitting.start, step)
        builder, found = fitting.builder, fitting.found
        fitting.trainer = builder.build(found, builder.load(found))

    def _go_back_to(self, start: Checkpoint | None, step: int) -> None:
        """The counts of that checkpoint; steps after it are void."""
        callback = self.fitting.callback
        if start:
            state = start.state
        elif step:
            state = RunState(0)
        else:  # before the first step was done; what was measured then stays true
            state = RunState(0, evaluated_at=callback.evaluated_at, evaluated=callback.evaluated)
        if state.step < step:
            path = str(start.path) if start else ""
            self.fitting.session.emit(
                Resumed(t=self.fitting.session.clock(), step=state.step, checkpoint=path)
            )
        callback.go_on_from(state)

    def _amend(self, why: str, step: int) -> None:
        """Make the plan smaller, say so and write it down."""
        session = self.fitting.session
        less = amended(session.run, self.fitting.found.plan)
        if less is None or self.amended == MOST_AMENDED:
            folder = session.folder.path if session.folder else ""
            times = plural(self.amended, "time")
            tried = f", with a plan made smaller {times} already" if self.amended else ""
            raise RunError(
                f"{why}, at step {step + 1}{tried}.",
                hint="a smaller model, data.max_length, nf4 or batch_size takes less; once more "
                f"memory is free, backprop-tui resume {folder} goes on",
                code="RUN_OUT_OF_MEMORY",
            )
        self.amended += 1
        changes = {key: str(value).lower() for key, value in less.changes}
        self._take(less, step, changes)
        session.emit(
            Amended(t=session.clock(), step=step, why=f"{why}: {less.words}", changes=changes)
        )

    def _take(self, less: Lowered, step: int, changes: dict[str, str]) -> None:
        fitting, session = self.fitting, self.fitting.session
        made = less.run.provenance or ProvenanceSection()
        noted = {key: f"{value} after step {step}" for key, value in changes.items()}
        order = fitting.callback.order_batch
        told = {"amended": {**made.amended, **noted}, "order_batch": order}
        provenance = made.model_copy(update=told)
        session.run = less.run.model_copy(update={"provenance": provenance})
        plan = effective(session.run, fitting.found.facts, fitting.found.counts)
        fitting.found = replace(fitting.found, plan=plan)
        fitting.builder = replace(fitting.builder, order_batch=fitting.callback.order_batch)
        if "data.max_length" in changes:
            self._shorten()
        if folder := session.folder:
            fitting.saver.durably(lambda: folder.write_run_file(session.run), "the run file")

    def _shorten(self) -> None:
        """The same rows, cut to the new length. RunError: some would be lost."""
        from backprop_tui.train.encode import encode

        session, builder = self.fitting.session, self.fitting.builder
        train, heldout, _ = encode(
            session.run, self.fitting.found, builder.tokenizer, session.stop_if_asked, _unsaid
        )
        if (len(train.rows), len(heldout.rows)) != (len(builder.train), len(builder.heldout)):
            raise RunError(
                f"Cut to {session.run.data.max_length:,} tokens, some rows have nothing left to "
                "train, and a run does not lose rows on its way.",
                hint="take a smaller model or a lower precision",
                code="RUN_OUT_OF_MEMORY",
            )
        self.fitting.builder = replace(builder, train=train.rows, heldout=heldout.rows)


def _unsaid(_message: str, **_about: str) -> None:
    """What encoding warns of was said before step 1."""

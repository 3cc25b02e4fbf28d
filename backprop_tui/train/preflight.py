"""Before step 1: the heaviest batch is tried on the card, and a plan that does not fit is lowered.

Never silently: what is changed is an event, and stands in the run folder's run file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backprop_tui.core.calibration import Observation
from backprop_tui.core.effective import Effective, effective
from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Probed
from backprop_tui.core.lowering import Lowered, lowered
from backprop_tui.core.memory import Estimate, estimate
from backprop_tui.core.memory_ask import question
from backprop_tui.core.memory_question import MemoryQuestion
from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.core.text import plural, size
from backprop_tui.core.what_fits import smallest_change
from backprop_tui.probe.calibration import learn
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.probe.survey import Survey
from backprop_tui.train.building import Builder
from backprop_tui.train.meter import CardMeter, Meter, Room, TensorMeter
from backprop_tui.train.trial import Tried, tidy, tried

if TYPE_CHECKING:
    from backprop_tui.train.session import Session

MOST_LOWERED = 4  # times, before the run is given up
GREW = 0.05  # share of the card that other processes took meanwhile, to be worth a word


@dataclass(frozen=True, slots=True)
class Fitted:
    """What will be trained. tried: None where nothing was."""

    trainer: Any
    found: Survey
    tried: Tried | None = None


def meter_for(plan: Effective, found: Survey, *, asked: bool) -> Meter | None:
    """What measures a try; None where none is made: on a CPU, unless asked."""
    if plan.device == "cuda":
        return CardMeter(found.facts.gpu_card, found.facts.memory.calibration)
    return TensorMeter() if asked else None


def fitted(session: Session, found: Survey, builder: Builder) -> Fitted:
    """The trainer of the plan, or of the first lowered one that fits; session.run follows.

    RunError: nothing fits.
    """
    if not session.team.alone:
        if found.plan.device == "cuda":
            session.warn(
                "Several processes train together: whether the heaviest batch fits is not tried "
                "before step 1, and the plan is not lowered.",
                code="preflight-skipped",
            )
        return Fitted(builder.build(found, builder.load(found)), found)
    meter = meter_for(found.plan, found, asked=session.probing)
    if meter is None:
        return Fitted(builder.build(found, builder.load(found)), found)
    return _Preflight(session, found, builder, meter).fitted()


class _Preflight:
    def __init__(self, session: Session, found: Survey, builder: Builder, meter: Meter) -> None:
        self.session, self.found, self.builder, self.meter = session, found, builder, meter
        self.room = Room(None)

    def fitted(self) -> Fitted:
        """Try, and lower, until it fits."""
        self._look()
        for attempt in range(MOST_LOWERED + 1):
            before = self.session.run  # without what building a trainer writes into it
            why = self._attempt()
            if isinstance(why, Fitted):
                return why
            tidy()  # the trainer that did not fit is gone
            less = lowered(before, self.found.plan)
            if attempt == MOST_LOWERED:
                raise self._nothing_fits(f"{why}, lowered {MOST_LOWERED} times already")
            if less is None:
                batch, longest = self.found.plan.batch_size, self.found.plan.max_length
                raise self._nothing_fits(
                    f"{why}, and no smaller plan that trains the same is left: a batch has "
                    f"{plural(batch, 'row')} of up to {longest:,} tokens already"
                )
            self._lower(less, why)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self) -> Fitted | str:
        """The trainer, if its heaviest batch fits; else why not, in words."""
        import torch

        session, meter, builder = self.session, self.meter, self.builder
        try:
            model = builder.load(self.found)
        except torch.OutOfMemoryError as error:  # no batch is small enough for that
            raise self._nothing_fits(f"The model alone does not fit{self._into()}") from error
        try:
            trainer = builder.build(self.found, model)
            session.stage("trying the heaviest batch")
            self.room = meter.room()
            took = tried(trainer, builder.train, builder.heldout, meter)
        except torch.OutOfMemoryError:
            return f"The heaviest batch does not fit{self._into()}"
        said = self._expected(took)
        on_card = self.found.plan.device == "cuda"
        needed = None
        if said:  # on a CPU tensors alone are measured
            needed = said.needed - (0 if on_card else said.parts["overhead"])
        session.emit(
            Probed(
                t=session.clock(),
                estimate=needed,
                peak=meter.peak,
                free=self.room.free,
                seconds=took.step,
            )
        )
        if said and not said.rough:
            self._learn(said)
        if self.room.free is not None and meter.peak > self.room.free:
            free = f"{size(self.room.free)} are free"
            return f"The heaviest batch takes {size(meter.peak)} and {free}{self._others()}"
        return Fitted(trainer, self.found, took)

    def _look(self) -> None:
        """Say when others took a part of the card since the plan was judged."""
        self.room = self.meter.room()
        card = self.found.facts.gpu_card
        if not card or not card.memory_total or card.memory_used is None or not self.room.held:
            return
        grew = self.room.held - card.memory_used
        if grew > GREW * card.memory_total:
            self.session.warn(
                f"Other processes took {size(grew)} of the card since the plan was judged: "
                f"{size(self.room.free)} are free{self._others()}.",
                code="memory-held",
            )

    def _into(self) -> str:
        free = f" into the {size(self.room.free)} that are free" if self.room.free else ""
        return f"{free}{self._others()}"

    def _others(self) -> str:
        return f" ({self.room.others})" if self.room.others else ""

    def _lower(self, less: Lowered, why: str) -> None:
        """Go on with the lowered plan, and say so."""
        session = self.session
        keys = ", ".join(f"{key} = {_toml(value)}" for key, value in less.changes)
        session.warn(f"{why}: {less.words} ({keys}).", code="plan-lowered")
        made = less.run.provenance or ProvenanceSection()
        changes = {**made.lowered, **{key: _toml(value) for key, value in less.changes}}
        provenance = made.model_copy(update={"lowered": changes})
        session.run = less.run.model_copy(update={"provenance": provenance})
        plan = effective(session.run, self.found.facts, self.found.counts)
        self.found = replace(self.found, plan=plan)
        if session.folder:
            session.folder.write_run_file(session.run)

    def _nothing_fits(self, why: str) -> RunError:
        """What was measured, and the smallest change that is left."""
        change = smallest_change(self.session.run, self._facts(), self.found.counts)
        hint = change.label if change else "lower data.max_length, or take a smaller model"
        return RunError(f"{why}.", hint=hint, code="RUN_DOES_NOT_FIT")

    def _facts(self) -> Any:
        """The facts with what is free now; less, where the estimate says that the plan fits."""
        facts = self.found.facts
        said = self._expected()
        if facts.gpu is None or facts.gpu_card is None or self.room.free is None:
            return facts
        free = min(self.room.free, said.needed - 1) if said else self.room.free
        cards = tuple(
            replace(card, memory_free=free) if card is facts.gpu_card else card
            for card in facts.gpu.cards
        )
        return replace(facts, gpu=replace(facts.gpu, cards=cards))

    def _asked(self) -> MemoryQuestion | None:
        return question(self.session.run, self.found.facts, self.found.plan)

    def _expected(self, took: Tried | None = None) -> Estimate | None:
        """The estimate of the plan; exact, and of the very rows, once they were tried."""
        facts, asked = self.found.facts, self._asked()
        answers = dict(facts.memory.answers)
        if asked and took:
            with MemoryOracle() as oracle:
                answers[asked] = oracle.ask(replace(asked, rows=took.rows))
        facts = replace(facts, memory=replace(facts.memory, answers=answers))
        return estimate(self.session.run, facts, self.found.plan, self.room.free)

    def _learn(self, said: Estimate) -> None:
        """Keep what the card took for the next estimate."""
        card, meter = self.found.facts.gpu_card, self.meter
        if card is None or meter.reserved is None:
            return
        gpu = self.found.facts.gpu
        predicted = said.needed - said.parts["overhead"]
        seen = Observation(predicted=predicted, reserved=meter.reserved, context=meter.context)
        learn(card, gpu.driver if gpu else None, seen)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

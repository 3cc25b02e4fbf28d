"""One run from plan to result: judge, make the folder, encode, load, train, save.

`runner.train` is the door; nothing else uses this.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_tui.core.control import Control
from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Event, Failed, Finished, Preparing, Warned
from backprop_tui.core.guards import Guards, Verdict
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.text import plural
from backprop_tui.probe.survey import Survey, refuse, resolved, survey
from backprop_tui.runs.requests import Listener
from backprop_tui.train.bookends import finished, know_speed, started
from backprop_tui.train.card_checks import room_for_cuda, same_card
from backprop_tui.train.checkpoints import Checkpoint
from backprop_tui.train.distributed import Agreed, Team, Word
from backprop_tui.train.encoded import chosen_shorter
from backprop_tui.train.folder import RunFolder, default_output, find_folder, make_folder
from backprop_tui.train.libraries import load_libraries
from backprop_tui.train.logs import log_to
from backprop_tui.train.shares import same_rows, share_out

if TYPE_CHECKING:
    from backprop_tui.train.batches import Encoding
    from backprop_tui.train.building import Builder
    from backprop_tui.train.preflight import Fitted
    from backprop_tui.train.resuming import TakenUp

Emit = Callable[[Event], None]
# Everything slow, in the order in which each needs the ones before.
LIBRARIES = ("torch", "transformers", "datasets", "peft", "backprop_tui.train.trl_trainers")
logger = logging.getLogger(__name__)


class StoppedEarly(Exception):
    """A stop was asked for before the first step."""


class Session:
    """One run from plan to result. Not reused."""

    def __init__(
        self,
        run: RunFile,
        emit: Emit,
        control: Control,
        overrides: dict[str, str],
        trust_remote_code: bool,
        strict: bool,
        resume: Path | None = None,
    ) -> None:
        self.run = run
        self.resume = resume  # the folder of a run to go on with
        self.taken: TakenUp | None = None  # what it has done already
        self.before = run.provenance  # of the run that this one repeats
        self.emit_to_caller = emit
        self.control = control
        self.overrides = overrides
        self.trust_remote_code = trust_remote_code
        self.strict = strict
        self.start = time.perf_counter()
        self.folder: RunFolder | None = None
        self.step = 0
        self.shorter: float | None = None  # how often the shorter held-out answer is chosen
        self.start_from: Checkpoint | None = None
        self.probing = False  # only to see what it takes, on a CPU as well
        self.open = ExitStack()
        self.team = Team.here()
        self.asked = control if self.team.alone else Agreed(control, self.team)
        self.guards = Guards(run.guards, run.method)

    def clock(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def emit(self, event: Event) -> None:
        """To the run folder first, then to whoever is looking; of several processes, one does."""
        self.step = getattr(event, "step", self.step)
        if self.team.main:
            if self.folder:
                self.folder.append(event)
            self.emit_to_caller(event)
            for verdict in self.guards.judge(event):
                self.obey(verdict)

    def obey(self, verdict: Verdict) -> None:
        """Do what a guard asks for. Why it pauses or stops is in the event that says so."""
        match verdict.kind:
            case "go_on":
                self.control.go_on(verdict.code)
            case "pause":
                self.control.pause(verdict.code, verdict.message)
            case "stop":
                self.control.stop(verdict.message)
            case "warn":
                self.warn(verdict.message, code=verdict.code)

    def close(self) -> None:
        """Give back the log, the sampler and the folder."""
        self.open.close()
        if self.folder:
            self.folder.close()

    def stage(self, text: str) -> None:
        """Say what comes next, unless a stop was asked for."""
        self.stop_if_asked()
        self.say(text)

    def say(self, text: str) -> None:
        """What is going on."""
        self.emit(Preparing(t=self.clock(), stage=text))

    def stop_if_asked(self, _rows: int = 0) -> None:
        """Between two batches of rows: a stop need not wait for the rest."""
        if self.asked.stopping:
            raise StoppedEarly

    def warn(self, message: str, *, code: str, source: str = "") -> None:
        """Something the user should know; the run goes on."""
        self.emit(Warned(t=self.clock(), code=code, message=message, source=source))

    def run_to_end(self) -> Finished:
        """The order of a run: judge, make the folder, encode, load, train, save."""
        fitted, builder = self.prepare()
        from backprop_tui.train.fitting import fit, ready

        fitting = ready(self, fitted, builder)
        del fitted
        found, world = fitting.found, self.team.world
        device = self.run.provenance.device if self.run.provenance else ""
        know_speed(builder.callback, fitting.trainer, found.plan, device, world)
        self.emit(started(self.clock(), self.run, found, fitting.trainer, world, self.shorter))
        return fit(fitting)

    def prepare(self) -> tuple[Fitted, Builder]:
        """Everything before the first step: a trainer that fits, and what would build another."""
        self.meet()
        if self.resume:
            self.take_up()
        self.stage("reading the data and judging the plan")
        found = survey(self.run, trust_remote_code=self.trust_remote_code, to_train=True)
        refuse(found, "run file")
        same_rows(self.team, found)
        if self.folder is None:
            output = Path(self.run.output or default_output(self.run)).resolve()
            self.say(f"making the run folder {output}")
            self.folder = make_folder(self.team, output)
        self.run = resolved(self.run).model_copy(update={"output": str(self.folder.path)})
        if self.resume is None:
            self.folder.write_run_file(self.run)
        if self.team.main:
            self.open.enter_context(Listener(self.folder.path, self.control, self.refused_request))

        self.stage("loading the libraries")
        load_libraries(LIBRARIES)
        self.open.enter_context(log_to(self.folder.log))
        from backprop_tui.train.building import Builder
        from backprop_tui.train.encode import encode
        from backprop_tui.train.model import load_tokenizer, use_device
        from backprop_tui.train.preflight import fitted

        model_facts = found.facts.model
        assert model_facts is not None
        if self.team.alone:
            room_for_cuda(found)
        use_device(self.run, found.plan, model_facts, launched=not self.team.alone)
        if self.team.alone:
            same_card(found)
        tokenizer = load_tokenizer(self.run, model_facts, trust_remote_code=self.trust_remote_code)
        self.stage(f"tokenising {plural(len(found.train) + len(found.heldout), 'row')}")
        train_rows, heldout_rows, found = encode(
            self.run, found, tokenizer, self.stop_if_asked, self.warn
        )
        found = share_out(self.team, self.run, found, self.say)
        self.record(found, tokenizer.chat_template, train_rows, heldout_rows)
        self.shorter = chosen_shorter(heldout_rows.rows)

        callback = self.callback(len(heldout_rows.rows), found)
        if self.taken:
            self.emit(self.taken.resumed(self.clock()))
        if self.start_from:
            callback.go_on_from(self.start_from.state)
        if self.before and callback.order_batch is None:
            callback.order_batch = self.before.order_batch
        builder = Builder(
            self, tokenizer, train_rows.rows, heldout_rows.rows, callback, callback.order_batch
        )
        ready = fitted(self, found, builder)
        callback.order_batch = callback.order_batch or ready.found.plan.batch_size
        return ready, builder

    def take_up(self) -> None:
        """Own the folder of a run, and find what it goes on from. InputError: it cannot."""
        from backprop_tui.train.resuming import taken_up

        assert self.resume is not None
        self.folder = find_folder(self.team, self.resume)
        taken = taken_up(self.folder.path, self.run, tidy=self.team.main)
        self.start -= taken.seconds
        for event in taken.events:
            self.guards.judge(event)
        self.start_from = taken.checkpoint
        self.taken = taken if taken.events or taken.checkpoint else None

    def let_go(self) -> None:
        """Leave the folder as it was: nothing more is recorded there."""
        if self.folder:
            self.folder.close()
        self.folder = None

    def refused_request(self, message: str, _code: str) -> None:
        """Somebody asked who may not."""
        self.warn(message, code="request-refused")

    def meet(self) -> None:
        """Wait for the other processes of the run, where there are any."""
        if not self.team.alone:
            self.say(f"waiting for {self.team.world} processes to meet")
            self.team.join(self.run, lambda word: self.emit(self.heard(word)))
            if self.run.machine.card:
                self.warn(
                    "machine.card is not used: the launcher gives each process its card.",
                    code="launcher-chooses-card",
                )

    def heard(self, word: Word) -> Failed:
        """The last event, when another process failed."""
        log = ""
        if self.folder:
            log = str(self.folder.log)
            self.folder.note(f"rank {word.rank}: {word.ending.message}\n{word.trace}")
        return word.heard(self.clock(), log)

    def ready(self, trainer: Any) -> None:
        """What the lean engine measures before step 1."""
        from backprop_tui.train.trainers import uses_lean

        if not uses_lean(self.run):
            return
        from backprop_tui.train.engine.ready import make_ready

        assert self.folder is not None
        made = self.run.provenance or ProvenanceSection()
        now = make_ready(
            trainer, made, self.say, self.stop_if_asked, self.warn, self.folder.path, self.before
        )
        self.run = self.run.model_copy(update={"provenance": now})
        self.folder.write_run_file(self.run)

    def record(self, found: Survey, chat_template: str, train: Encoding, heldout: Encoding) -> None:
        """Write what this run is made with; compare it with what the file says it was."""
        from backprop_tui.train.provenance import drift, record
        from backprop_tui.train.resuming import going_on

        if not self.team.main:
            return
        assert self.folder is not None
        data = found.facts.data
        before = self.run.provenance
        now = record(
            self.run,
            found.facts,
            found.plan,
            chat_template=chat_template,
            train_rows=len(train.rows),
            heldout_rows=len(heldout.rows),
            dropped=Counter(data.dropped if data else {}) + train.dropped + heldout.dropped,
            cut=train.cut + heldout.cut,
            overrides=self.overrides,
        )
        if before and self.resume and not self.taken:  # only prepared, with what --set gave
            now = now.model_copy(update={"overrides": before.overrides})
        if before and self.taken:
            now = going_on(before, now, self.folder.path)
        self.run = self.run.model_copy(update={"provenance": now})
        self.folder.write_run_file(self.run)
        differences = drift(before, now) if before and before.started else []
        if differences and self.strict:
            raise RunError(
                f"This replay would differ: {'; '.join(differences)}.",
                hint="run without --strict to go on anyway",
                code="REPLAY_DRIFT",
            )
        for difference in differences:
            self.warn(f"Differs from the recorded run: {difference}.", code="replay-drift")

    def callback(self, heldout_rows: int, found: Survey) -> Any:
        """The bridge from trainer to events, and the sampler of the card beside it."""
        from backprop_tui.train.emit import EventCallback
        from backprop_tui.train.gpu_sampler import card_of, sampling

        callback = EventCallback(self.emit, self.asked, self.clock)
        callback.heldout_rows = heldout_rows
        if self.team.main:
            here = self.run.machine.card if self.team.alone else card_of(self.team.local_rank)
            card = found.facts.gpu_card if self.team.alone else None
            before = card.memory_used if card else None
            self.open.enter_context(sampling(here, self.emit, self.clock, before))
        return callback

    def is_best(self, step: int) -> bool:
        """Whether the newest measurement is the best so far."""
        best = self.guards.best
        return best is not None and best.step == step

    def finished(self, *, stopped: bool, path: str, step: int | None = None) -> Finished:
        """The last event of a run that ended as asked."""
        return finished(
            self.clock(),
            self.step if step is None else step,
            self.folder,
            self.team.world,
            stopped=stopped,
            path=path,
            why=self.control.why if stopped else "",
        )

"""One run from plan to result: judge, make the folder, encode, load, train, save.

`runner.train` is the door; nothing else uses this.
"""

from __future__ import annotations

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_tui.core.control import Control
from backprop_tui.core.errors import RunError
from backprop_tui.core.events import Event, Finished, Preparing, Saved, Started, Warned
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.text import plural
from backprop_tui.probe.survey import Survey, refuse, resolved, survey
from backprop_tui.train.card import write_card
from backprop_tui.train.folder import RunFolder, default_output, free_name
from backprop_tui.train.libraries import load_libraries
from backprop_tui.train.logs import log_to

if TYPE_CHECKING:
    from backprop_tui.train.batches import Encoding

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
    ) -> None:
        self.run = run
        self.emit_to_caller = emit
        self.control = control
        self.overrides = overrides
        self.trust_remote_code = trust_remote_code
        self.strict = strict
        self.start = time.perf_counter()
        self.folder: RunFolder | None = None
        self.step = 0
        self.open = ExitStack()

    def clock(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def emit(self, event: Event) -> None:
        """To the run folder first, then to whoever is looking."""
        if self.folder:
            self.folder.append(event)
        self.step = getattr(event, "step", self.step)
        self.emit_to_caller(event)

    def close(self) -> None:
        """Give back the log and the sampler."""
        self.open.close()

    def stage(self, text: str) -> None:
        """Say what comes next, unless a stop was asked for."""
        if self.control.stopping:
            raise StoppedEarly
        self.emit(Preparing(t=self.clock(), stage=text))

    def stop_if_asked(self, _rows: int) -> None:
        """Between two batches of rows: a stop need not wait for the rest."""
        if self.control.stopping:
            raise StoppedEarly

    def warn(self, message: str, *, code: str, source: str = "") -> None:
        """Something the user should know; the run goes on."""
        self.emit(Warned(t=self.clock(), code=code, message=message, source=source))

    def run_to_end(self) -> Finished:
        """The order of a run: judge, make the folder, encode, load, train, save."""
        self.stage("reading the data and judging the plan")
        found = survey(self.run, trust_remote_code=self.trust_remote_code, to_train=True)
        refuse(found, "run file")
        self.folder = RunFolder.create(Path(self.run.output or default_output(self.run)).resolve())
        self.run = resolved(self.run).model_copy(update={"output": str(self.folder.path)})
        self.folder.write_run_file(self.run)

        self.stage("loading the libraries")
        load_libraries(LIBRARIES)
        self.open.enter_context(log_to(self.folder.log))
        from backprop_tui.train.encode import encode
        from backprop_tui.train.model import check_targets, load_model, load_tokenizer, use_device
        from backprop_tui.train.trainers import TrainerInput, build_trainer

        model_facts = found.facts.model
        assert model_facts is not None
        use_device(self.run, found.plan, model_facts)
        tokenizer = load_tokenizer(self.run, model_facts, trust_remote_code=self.trust_remote_code)
        self.stage(f"tokenising {plural(len(found.train) + len(found.heldout), 'row')}")
        train_rows, heldout_rows, found = encode(
            self.run, found, tokenizer, self.stop_if_asked, self.warn
        )
        self.record(found, tokenizer.chat_template, train_rows, heldout_rows)

        self.stage(f"loading {model_facts.name}")
        model = load_model(
            self.run, found.plan, model_facts, trust_remote_code=self.trust_remote_code
        )
        check_targets(self.run, model)
        self.stage("building the trainer")
        callback = self.callback(len(heldout_rows.rows))
        trainer = build_trainer(
            TrainerInput(
                run=self.run,
                plan=found.plan,
                model=model,
                tokenizer=tokenizer,
                train=train_rows.rows,
                heldout=heldout_rows.rows,
                checkpoints=self.folder.checkpoints,
                callback=callback,
            )
        )
        self.started(found, trainer, train_rows, heldout_rows)
        return self.fit(trainer, callback)

    def record(self, found: Survey, chat_template: str, train: Encoding, heldout: Encoding) -> None:
        """Write what this run is made with; compare it with what the file says it was."""
        from backprop_tui.train.provenance import drift, record

        assert self.folder is not None
        data = found.facts.data
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
        before = self.run.provenance
        self.run = self.run.model_copy(update={"provenance": now})
        self.folder.write_run_file(self.run)
        differences = drift(before, now) if before else []
        if differences and self.strict:
            raise RunError(
                f"This replay would differ: {'; '.join(differences)}.",
                hint="run without --strict to go on anyway",
                code="REPLAY_DRIFT",
            )
        for difference in differences:
            self.warn(f"Differs from the recorded run: {difference}.", code="replay-drift")

    def callback(self, heldout_rows: int) -> Any:
        """The bridge from trainer to events, and the sampler of the card beside it."""
        from backprop_tui.train.emit import EventCallback
        from backprop_tui.train.gpu_sampler import sampling

        callback = EventCallback(self.emit, self.control, self.clock)
        callback.heldout_rows = heldout_rows
        self.open.enter_context(sampling(self.run.machine.card, self.emit, self.clock))
        return callback

    def started(self, found: Survey, trainer: Any, train: Encoding, heldout: Encoding) -> None:
        """Announce the run as it will be."""
        provenance = self.run.provenance or ProvenanceSection()
        parameters = list(trainer.model.parameters())
        self.emit(
            Started(
                t=self.clock(),
                method=self.run.method,
                model=self.run.model.id,
                data=self.run.data.path,
                device=provenance.device,
                output=self.run.output,
                steps=found.plan.steps,
                train_rows=len(train.rows),
                heldout_rows=len(heldout.rows),
                dropped=dict(provenance.dropped),
                trainable=sum(p.numel() for p in parameters if p.requires_grad),
                # Of the base: a quantised weight's storage does not count its elements.
                parameters=(found.facts.model.parameters if found.facts.model else None)
                or sum(p.numel() for p in parameters),
                learning_rate=found.plan.learning_rate,
                seed=self.run.training.seed,
            )
        )

    def fit(self, trainer: Any, callback: Any) -> Finished:
        """Train, measure once more at the end, and save what was learned."""
        from backprop_tui.train.emit import StopNow

        try:
            trainer.train()
            step = trainer.state.global_step
            if trainer.eval_dataset is not None and callback.evaluated_at != step:
                trainer.evaluate()
        except StopNow:
            logger.info("evaluation left unfinished: a stop was asked for")
        step = trainer.state.global_step
        stopped = self.control.stopping and step < trainer.state.max_steps
        if step == 0:
            return self.finished(stopped=True, path="")
        assert self.folder is not None
        weights = self.folder.weights(lora=self.run.lora is not None)
        trainer.model.save_pretrained(str(weights), safe_serialization=True)
        trainer.processing_class.save_pretrained(str(weights))
        write_card(weights, self.run)
        kind = "adapter" if self.run.lora else "model"
        self.emit(Saved(t=self.clock(), step=step, path=str(weights), kind=kind))
        return self.finished(stopped=stopped, path=str(weights))

    def finished(self, *, stopped: bool, path: str) -> Finished:
        """The last event of a run that ended as asked."""
        from backprop_tui.train.provenance import replay_command

        folder = self.folder
        replay = ""
        if folder:
            name = folder.path.name.partition("-replay")[0]  # of a replay: the same again
            target = free_name(folder.path.with_name(f"{name}-replay"))
            replay = replay_command(str(folder.run_file), str(target))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if path:
            from backprop_tui.train.emit import memory_in_use

            peak = memory_in_use()[2] or peak
        return Finished(
            t=self.clock(),
            step=self.step,
            stopped=stopped,
            seconds=self.clock(),
            memory_peak=peak,
            path=path,
            replay=replay,
        )

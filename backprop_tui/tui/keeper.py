"""FactsKeeper: asks for the facts the plan needs, and drops answers that came too late.

Everything here runs on the app's own thread; the reading is done in workers that answer with
a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from textual.reactive import reactive
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from backprop_tui.core.calibration import Calibration
from backprop_tui.core.effective import TrainRows
from backprop_tui.core.errors import Problem
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.runfile import LoraSection, RunFile
from backprop_tui.tui import probing
from backprop_tui.tui.messages import CacheRead, DataCounted, DataRead, MachineRead, ModelRead
from backprop_tui.tui.outlive import OutlivingApp
from backprop_tui.tui.paths import Place, is_folder, place

if TYPE_CHECKING:
    from textual.message import Message

    from backprop_tui.probe.data import Loaded
    from backprop_tui.probe.model_cache import CachedModel

DEBOUNCE = 0.3  # seconds without typing before a model or a file is looked up
READING = "reading"
FIELDS = {"machine": "machine.card", "model": "model.id", "data": "data.path"}


def new_plan() -> RunFile:
    """What the wizard starts from: an adapter, and nothing chosen."""
    return RunFile(lora=LoraSection())


class FactsKeeper(OutlivingApp):
    """The plan, and the facts that belong to it."""

    plan: reactive[RunFile] = reactive(new_plan, init=False)
    facts: reactive[Facts] = reactive(Facts, init=False)

    def __init__(self) -> None:
        super().__init__()
        self.cached: tuple[CachedModel, ...] | None = None  # None: not yet read
        self.cached_facts: Mapping[str, ModelFacts] = {}  # of those that can be read, by name
        self.free_ram: int | None = None
        self.calibrations: Mapping[int, Calibration] = {}  # by index of the card
        self.reading: frozenset[str] = frozenset()  # what is being read
        self.troubles: dict[str, Problem] = {}  # by key: texts refused, and failed readings
        self._data: DataRead | None = None  # the newest answer, with the rows
        self._asked: probing.DataQuestion | None = None  # the newest question about the data
        self.counted: float | None = None  # share of a large data set that is counted so far
        self._newest: dict[str, Worker[None]] = {}  # by what is being read
        self.unasked: frozenset[str] = frozenset()  # names of the hub that are still being typed
        self._given_names: tuple[str, ...] = ()  # begun with: meant as they are
        self._pauses: dict[str, Timer] = {}  # waiting for the user to stop typing
        self._reads_machine = False  # its cards were not given

    def refresh_view(self) -> None:
        """Something the view is computed from has changed."""
        raise NotImplementedError

    def start_reading(self, given: Facts | None) -> None:
        """Read what the plan names. Facts that were given are taken as they are."""
        self._given_names = (self.plan.model.id, self.plan.data.path)
        self._reads_machine = given is None or given.gpu is None
        self.look_at_card()
        self._run("cache", probing.read_cache)
        if self.facts.model is None:
            self._ask_model()
        if self.facts.data is None:
            self._ask_data()
        self.refresh_view()

    def reread(self) -> None:
        """Look again at the machine, the model and the data: a file may have changed."""
        self._data, self.unasked = None, frozenset()
        self._run("machine", probing.read_machine)
        self._run("cache", probing.read_cache)
        self._ask_model()
        self._ask_data()
        self.refresh_view()

    def look_at_card(self) -> None:
        """What is free on the cards now; others may have taken some."""
        if self._reads_machine:
            self._run("machine", probing.read_machine)

    def exact_rows(self) -> TrainRows | None:
        """Counts after the held-out split, while they still belong to the plan."""
        if self._data is None or self.facts.data is None:
            return None
        asked = probing.data_question(self.plan, self.facts)
        return self._data.rows if self._data.question.split == asked.split else None

    @property
    def loaded(self) -> Loaded | None:
        """The rows of the data set the plan names, while they are at hand."""
        source = probing.data_question(self.plan, self.facts).source
        if self._data is None or self._data.question.source != source:
            return None
        return self._data.loaded

    def watch_plan(self, before: RunFile, plan: RunFile) -> None:
        """Ask again for facts that belonged to another model or data set."""
        if probing.model_question(before) != probing.model_question(plan):
            self.troubles.pop("model.id", None)
            data = self.facts.data and replace(self.facts.data, tokens=None)
            self.facts = replace(self.facts, model=None, data=data)
            self._look_up("model", plan.model.id, self._ask_model)
        asked = probing.data_question(plan, self.facts)
        if probing.data_question(before, self.facts).key != asked.key:
            self.troubles.pop("data.path", None)
            if self._data is None or self._data.question.source != asked.source:
                self.facts = replace(self.facts, data=None)
                self._look_up("data", plan.data.path, self._ask_data)
            elif "data" not in self.unasked:
                self._soon("data", self._ask_data)

    # Asking

    def ask_hub(self) -> None:
        """A name was finished, by enter or by leaving its field: now the hub may be asked."""
        waiting, self.unasked = self.unasked, frozenset()
        if "model" in waiting:
            self._ask_model()
        if "data" in waiting:
            self._ask_data()
        if waiting:
            self.refresh_view()

    def _place(self, name: str) -> Place:
        cached = [model.name for model in self.cached or ()]
        return place(name, (*self._given_names, *cached))

    def _look_up(self, what: str, name: str, ask: Callable[[], None]) -> None:
        """Look a name up once the typing pauses; a hub's or a folder's once it is finished."""
        self.unasked -= {what}
        # A folder of data is read whole, and typing a path passes through many.
        if name and (self._place(name) == "hub" or (what == "data" and is_folder(name))):
            if what in self._pauses:
                self._pauses[what].stop()
            self.reading -= {what}
            self.unasked |= {what}
        else:
            self._soon(what, ask)

    def _is_nowhere(self, name: str) -> bool:
        """Say that a model is neither here nor on the hub by its form. Of data the reading says."""
        if self._place(name) != "nowhere":
            return False
        text = "no such file or folder here"
        fix = "on the hub a name is owner/name"
        self.settle("model.id", Problem("MODEL_NOT_FOUND", "model.id", text, fix=fix))
        return True

    def _soon(self, what: str, ask: Callable[[], None]) -> None:
        if what in self._pauses:
            self._pauses[what].stop()
        self.reading |= {what}

        def asked() -> None:
            ask()
            self.refresh_view()

        self._pauses[what] = self.set_timer(DEBOUNCE, asked)

    def _ask_model(self) -> None:
        self.reading -= {"model"}
        if self.plan.model.id and not self._is_nowhere(self.plan.model.id):
            self._run("model", partial(probing.read_model, probing.model_question(self.plan)))

    def _ask_data(self) -> None:
        self.reading -= {"data"}
        if not self.plan.data.path or "data" in self.unasked:
            return
        question = probing.data_question(self.plan, self.facts)
        last = self._data
        # Rows read without a mapping that cannot be are for mapping only.
        usable = last is not None and last.facts is not None
        held = last.loaded if usable and last and last.question.source == question.source else None
        same = last is not None and last.question.split == question.split
        known = last.facts.quality if same and last and last.facts else None
        self._asked, self.counted = question, None
        self.reading |= {"data"}

        def nobody_waits() -> bool:
            return self._asked is not question or not self.is_running

        work = partial(probing.read_data, question, held, known, self.post_message, nobody_waits)
        self._newest["data"] = self.run_worker(
            work, name="data", group=READING, thread=True, exit_on_error=False
        )

    def _run(self, what: str, read: Callable[[], Message]) -> None:
        """Do the reading in a thread; its answer is posted as a message."""

        def work() -> None:
            self.post_message(read())

        self.reading |= {what}
        self._newest[what] = self.run_worker(
            work, name=what, group=READING, thread=True, exit_on_error=False
        )

    # Answers

    def on_machine_read(self, message: MachineRead) -> None:
        """The cards are known."""
        self.free_ram, self.calibrations = message.free_ram, message.calibrations
        self.facts = replace(self.facts, gpu=message.gpu)
        self._done("machine")

    def on_cache_read(self, message: CacheRead) -> None:
        """The models on this machine are known."""
        self.cached, self.cached_facts = message.models, message.facts
        self._done("cache")

    def on_model_read(self, message: ModelRead) -> None:
        """The model is known, or why not; the data can be counted in its tokens."""
        if message.question != probing.model_question(self.plan):
            return
        self.settle("model.id", message.problem)
        self.facts = replace(self.facts, model=message.facts)
        self.reading -= {"model"}
        if message.facts is not None:
            self._ask_data()
        self.refresh_view()

    def on_data_read(self, message: DataRead) -> None:
        """The data is known, or why not."""
        if message.question.key != probing.data_question(self.plan, self.facts).key:
            return
        self.settle("data.path", None)
        if message.problem is not None:
            self.settle(message.problem.field, message.problem)
        self._data = message if message.loaded is not None else None
        if not message.more or (message.facts and message.facts.exact):
            self.counted = None
        facts = message.facts
        self.facts = replace(self.facts, data=facts)
        if message.more and facts and facts.exact:
            self.refresh_view()  # the quality report follows in a moment
        else:
            self._done("data")

    def on_data_counted(self, message: DataCounted) -> None:
        """The exact count goes on."""
        if message.question is self._asked:
            self.counted = message.share
            self.refresh_view()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A reading that broke down is said under its field, like one that was refused."""
        worker = event.worker
        failed = worker.group == READING and event.state is WorkerState.ERROR
        if failed and self._newest.get(worker.name) is worker:
            field = FIELDS.get(worker.name, "machine.card")
            error = worker.error
            text = f"Reading it failed: {type(error).__name__}: {error}"
            self.settle(field, Problem("READ_FAILED", field, text))
            self._done(worker.name)

    def settle(self, key: str, problem: Problem | None) -> None:
        """A key's trouble is over, or is this."""
        self.troubles.pop(key, None)
        if problem is not None:
            self.troubles[key] = problem

    def _done(self, what: str) -> None:
        self.reading -= {what}
        self.refresh_view()

"""Planner: keeps the plan and the facts, and asks for the facts a changed plan needs.

The steps edit the plan through it and show its `view`. Everything here runs on the app's own
thread; the reading is done in workers that answer with a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.reactive import reactive
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from backprop_tui.core.effective import TrainRows
from backprop_tui.core.errors import ConfigError, Problem
from backprop_tui.core.facts import Facts
from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.runfile import LoraSection, RunFile
from backprop_tui.core.runfile_io import INVALID, change, dump
from backprop_tui.tui import probing
from backprop_tui.tui.messages import CacheRead, DataRead, MachineRead, ModelRead
from backprop_tui.tui.view import View, look, value_at

if TYPE_CHECKING:
    from textual.message import Message

    from backprop_tui.probe.model_cache import CachedModel

DEBOUNCE = 0.3  # seconds without typing before a model or a file is looked up
READING = "reading"


def new_plan() -> RunFile:
    """What the wizard starts from: an adapter, and nothing chosen."""
    return RunFile(lora=LoraSection())


class Planner(App[int]):
    """The plan, the facts, and the view computed from them."""

    plan: reactive[RunFile] = reactive(new_plan, init=False)
    facts: reactive[Facts] = reactive(Facts, init=False)
    view: reactive[View] = reactive(partial(look, RunFile(), Facts()), init=False)

    def __init__(self, run: RunFile | None = None, facts: Facts | None = None) -> None:
        super().__init__()
        self.cached: tuple[CachedModel, ...] | None = None  # None: not yet read
        self.free_ram: int | None = None
        # Until the user chooses a method, the recommended one is taken. A run file has chosen.
        self.method_chosen = run is not None
        self._troubles: dict[str, Problem] = {}  # by key: texts refused, and failed reads
        self._reading: frozenset[str] = frozenset()
        self._data: DataRead | None = None  # the newest answer, with the rows
        self._put_away: dict[str, Any] = {}  # tables the present plan has no use for
        self._pauses: dict[str, Timer] = {}
        self.given_facts = facts
        self.set_reactive(Planner.plan, run or new_plan())
        self.set_reactive(Planner.facts, facts or Facts())
        self.first_plan = self.plan
        self.set_reactive(Planner.view, self._look())

    # What the steps ask for

    def edit(self, key: str, value: Any) -> None:
        """A field was typed in. A value that is refused stays in the field, with the reason."""
        self._troubles.pop(key, None)
        try:
            self._change({key: value})
        except ConfigError as error:
            self._troubles[key] = _own(error, key)
            self._refresh()

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take a fix or a preset; it replaces what was typed in the fields it changes."""
        for key in changes:
            self._troubles.pop(key, None)
        if isinstance(changes.get("method"), str):
            self.choose_method(changes["method"])
            changes = {key: value for key, value in changes.items() if key != "method"}
        if changes:
            self._change(changes)

    def choose_method(self, method: MethodName) -> None:
        """The user's own choice; the recommendation no longer moves it."""
        self.method_chosen = True
        self._set_method(method)
        self._refresh()

    def use_adapter(self, on: bool) -> None:
        """Train an adapter, or every weight. The adapter's settings come back with it."""
        if self.plan.lora is not None:
            self._put_away["lora"] = dump(self.plan)["lora"]
        for key in [key for key in self._troubles if key.split(".")[0] == "lora"]:
            del self._troubles[key]
        self._change({"lora": self._put_away.get("lora", {}) if on else None})

    def is_refused(self, key: str) -> bool:
        """Whether the text in a field could not become part of the plan."""
        trouble = self._troubles.get(key)
        return trouble is not None and trouble.code == INVALID

    def default_of(self, key: str) -> Any:
        """The value an emptied field stands for."""
        with suppress(ConfigError):
            return value_at(change(self.plan, {key: None}), key)
        return None

    def reread(self) -> None:
        """Look again at the machine, the model and the data: a file may have changed."""
        self._data = None
        self._read_machine()
        self._ask_model()
        self._ask_data()

    # What follows from a change

    def _change(self, changes: Mapping[str, Any]) -> None:
        if any(key.split(".")[0] in METHODS for key in changes):
            self.method_chosen = True  # its numbers were set by hand
        self.plan = change(self.plan, changes)
        self._refresh()

    def _set_method(self, method: MethodName) -> None:
        old = self.plan.method
        if method == old:
            return
        self._put_away[old] = dump(self.plan)[old]
        for key in [key for key in self._troubles if key.split(".")[0] == old]:
            del self._troubles[key]
        self.plan = change(self.plan, {"method": method, method: self._put_away.get(method, {})})

    def watch_plan(self, before: RunFile, plan: RunFile) -> None:
        """Ask again for the facts that belonged to another model or data set."""
        if probing.model_question(before) != probing.model_question(plan):
            self._troubles.pop("model.id", None)
            data = self.facts.data and replace(self.facts.data, tokens=None)
            self.facts = replace(self.facts, model=None, data=data)
            self._soon("model", self._ask_model)
        asked = probing.data_question(plan, self.facts)
        if probing.data_question(before, self.facts).key != asked.key:
            self._troubles.pop("data.path", None)
            if self._data is None or self._data.question.source != asked.source:
                self.facts = replace(self.facts, data=None)
            self._soon("data", self._ask_data)

    def _refresh(self) -> None:
        """Recompute the view; let the recommendation choose the method until the user does."""
        self.view = self._look()
        wanted = self.view.recommendation.method
        if not self.method_chosen and wanted and wanted != self.plan.method:
            self._set_method(wanted)
            self.view = self._look()

    def _look(self) -> View:
        return look(
            self.plan,
            self.facts,
            rows=self._rows(),
            troubles=self._troubles.values(),
            reading=self._reading,
            free_ram=self.free_ram,
            method_chosen=self.method_chosen,
        )

    def _rows(self) -> TrainRows | None:
        """Exact counts, while they still belong to the plan."""
        if self._data is None or self.facts.data is None:
            return None
        asked = probing.data_question(self.plan, self.facts)
        return self._data.rows if self._data.question.key[:-1] == asked.key[:-1] else None

    # Reading

    def start_reading(self) -> None:
        """Read what the plan names. Facts that were given are taken as they are."""
        if self.given_facts is None or self.given_facts.gpu is None:
            self._read_machine()
        self._run("cache", probing.read_cache)
        if self.facts.model is None:
            self._ask_model()
        if self.facts.data is None:
            self._ask_data()

    def _soon(self, what: str, ask: Callable[[], None]) -> None:
        if what in self._pauses:
            self._pauses[what].stop()
        self._mark(what, True)
        self._pauses[what] = self.set_timer(DEBOUNCE, ask)

    def _read_machine(self) -> None:
        self._run("machine", probing.read_machine)

    def _ask_model(self) -> None:
        if self.plan.model.id:
            self._run("model", partial(probing.read_model, probing.model_question(self.plan)))
        else:
            self._done("model")

    def _ask_data(self) -> None:
        if not self.plan.data.path:
            self._done("data")
            return
        question = probing.data_question(self.plan, self.facts)
        last = self._data
        held = last.loaded if last and last.question.source == question.source else None
        self._run("data", partial(probing.read_data, question, held))

    def _run(self, what: str, read: Callable[[], Message]) -> None:
        """Do the reading in a thread; its answer is posted as a message."""

        def work() -> None:
            self.post_message(read())

        self._mark(what, True)
        self.run_worker(work, name=what, group=READING, thread=True, exit_on_error=False)

    def _mark(self, what: str, on: bool) -> None:
        self._reading = self._reading | {what} if on else self._reading - {what}

    def _done(self, what: str) -> None:
        self._mark(what, False)
        self._refresh()

    def on_machine_read(self, message: MachineRead) -> None:
        """The cards are known."""
        self.free_ram = message.free_ram
        self.facts = replace(self.facts, gpu=message.gpu)
        self._done("machine")

    def on_cache_read(self, message: CacheRead) -> None:
        """The models on this machine are known."""
        self.cached = message.models
        self._done("cache")

    def on_model_read(self, message: ModelRead) -> None:
        """The model is known, or why not; the data can be counted in its tokens."""
        if message.question != probing.model_question(self.plan):
            return
        self._settle("model.id", message.problem)
        self.facts = replace(self.facts, model=message.facts)
        self._done("model")
        if message.facts is not None:
            self._ask_data()

    def on_data_read(self, message: DataRead) -> None:
        """The data is known, or why not."""
        if message.question.key != probing.data_question(self.plan, self.facts).key:
            return
        self._settle("data.path", None)
        if message.problem is not None:
            self._settle(message.problem.field, message.problem)
        self._data = message if message.facts is not None else None
        self.facts = replace(self.facts, data=message.facts)
        self._done("data")

    def _settle(self, key: str, problem: Problem | None) -> None:
        self._troubles.pop(key, None)
        if problem is not None:
            self._troubles[key] = problem

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A reading that broke down is said under its field, like one that was refused."""
        worker = event.worker
        if worker.group != READING or event.state is not WorkerState.ERROR:
            return
        field = {"model": "model.id", "data": "data.path"}.get(worker.name, "machine.card")
        self._settle(field, Problem("READ_FAILED", field, f"Reading failed: {worker.error!r}"))
        self._done(worker.name)


def _own(error: ConfigError, key: str) -> Problem:
    """The problem of this key, without the key's name, which stands beside it."""
    problem = next((p for p in error.problems if p.field == key), error.problems[0])
    message = problem.message.removeprefix(f"{key} = ")
    return Problem(INVALID, key, message[:1].upper() + message[1:])

"""Planner: edits the plan as the steps ask, and computes the view they show."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from textual.reactive import reactive

from backprop_tui.core.errors import ConfigError, Problem
from backprop_tui.core.facts import Facts
from backprop_tui.core.methods import METHODS, MethodName
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change, dump
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.tui.keeper import FactsKeeper, new_plan
from backprop_tui.tui.probing import output_problems
from backprop_tui.tui.view import View, look, value_at

OF_ONE_FILE = ("more_paths", "config", "split", "revision", "columns", "labels", "shape")


class Planner(FactsKeeper):
    """The plan, the facts, and the view computed from them."""

    view: reactive[View] = reactive(partial(look, RunFile(), Facts()), init=False)

    def __init__(self, run: RunFile | None = None, facts: Facts | None = None) -> None:
        super().__init__()
        # Until the user chooses a method, the recommended one is taken. A run file has chosen.
        self.method_chosen = run is not None
        self._put_away: dict[str, Any] = {}  # tables the present plan has no use for
        self.set_reactive(FactsKeeper.plan, run or new_plan())
        self.set_reactive(FactsKeeper.facts, facts or Facts())
        self.set_reactive(Planner.view, self._look())

    def edit(self, key: str, value: Any) -> None:
        """A field was typed in. A value that is refused stays in the field, with the reason."""
        self.troubles.pop(key, None)
        try:
            self._change({key: value})
        except ConfigError as error:
            self.troubles[key] = _own(error, key)
            self.refresh_view()

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take a fix or a preset; it replaces what was typed in the fields it changes."""
        for key in changes:
            self.troubles.pop(key, None)
        rest = dict(changes)
        if (method := rest.pop("method", None)) is not None:
            self.choose_method(method)
        if rest:
            self._change(rest)

    def choose_method(self, method: MethodName) -> None:
        """The user's own choice; the recommendation no longer moves it."""
        self.method_chosen = True
        self._set_method(method)
        self.refresh_view()

    def use_adapter(self, on: bool) -> None:
        """Train an adapter, or every weight. The adapter's settings come back with it."""
        if self.plan.lora is not None:
            self._put_away["lora"] = dump(self.plan)["lora"]
        self._forget_troubles("lora")
        self._change({"lora": self._put_away.get("lora", {}) if on else None})

    def is_refused(self, key: str) -> bool:
        """Whether the text in a field could not become part of the plan."""
        trouble = self.troubles.get(key)
        return trouble is not None and trouble.code == INVALID

    def default_of(self, key: str) -> Any:
        """The value an emptied field stands for."""
        with suppress(ConfigError):
            return value_at(change(self.plan, {key: None}), key)
        return None

    def refresh_view(self) -> None:
        """Recompute the view; the recommendation chooses the method until the user does."""
        self.view = self._look()
        wanted = self.view.recommendation.method
        if not self.method_chosen and wanted and wanted != self.plan.method:
            self._set_method(wanted)
            self.view = self._look()

    def _other_file(self, path: str) -> dict[str, Any]:
        """How a file is read belongs to that file: put away, and taken out again with its name."""
        own = dump(self.plan)["data"]
        self._put_away[f"data {self.plan.data.path}"] = own
        kept = self._put_away.get(f"data {path}", {})
        return {f"data.{key}": kept.get(key) for key in OF_ONE_FILE}

    def _look(self) -> View:
        learnt = self.calibrations.get(self.plan.machine.card, self.facts.memory.calibration)
        return look(
            self.plan,
            replace(self.facts, memory=replace(self.facts.memory, calibration=learnt)),
            rows=self.exact_rows(),
            troubles=(*self.troubles.values(), *output_problems(self.plan)),
            reading=self.reading,
            free_ram=self.free_ram,
            method_chosen=self.method_chosen,
            counted=self.counted,
        )

    def _change(self, changes: Mapping[str, Any]) -> None:
        if any(key.split(".")[0] in METHODS for key in changes):
            self.method_chosen = True  # its numbers were set by hand
        path = changes.get("data.path", self.plan.data.path)
        if path != self.plan.data.path:
            changes = {**self._other_file(str(path or "")), **changes}
        self.plan = change(self.plan, changes)
        self.refresh_view()

    def _set_method(self, method: MethodName) -> None:
        old = self.plan.method
        if method != old:
            self._put_away[old] = dump(self.plan)[old]
            self._forget_troubles(old)
            kept = self._put_away.get(method, {})
            self.plan = change(self.plan, {"method": method, method: kept})

    def _forget_troubles(self, section: str) -> None:
        """Its fields are hidden, and with them what was wrong in them."""
        for key in [key for key in self.troubles if key.split(".")[0] == section]:
            del self.troubles[key]


def _own(error: ConfigError, key: str) -> Problem:
    """The problem of this key, without the key's name, which stands beside it."""
    problem = next((p for p in error.problems if p.field == key), error.problems[0])
    message = problem.message.removeprefix(f"{key} = ")
    return Problem(INVALID, key, message, fix="", source=problem.source)

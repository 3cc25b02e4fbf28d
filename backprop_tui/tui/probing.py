"""Reading the machine, the model and the data in threads: a question in, a message out.

A question is everything the answer depends on. An answer whose question is no longer the
current one is stale and is dropped by the app.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_tui.core.errors import BackpropError, Problem
from backprop_tui.core.facts import DataFacts, Facts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.quality import Quality
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.messages import CacheRead, DataCounted, DataRead, MachineRead, ModelRead

if TYPE_CHECKING:
    from textual.message import Message

    from backprop_tui.probe.data import Loaded


MAPPING = "DATA_COLUMN"  # a mapping that cannot be: the file itself can be read


@dataclass(frozen=True, slots=True)
class ModelQuestion:
    """Which model."""

    name: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class DataQuestion:
    """Which rows, split how, counted with which tokenizer. plan: what the rows are read for."""

    plan: RunFile
    tokenizer: str | None

    @property
    def source(self) -> tuple[Any, ...]:
        """What the rows themselves depend on."""
        data = self.plan.data
        columns = tuple(sorted((data.columns or {}).items()))
        labels = tuple(sorted((data.labels or {}).items()))
        more = tuple(data.more_paths or ())
        # The bundled examples come in several shapes, one for each kind of method.
        kind = self.plan.method if data.path == "pocket" else ""
        which = (data.path, more, data.config, data.split, data.revision)
        return (which, columns, labels, data.shape, kind)

    @property
    def split(self) -> tuple[Any, ...]:
        """What the counts of both sides depend on."""
        data = self.plan.data
        return (*self.source, self.plan.method, data.heldout, data.heldout_seed)

    @property
    def key(self) -> tuple[Any, ...]:
        """All the answer depends on."""
        return (*self.split, self.tokenizer)


def model_question(plan: RunFile) -> ModelQuestion:
    """What the plan asks about its model."""
    return ModelQuestion(plan.model.id, plan.model.revision)


def data_question(plan: RunFile, facts: Facts) -> DataQuestion:
    """What the plan asks about its data; lengths are in tokens once a tokenizer is at hand."""
    folder = facts.model.path if facts.model else None
    tokenizer = str(Path(folder) / "tokenizer.json") if folder else None
    return DataQuestion(plan, tokenizer)


def read_machine() -> MachineRead:
    """The cards and the free memory. Never fails: what cannot be read is said in the facts."""
    import psutil

    from backprop_tui.probe.calibration import calibration_of
    from backprop_tui.probe.gpu import probe_gpu

    gpu = probe_gpu()
    learnt = {card.index: calibration_of(card, gpu.driver) for card in gpu.cards}
    return MachineRead(gpu, psutil.virtual_memory().available, learnt)


def read_cache() -> CacheRead:
    """The models in the local Hugging Face cache, and what their configs say."""
    from backprop_tui.probe.model import probe_model
    from backprop_tui.probe.model_cache import cached_models

    found = cached_models()
    facts = {}
    for model in found:
        with suppress(BackpropError):  # the user is told why once the model is chosen
            facts[model.name] = probe_model(model.path)
    return CacheRead(found, facts)


def read_model(question: ModelQuestion) -> ModelRead:
    """The facts of a model, or why it cannot be used."""
    from backprop_tui.probe.model import probe_model

    try:
        return ModelRead(question, probe_model(question.name, revision=question.revision))
    except BackpropError as error:
        return ModelRead(question, None, as_problem("model.id", error))


def read_data(
    question: DataQuestion,
    held: Loaded | None,
    known: Quality | None,
    post: Callable[[Message], object],
    stop: Callable[[], bool],
) -> None:
    """Post the facts of a data set at once, then fuller ones: exact counts, the quality report.

    held: its rows, when already loaded. known: the report on them, when the split is the same.
    stop: whether nobody waits for the answer any more.
    """
    from backprop_tui.probe.data import ScanStopped, glance, load, scan
    from backprop_tui.probe.survey import data_source, judged

    source = data_source(question.plan)
    try:
        loaded = held if held is not None else glance(source)
        first = answer(question, loaded)
    except BackpropError as error:
        unmapped = load(replace(source, columns=None)) if error.code == MAPPING else None
        post(DataRead(question, None, unmapped, problem=as_problem("data.path", error)))
        return
    done = loaded.exact and known is not None
    post(replace(first, facts=with_report(first.facts, known), more=not done))
    if done:
        return
    try:
        if not loaded.exact and not stop():

            def counted(share: float) -> None:
                post(DataCounted(question, share))

            loaded = scan(source, counted, stop)
            first = answer(question, loaded)
            post(replace(first, more=True))
    except ScanStopped:
        return
    except BackpropError as error:  # the file went away meanwhile
        post(replace(first, problem=as_problem("data.path", error)))
        return
    if first.facts is not None and not stop():
        data = question.plan.data
        report = judged(first.facts, loaded, data.heldout_seed, data.heldout)
        post(replace(first, facts=report))


def with_report(facts: DataFacts | None, report: Quality | None) -> DataFacts | None:
    """The facts with a report made before."""
    return replace(facts, quality=report) if facts is not None else None


def answer(question: DataQuestion, loaded: Loaded) -> DataRead:
    """The facts of rows that were read, and their counts after the split."""
    from backprop_tui.core.split import split
    from backprop_tui.probe.data import describe, with_tokens
    from backprop_tui.probe.survey import count_rows, rows_for

    plan = question.plan
    facts = describe(loaded, seed=plan.data.heldout_seed)
    problem = None
    if question.tokenizer and Path(question.tokenizer).is_file():
        try:
            facts = with_tokens(facts, loaded, Path(question.tokenizer))
        except BackpropError as error:
            problem = as_problem("model.id", error)
    counts = None
    if loaded.whole and facts.shape in METHODS[plan.method].shapes:
        rows = rows_for(plan, loaded.rows)
        counts = count_rows(*split(rows, plan.data.heldout, plan.data.heldout_seed))
    return DataRead(question, facts, loaded, counts, problem)


def output_problems(plan: RunFile) -> tuple[Problem, ...]:
    """A run folder that exists, or cannot be made; better said now than at the start."""
    # Not Path: os.path neither raises for an unknown ~user nor for a folder that is not ours.
    path = Path(os.path.abspath(os.path.expanduser(plan.output or "runs/new")))
    if plan.output and os.path.lexists(path):
        from backprop_tui.train.folder import free_name

        text = f"{plan.output} exists and is not overwritten"
        hint = f"choose another name, for example {free_name(Path(plan.output).expanduser())}"
        return (Problem("OUTPUT_EXISTS", "output", text, fix=hint),)
    parent = next((folder for folder in path.parents if os.path.lexists(folder)), Path("/"))
    if not (refusal := refused(parent)):
        return ()
    text = f"{plan.output or 'the folder runs'} cannot be created: {parent} {refusal}"
    return (Problem("WRITE_REFUSED", "output", text, fix="choose a folder you may write to"),)


def refused(folder: Path) -> str:
    """Why nothing can be made in a folder; "" when it can. Root may write where others may not."""
    if not folder.is_dir():
        return "is not a folder"
    if folder.is_relative_to("/proc") or folder.is_relative_to("/sys"):
        return "belongs to the kernel and holds no files"
    try:
        read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if read_only:
        return "can only be read"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "is not yours to write to"


def as_problem(field: str, error: BackpropError) -> Problem:
    """An error as it stands under a field."""
    return Problem(error.code, field, error.message, fix=error.hint)

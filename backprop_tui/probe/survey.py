"""Everything that must be known before a run: facts, rows, split and advice.

The wizard, `check`, `init` and the trainer all judge a run file through this one door,
so they cannot disagree. No torch, no model weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from backprop_tui.core.effective import Effective, TrainRows, effective
from backprop_tui.core.errors import ConfigError, Problem
from backprop_tui.core.facts import DataFacts, Facts, GpuFacts, ModelFacts
from backprop_tui.core.rows import Labelled, Pair, Row, paired_as_chat
from backprop_tui.core.rules import Advice, judge
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.probe.data import DataSource, Loaded, describe, load, with_tokens
from backprop_tui.probe.gpu import probe_gpu
from backprop_tui.probe.model import probe_model

MEASURED = 128  # rows made tokens: enough to judge one row in ten, and well under 0.2 s


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, and what will be trained on. `advice` includes the refusals."""

    facts: Facts
    train: list[Row]
    heldout: list[Row]
    counts: TrainRows
    plan: Effective
    advice: tuple[Advice, ...]


def survey(run: RunFile, *, path: str = "run file", trust_remote_code: bool = False) -> Survey:
    """Read the world for this run file. Raises InputError for what cannot be read at all."""
    missing = [item for item in judge(run, Facts()) if item.level == "problem"]
    if missing:  # nothing is named yet, so there is nothing to read
        raise ConfigError(path, as_problems(missing))
    gpu = probe_gpu()
    loaded, data = read_data(run)
    model = probe_model(
        run.model.id, revision=run.model.revision, trust_remote_code=trust_remote_code
    )
    data = measured(run, model, data, loaded)
    return survey_from(run, gpu, model, data, loaded, trust_remote_code=trust_remote_code)


def survey_from(
    run: RunFile,
    gpu: GpuFacts,
    model: ModelFacts,
    data: DataFacts,
    loaded: Loaded,
    *,
    trust_remote_code: bool = False,
) -> Survey:
    """The same, from facts already at hand."""
    if trust_remote_code:
        model = replace(model, remote_code=False)
    facts = Facts(gpu=gpu, model=model, data=data, card=run.machine.card)
    rows = rows_for(run, loaded.rows)
    train, heldout = split(rows, run.data.heldout, run.data.heldout_seed)
    counts = count_rows(train, heldout)
    return Survey(
        facts=facts,
        train=train,
        heldout=heldout,
        counts=counts,
        plan=effective(run, facts, counts),
        advice=judge(run, facts, counts, free_ram=psutil.virtual_memory().available),
    )


def refuse(found: Survey, path: str) -> None:
    """Raise ConfigError with every problem in the survey, or do nothing."""
    problems = [item for item in found.advice if item.level == "problem"]
    if problems:
        raise ConfigError(path, as_problems(problems))


def as_problems(advice: list[Advice]) -> tuple[Problem, ...]:
    """Advice as the problems of a ConfigError."""
    return tuple(
        Problem(
            item.code,
            item.field,
            item.message,
            fix=item.fix.label if item.fix else "",
            source=item.source,
        )
        for item in advice
    )


def read_data(run: RunFile) -> tuple[Loaded, DataFacts]:
    """The rows the run file names, and what they are."""
    loaded = load(data_source(run))
    return loaded, describe(loaded, seed=run.data.heldout_seed)


def measured(run: RunFile, model: ModelFacts, data: DataFacts, loaded: Loaded) -> DataFacts:
    """The facts with the lengths of some rows in the model's tokens, when its tokenizer is here."""
    tokenizer = Path(model.path, "tokenizer.json") if model.path else None
    if tokenizer is None or not tokenizer.is_file():
        return data
    return with_tokens(data, loaded, tokenizer, seed=run.data.heldout_seed, rows=MEASURED)


def data_source(run: RunFile) -> DataSource:
    """The [data] table as a source to read."""
    data = run.data
    return DataSource(
        path=data.path,
        more=tuple(data.more_paths or ()),
        config=data.config,
        split=data.split,
        revision=data.revision,
        columns=data.columns,
        labels=data.labels,
        shape=data.shape,
        method=run.method,
    )


def rows_for(run: RunFile, rows: list[Row]) -> list[Row]:
    """The rows as the method reads them: sft takes the chosen side of a pair."""
    if run.method == "sft":
        return [paired_as_chat(row) if isinstance(row, Pair) else row for row in rows]
    wanted = Labelled if run.method == "kto" else Pair
    return [row for row in rows if isinstance(row, wanted)]


def count_rows(train: list[Row], heldout: list[Row]) -> TrainRows:
    """Counts of the two sides of the split, and of the training labels."""
    labels = [row.label for row in train if isinstance(row, Labelled)]
    return TrainRows(
        train=len(train),
        heldout=len(heldout),
        desirable=sum(labels),
        undesirable=len(labels) - sum(labels),
    )


def resolved(run: RunFile) -> RunFile:
    """The run file with local paths made absolute, so that it replays from any folder."""
    changes: dict[str, object] = {}
    for section, key in (("model", "id"), ("data", "path"), ("model", "chat_template")):
        value = getattr(getattr(run, section), key)
        if value and Path(value).expanduser().exists():
            inner = changes.get(section, getattr(run, section))
            changes[section] = inner.model_copy(  # type: ignore[attr-defined]
                update={key: str(Path(value).expanduser().resolve())}
            )
    return run.model_copy(update=changes)

"""Everything that must be known before a run: facts, rows, split and advice.

The wizard, `check`, `init` and the trainer all judge a run file through this one door,
so they cannot disagree. No torch, no model weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from backprop_tui.core.effective import Effective, TrainRows, effective, estimated_rows
from backprop_tui.core.errors import ConfigError, Problem
from backprop_tui.core.facts import DataFacts, Facts, GpuFacts, ModelFacts
from backprop_tui.core.rows import Labelled, Pair, Row, paired_as_chat, paired_as_labelled
from backprop_tui.core.rules import Advice, judge
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.probe.calibration import calibration_of
from backprop_tui.probe.data import DataSource, Loaded, describe, glance, load, with_tokens
from backprop_tui.probe.gpu import probe_gpu
from backprop_tui.probe.model import probe_model

ROW = re.compile(r"\brow (\d+)(?=[:,])")  # as findings name the rows of their examples
COMPARED = 20_000  # rows compared with each other at most: about a second
MEASURED = 128  # rows made tokens: enough to judge one row in ten, and well under 0.2 s


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, and what will be trained on. `advice` includes the refusals.

    train, heldout: empty where the rows were only glanced at; then `counts` are estimates.
    """

    facts: Facts
    train: list[Row]
    heldout: list[Row]
    counts: TrainRows
    plan: Effective
    advice: tuple[Advice, ...]


def survey(
    run: RunFile,
    *,
    path: str = "run file",
    trust_remote_code: bool = False,
    to_train: bool = False,
) -> Survey:
    """Read the world for this run file. Raises InputError for what cannot be read at all.

    to_train: every row is read, however large the data; else large data is glanced at.
    """
    missing = [item for item in judge(run, Facts()) if item.level == "problem"]
    if missing:  # nothing is named yet, so there is nothing to read
        raise ConfigError(path, as_problems(missing))
    gpu = probe_gpu()
    loaded, data = read_data(run, to_train=to_train)
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
    facts = with_calibration(Facts(gpu=gpu, model=model, data=data, card=run.machine.card))
    train: list[Row] = []
    heldout: list[Row] = []
    if loaded.whole:
        rows = rows_for(run, loaded.rows)
        train, heldout = split(rows, run.data.heldout, run.data.heldout_seed)
        counts = count_rows(train, heldout)
    else:
        counts = estimated_rows(run, facts)
    return Survey(
        facts=facts,
        train=train,
        heldout=heldout,
        counts=counts,
        plan=effective(run, facts, counts),
        advice=judge(run, facts, counts, free_ram=psutil.virtual_memory().available),
    )


def with_calibration(facts: Facts) -> Facts:
    """The facts with what earlier runs on the chosen card have taught."""
    driver = facts.gpu.driver if facts.gpu else None
    learnt = calibration_of(facts.gpu_card, driver)
    return replace(facts, memory=replace(facts.memory, calibration=learnt))


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


def read_data(run: RunFile, *, to_train: bool = False) -> tuple[Loaded, DataFacts]:
    """The rows the run file names, and what they are."""
    loaded = (load if to_train else glance)(data_source(run))
    seed = run.data.heldout_seed
    return loaded, judged(describe(loaded, seed=seed), loaded, seed, run.data.heldout)


def judged(facts: DataFacts, loaded: Loaded, seed: int, heldout: float) -> DataFacts:
    """The facts with the quality report on a sample of the rows.

    seed, heldout: of the split that is looked at for leaks.
    """
    from backprop_tui.probe.data.clean import sample
    from backprop_tui.probe.data.quality import report

    found = report(sample(loaded.rows, seed, COMPARED), seed, heldout=heldout)

    def placed(match: re.Match[str]) -> str:
        # Rows of a sample are placed by their size; those of several files by the file.
        about = "" if loaded.exact else "about "
        return f"row {about}{loaded.table.place(int(match[1]))}"

    findings = tuple(
        replace(one, examples=tuple(ROW.sub(placed, example) for example in one.examples))
        for one in found.findings
    )
    return replace(facts, quality=replace(found, findings=findings))


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
    """The rows as the method reads them: sft takes the chosen side of a pair, kto both apart."""
    if run.method == "sft":
        return [paired_as_chat(row) if isinstance(row, Pair) else row for row in rows]
    if run.method == "kto":
        marked: list[Row] = [row for row in rows if isinstance(row, Labelled)]
        pairs = (row for row in rows if isinstance(row, Pair))
        return marked + [half for pair in pairs for half in paired_as_labelled(pair)]
    return [row for row in rows if isinstance(row, Pair)]


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
    model, data = run.model, run.data
    more = [_absolute(name) for name in data.more_paths] if data.more_paths else None
    return run.model_copy(
        update={
            "model": model.model_copy(
                update={
                    "id": _absolute(model.id),
                    "chat_template": model.chat_template and _absolute(model.chat_template),
                }
            ),
            "data": data.model_copy(update={"path": _absolute(data.path), "more_paths": more}),
        }
    )


def _absolute(name: str) -> str:
    """A file or folder from the root; a pattern from its folder; a hub id as it is."""
    path = Path(name).expanduser()
    if name and path.exists():
        return str(path.resolve())
    if any(sign in name for sign in "*?["):
        return str(path.parent.resolve() / path.name)
    return name

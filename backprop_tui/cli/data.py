"""`data`: what a data set is, what would be dropped, and which method it calls for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli import data_options as options
from backprop_tui.cli import data_text
from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.core.effective import estimated_rows
from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import DataFacts, Facts, ModelFacts, to_json
from backprop_tui.core.findings import findings
from backprop_tui.core.memory import memory_at
from backprop_tui.core.methods import METHODS
from backprop_tui.core.recommend import Recommendation, recommend
from backprop_tui.core.runfile import DataSection, LoraSection, ModelSection, RunFile
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.core.wrap import wrapped
from backprop_tui.probe.gpu import probe_gpu
from backprop_tui.probe.survey import judged

if TYPE_CHECKING:
    from backprop_tui.probe.data import DataSource, Loaded


def data_command(
    paths: list[str] = options.PATHS,
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
    model: str | None = typer.Option(None, help="Also measure lengths in this model's tokens."),
    config: str | None = typer.Option(None, help=options.CONFIG_HELP),
    split: str | None = typer.Option(None, help=options.SPLIT_HELP),
    revision: str | None = typer.Option(None, help=options.REVISION_HELP),
    columns: list[str] = typer.Option([], "--column", help=options.COLUMN_HELP),
    labels: list[str] = typer.Option([], "--label", help=options.LABEL_HELP),
    shape: str | None = typer.Option(None, help=options.SHAPE_HELP),
    show: int | None = typer.Option(
        None, min=1, help="Show so many rows token by token, as the model sees them."
    ),
    rows: list[int] = typer.Option(
        [], "--row", min=1, help="Show the row of this number token by token. Repeatable."
    ),
    max_length: int | None = typer.Option(None, min=1, help="Longest prompt + answer in tokens."),
    method: str | None = typer.Option(None, help="Show rows as this method trains them."),
    quality: bool = typer.Option(True, help="Look for copies, noise, refusals and the like."),
    exact: bool = typer.Option(
        False, "--exact", help="Count every row of a large data set, however long it takes."
    ),
    seed: int = typer.Option(0, min=0, help="Seed of the sample."),
) -> None:
    """Show what a data set is, what would be dropped, and which method it calls for."""
    from backprop_tui.probe.data import describe, load

    _check_shown(show, rows, model, method)
    source = options.source(
        paths,
        config=config,
        split=split,
        revision=revision,
        columns=columns,
        labels=labels,
        shape=shape,
    )
    # A row asked for by its number can only be found by reading as far as that.
    loaded = load(source) if rows else _read(source, exact)
    if model and (show or rows):
        from backprop_tui.cli.show import show as show_rows

        if sys.stderr.isatty():
            typer.echo(f"loading the tokenizer of {model}", err=True)
        numbers = rows or show or 1
        show_rows(
            loaded,
            model,
            numbers=numbers,
            max_length=max_length,
            as_json=as_json,
            method=method,
            seed=seed,
        )
        return
    facts, known = describe(loaded, seed=seed), None
    if model:
        facts, known = _measured(facts, loaded, model, seed)
    if quality and loaded.rows:
        facts = judged(facts, loaded, seed, DataSection().heldout)
    advice = recommend(Facts(data=facts, model=known))
    if as_json:
        show_json(
            {
                **to_json(facts),
                "findings": [asdict(one) for one in findings(facts)],
                "recommendation": recommendation_json(advice),
            }
        )
    else:
        typer.echo("\n".join(_text(facts, advice, max_length, known)))


def _read(source: DataSource, exact: bool) -> Loaded:
    """The data set; a large one at a glance, or counted with a progress bar on stderr."""
    from backprop_tui.probe.data import glance, scan

    if not exact:
        return glance(source)
    # A bar is drawn for a person who waits, never into a log.
    with typer.progressbar(length=100, label="counting", file=sys.stderr) as bar:
        return scan(source, lambda share: bar.update(round(100 * share) - bar.pos))


def _check_shown(show: int | None, rows: list[int], model: str | None, method: str | None) -> None:
    """Raise InputError, before anything is read, where rows cannot be shown as asked."""
    if method is not None and method not in METHODS:
        raise InputError(
            f"--method {method}: not a method",
            hint=f"allowed: {', '.join(METHODS)}",
            code=INVALID,
        )
    if (show or rows) and model is None:
        raise InputError(
            f"{'--row' if rows else '--show'} needs --model: the tokens are the model's",
            hint="for example --model pocket",
            code=INVALID,
        )
    if show and rows:
        raise InputError(
            "--show and --row: one or the other",
            hint="--show 3 shows any three rows, --row 3 the third of the file",
            code=INVALID,
        )


def _measured(
    facts: DataFacts, loaded: Loaded, model: str, seed: int
) -> tuple[DataFacts, ModelFacts]:
    """The facts with lengths in the model's tokens, when its tokenizer is on this machine."""
    from backprop_tui.probe.data import with_tokens
    from backprop_tui.probe.model import probe_model

    found = probe_model(model)
    tokenizer = Path(found.path or "") / "tokenizer.json"
    if not found.path or not tokenizer.is_file():
        typer.echo(f"{model}: no local tokenizer.json, lengths in words only", err=True)
        return facts, found
    return with_tokens(facts, loaded, tokenizer, seed=seed), found


def recommendation_json(advice: Recommendation) -> dict[str, Any]:
    """method (or null), reasons with their sources, how sure, the runner-up, and any wait."""
    return {
        "method": advice.method,
        "confidence": advice.confidence,
        "wait": advice.wait,
        "reasons": [asdict(reason) for reason in advice.reasons],
        "runner_up": advice.runner_up,
        "runner_up_when": advice.runner_up_when,
    }


def _memory(facts: DataFacts, model: ModelFacts, advice: Recommendation) -> dict[int, int]:
    """Bytes a run with every default would need, by max_length; rough, {} where unknown."""
    run = RunFile(
        method=advice.method or "orpo",
        model=ModelSection(id=model.name),
        data=DataSection(path=facts.name),
        lora=LoraSection(),
    )
    all_facts = Facts(gpu=probe_gpu(), model=model, data=facts)
    rows = estimated_rows(run, all_facts)
    found = {fit.max_length: memory_at(run, all_facts, rows, fit.max_length) for fit in facts.fits}
    return {length: needed for length, needed in found.items() if needed is not None}


def _text(
    facts: DataFacts, advice: Recommendation, max_length: int | None, model: ModelFacts | None
) -> Iterator[str]:
    """Paragraphs with an empty line between them; what must not be missed comes first."""
    memory = _memory(facts, model, advice) if model and facts.fits else {}
    paragraphs: tuple[Iterable[str], ...] = (
        wrapped([("wait", advice.wait)]) if advice.wait else (),
        data_text.facts_lines(facts),
        data_text.length_lines(facts),
        data_text.fit_lines(facts.fits, max_length or DataSection().max_length, memory),
        data_text.offer_lines(facts.offers),
        data_text.finding_lines(findings(facts)),
        data_text.recommendation_lines(advice, facts.offers),
        data_text.example_lines(facts),
    )
    first = True
    for paragraph in paragraphs:
        lines = list(paragraph)
        if lines and not first:
            yield ""
        yield from lines
        first = first and not lines

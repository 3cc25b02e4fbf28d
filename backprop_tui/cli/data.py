"""`data`: what a data set is, what would be dropped, and which method it calls for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from backprop_tui.cli.output import JSON_HELP, show_json, show_table
from backprop_tui.core.facts import DataFacts, Facts, Quantiles, to_json
from backprop_tui.core.recommend import Recommendation, recommend
from backprop_tui.core.text import count, percent, plural


def data_command(
    path: str = typer.Argument(help="File, hub id, or 'pocket' for the bundled examples."),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
    model: str | None = typer.Option(None, help="Also measure lengths in this model's tokens."),
    split: str | None = typer.Option(None, help="Split of a hub data set."),
    revision: str | None = typer.Option(None, help="Commit, tag or branch of a hub data set."),
    seed: int = typer.Option(0, help="Seed of the sample."),
) -> None:
    """Show what a data set is, what would be dropped, and which method it calls for."""
    from backprop_tui.probe.data import DataSource, describe, load, with_tokens

    loaded = load(DataSource(path=path, split=split, revision=revision))
    facts = describe(loaded, seed=seed)
    if model:
        from backprop_tui.probe.model import probe_model

        found = probe_model(model)
        tokenizer = Path(found.path or "") / "tokenizer.json"
        if not found.path or not tokenizer.is_file():
            typer.echo(f"{model}: no local tokenizer.json, lengths in words only", err=True)
        else:
            facts = with_tokens(facts, loaded, tokenizer, seed=seed)
    advice = recommend(Facts(data=facts))
    if as_json:
        show_json({**to_json(facts), "recommendation": recommendation_json(advice)})
    else:
        _show_data(facts, advice)


def recommendation_json(advice: Recommendation) -> dict[str, Any]:
    """method (or null), reasons with their sources, and the runner-up."""
    return {
        "method": advice.method,
        "reasons": [asdict(reason) for reason in advice.reasons],
        "runner_up": advice.runner_up,
        "runner_up_when": advice.runner_up_when,
    }


def _show_data(facts: DataFacts, advice: Recommendation) -> None:
    rows = [
        ("data", facts.path or facts.name),
        ("format", facts.format),
        ("shape", f"{facts.shape} ({facts.layout})" if facts.layout else facts.shape),
        ("rows", f"{count(facts.rows)}, {count(facts.kept)} can be trained"),
    ]
    for reason, n in facts.dropped.items():
        first = [str(row.row) for row in facts.dropped_rows if row.reason == reason]
        where = f" (row {', '.join(first)}{'…' if n > len(first) else ''})" if first else ""
        rows.append(("dropped", f"{count(n)} {reason}{where}"))
    rows += [(f"{name} words", _lengths(value)) for name, value in facts.words.items()]
    for name, value in (facts.tokens or {}).items():
        rows.append((f"{'whole row' if name == 'row' else name} tokens", _lengths(value)))
    if facts.length_bias:
        bias = facts.length_bias
        rows.append(
            (
                "length",
                f"chosen longer in {count(bias.chosen_longer)}, shorter in "
                f"{count(bias.chosen_shorter)} of {plural(bias.pairs, 'sampled pair')}",
            )
        )
    if facts.labels:
        good, bad = facts.labels.get(True, 0), facts.labels.get(False, 0)
        share = good / (good + bad) if good + bad else None
        rows.append(("labels", f"{count(good)} good, {count(bad)} bad ({percent(share)} good)"))
    if facts.duplicate_rows:
        rows.append(("duplicates", plural(facts.duplicate_rows, "row")))
    if facts.duplicate_prompts:
        rows.append(("repeated prompts", plural(facts.duplicate_prompts, "row")))
    rows.append(("", ""))
    rows.append(("method", advice.method or "none fits"))
    for why in advice.reasons:
        rows.append(("", why.text + (f" [{why.source}]" if why.source else "")))
    if advice.runner_up:
        rows.append(("runner-up", f"{advice.runner_up}, if {advice.runner_up_when}"))
    show_table(rows)
    for i, example in enumerate(facts.examples, 1):
        typer.echo(f"\nrow {i} of {len(facts.examples)} to look at")
        show_table([(name, _excerpt(text)) for name, text in example.items()], indent=2)


def _lengths(lengths: Quantiles) -> str:
    return (
        f"half up to {count(lengths.p50)}, 90 % up to {count(lengths.p90)}, "
        f"99 % up to {count(lengths.p99)}, longest {count(lengths.max)}"
    )


def _excerpt(text: str, width: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"

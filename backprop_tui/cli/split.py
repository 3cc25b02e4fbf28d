"""`split`: a train and a held-out file, the same rows that a run would hold out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from backprop_tui.cli import data_options as options
from backprop_tui.cli.output import JSON_HELP, show_json
from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Labelled, Row
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.core.split import split as split_rows
from backprop_tui.core.text import count, plural
from backprop_tui.core.wrap import wrapped

if TYPE_CHECKING:
    from backprop_tui.probe.data import Loaded

SIDES = ("train", "heldout", "dropped")
METHOD_OF = {"paired": "An orpo or simpo", "unpaired": "A kto", "sft": "An sft"}
SUFFIXES = (".gz", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def split_command(
    paths: list[str] = options.PATHS,
    heldout: float = typer.Option(0.1, help="Share of rows to hold out, above 0 and under 1."),
    seed: int = typer.Option(0, min=0, help="Seed of the split, as data.heldout_seed."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Prefix of the new files. Default: beside the data."
    ),
    as_json: bool = typer.Option(False, "--json", help=JSON_HELP),
    config: str | None = typer.Option(None, help=options.CONFIG_HELP),
    split: str | None = typer.Option(None, help=options.SPLIT_HELP),
    revision: str | None = typer.Option(None, help=options.REVISION_HELP),
    columns: list[str] = typer.Option([], "--column", help=options.COLUMN_HELP),
    labels: list[str] = typer.Option([], "--label", help=options.LABEL_HELP),
    shape: str | None = typer.Option(None, help=options.SHAPE_HELP),
) -> None:
    """Write a train and a held-out file: by prompt, so that none leaks; never overwrites."""
    from backprop_tui.cli.split_files import dropped_lines, record_lines, refuse_existing, write_new
    from backprop_tui.probe.data import load

    if not 0 < heldout < 1:  # not-a-number is neither
        raise InputError(
            f"--heldout {heldout:g}: must be above 0 and under 1",
            hint="0.1 holds out one row in ten",
            code=INVALID,
        )
    prefix = default_prefix(paths[0]) if output is None else output
    if prefix.name in ("", ".."):
        raise InputError(
            f"--output {output}: not the start of a file name",
            hint="for example --output parts/my-data",
            code=INVALID,
        )
    targets = {side: prefix.with_name(f"{prefix.name}.{side}.jsonl") for side in SIDES}
    refuse_existing(list(targets.values()))
    loaded = load(
        options.source(
            paths,
            config=config,
            split=split,
            revision=revision,
            columns=columns,
            labels=labels,
            shape=shape,
        )
    )
    train, held = _sides(loaded, heldout, seed)
    lines = dict(record_lines(loaded))
    dropped = list(dropped_lines(loaded))
    files = {
        targets["train"]: _in_file_order(train, lines),
        targets["heldout"]: _in_file_order(held, lines),
    }
    if dropped:
        files[targets["dropped"]] = dropped
    write_new(files)
    if as_json:
        show_json(_json(files, train, held, loaded, seed))
    else:
        typer.echo("\n".join(_text(files, train, held, loaded, heldout, seed)))


def default_prefix(name: str) -> Path:
    """Beside a local file, folder or pattern, without its suffix; else in the current folder."""
    path = Path(name).expanduser()
    stem = path.name
    while (suffix := os.path.splitext(stem)[1]) and suffix.lower() in SUFFIXES:
        stem = stem.removesuffix(suffix)
    plain = "".join(character for character in stem if character not in "*?[]:").strip("-_. ")
    local = path.exists() or plain != path.name
    return (path.parent if local else Path.cwd()) / (plain or "data")


def _sides(loaded: Loaded, heldout: float, seed: int) -> tuple[list[Row], list[Row]]:
    """The two sides. Raises InputError where one would be empty."""
    name = loaded.table.name
    if not loaded.rows:
        why = loaded.decision.advice or ", ".join(
            f"{count(n)} {reason}" for reason, n in loaded.dropped.items()
        )
        raise InputError(f"{name}: no row can be trained: {why}", code="DATA_CANNOT_SPLIT")
    train, held = split_rows(loaded.rows, heldout, seed)
    if not train or not held:
        raise InputError(
            f"{name}: {plural(len(loaded.rows), 'row')}, all of one prompt: a side would be empty",
            hint="all rows of one prompt stay on one side, so two prompts are the least",
            code="DATA_CANNOT_SPLIT",
        )
    return train, held


def _in_file_order(rows: Sequence[Row], lines: dict[int, bytes]) -> list[bytes]:
    return [lines[number] for number in sorted({row.number for row in rows})]


def _marks(rows: Sequence[Row]) -> tuple[int, int] | None:
    """(good, bad) of rows that are marked."""
    labels = [row.label for row in rows if isinstance(row, Labelled)]
    return (sum(labels), len(labels) - sum(labels)) if labels else None


def _json(
    files: dict[Path, list[bytes]], train: list[Row], held: list[Row], loaded: Loaded, seed: int
) -> dict[str, Any]:
    def marks(rows: list[Row]) -> dict[str, int] | None:
        found = _marks(rows)
        return {"true": found[0], "false": found[1]} if found else None

    return {
        "files": {str(path.resolve()): len(lines) for path, lines in files.items()},
        "train": {"rows": len(train), "labels": marks(train)},
        "heldout": {"rows": len(held), "labels": marks(held)},
        "dropped": loaded.dropped,
        "seed": seed,
    }


def _text(
    files: dict[Path, list[bytes]],
    train: list[Row],
    held: list[Row],
    loaded: Loaded,
    heldout: float,
    seed: int,
) -> list[str]:
    paths = [str(path.resolve()) for path in files]
    rows = [("train", _side(train)), ("", paths[0]), ("held out", _side(held)), ("", paths[1])]
    if len(paths) > 2:
        why = ", ".join(f"{count(n)} {reason}" for reason, n in loaded.dropped.items())
        lost = sum(loaded.dropped.values())
        rows += [("dropped", f"{plural(lost, 'row')} on neither side: {why}"), ("", paths[2])]
    rows += [
        ("", ""),
        (
            "the same",
            f"{METHOD_OF[loaded.shape]} run on all the data with data.heldout = {heldout:g} and "
            f"data.heldout_seed = {seed} holds out these rows too.",
        ),
        ("to train", "Give the train file and data.heldout = 0; measure on the other."),
    ]
    return list(wrapped(rows))


def _side(rows: list[Row]) -> str:
    marks = _marks(rows)
    of_labels = f", {count(marks[0])} good and {count(marks[1])} bad" if marks else ""
    return f"{plural(len(rows), 'row')}{of_labels}"

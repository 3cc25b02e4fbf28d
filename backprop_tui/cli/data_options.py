"""What `data` and `split` read: the options that say so, as a DataSource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import typer

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import Shape
from backprop_tui.core.runfile_problems import INVALID

if TYPE_CHECKING:
    from backprop_tui.probe.data import DataSource

PATH_HELP = "File, folder, hub id, or 'pocket' for the bundled examples; several are one."
CONFIG_HELP = "Configuration (subset) of a hub data set."
SPLIT_HELP = "Split of a hub data set."
REVISION_HELP = "Commit, tag or branch of a hub data set."
COLUMN_HELP = "Our column name=the file's, where it is read wrongly. Repeatable."
LABEL_HELP = "A text in the label column=good or bad. Repeatable."
SHAPE_HELP = "Read it as this shape: sft, paired or unpaired."

MARKS = {"good": True, "true": True, "bad": False, "false": False}


def source(
    paths: list[str],
    *,
    config: str | None,
    split: str | None,
    revision: str | None,
    columns: list[str],
    labels: list[str],
    shape: str | None,
) -> DataSource:
    """The options as one source. Raises InputError for one that cannot be read."""
    from backprop_tui.probe.data import DataSource

    return DataSource(
        path=paths[0],
        more=tuple(paths[1:]),
        config=config,
        split=split,
        revision=revision,
        columns=_mapping(columns) or None,
        labels=dict(map(_label, labels)) or None,
        shape=_shape(shape),
    )


def as_keys(
    more: list[str], columns: list[str], labels: list[str], shape: str | None
) -> dict[str, Any]:
    """The same options as keys of the run file's [data]. Raises InputError."""
    found: dict[str, Any] = {
        "more_paths": more,
        "columns": _mapping(columns),
        "labels": dict(map(_label, labels)),
        "shape": _shape(shape),
    }
    return {key: value for key, value in found.items() if value}


def _mapping(columns: list[str]) -> dict[str, str]:
    return dict(_halves("--column", item, "ours=theirs") for item in columns)


def _halves(option: str, item: str, form: str) -> tuple[str, str]:
    # A file's own names may hold "=", so ours is what stands before the first.
    ours, sign, theirs = item.partition("=")
    if not sign or not ours.strip() or not theirs:
        raise InputError(f"{option} {item}: expected {form}", code=INVALID)
    return ours.strip(), theirs


def _label(item: str) -> tuple[str, bool]:
    text, sign, mark = item.rpartition("=")
    if not sign or mark.strip().lower() not in MARKS:
        raise InputError(
            f"--label {item}: expected text=good or text=bad",
            hint='for example --label "thumbs up=good"',
            code=INVALID,
        )
    return text, MARKS[mark.strip().lower()]


def _shape(name: str | None) -> Shape | None:
    shapes: tuple[Shape, ...] = tuple(one for one in get_args(Shape) if one != "other")
    if name is None:
        return None
    if name not in shapes:
        raise InputError(
            f"--shape {name}: not a shape", hint=f"allowed: {', '.join(shapes)}", code=INVALID
        )
    return next(one for one in shapes if one == name)


PATHS = typer.Argument(help=PATH_HELP, metavar="PATH")

"""How the commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from backprop_tui.core.errors import BackpropError, ConfigError
from backprop_tui.core.printable import printable
from backprop_tui.core.rules import Advice
from backprop_tui.core.wrap import folded

JSON_HELP = "Print JSON instead of text."


def show(text: str, *, err: bool = False, hanging: int | None = None) -> None:
    """Lines; on a terminal those that are too wide are broken at spaces, in a file they are not."""
    stream = sys.stderr if err else sys.stdout
    for line in text.split("\n"):
        pieces = folded(line, hanging) if stream.isatty() else [line]
        for piece in pieces:
            typer.echo(piece, err=err)


def show_error(error: BackpropError) -> None:
    """The error on stderr: each problem with its key, what is allowed and its source."""
    show(printable(f"error: {error.message}"), err=True)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            show(printable(f"  {problem.message}  [{problem.code}]"), err=True)
            if problem.fix:
                show(printable(f"    {problem.fix}"), err=True)
            if problem.source:
                show(f"    source: {problem.source}", err=True)
    elif error.code != "ERROR":
        show(f"  [{error.code}]", err=True)
    if error.hint:
        show(printable(f"  {error.hint}"), err=True)


def show_advice(advice: Iterable[Advice], *, err: bool = False) -> None:
    """One paragraph a piece of advice."""
    for item in advice:
        show(f"{item.level}  {item.message}  [{item.code}]", err=err)
        if item.fix:
            changes = " ".join(map(as_set, item.fix.changes))
            show(f"    {item.fix.label}: {changes}", err=err)
        if item.source:
            show(f"    source: {item.source}", err=err)


def show_table(rows: Sequence[tuple[str, str]], *, indent: int = 0) -> None:
    """Aligned label and value; a blank label continues the one above."""
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        show(f"{' ' * indent}{label:<{width}}  {value}".rstrip(), hanging=indent + width + 2)


def show_json(value: dict[str, Any]) -> None:
    """Pretty JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def as_set(change: tuple[str, Any]) -> str:
    """A run-file key and its value as the option that sets it, as a shell would take it."""
    key, value = change
    if value is None:
        return f"without {key} in the file"
    return f"--set {shlex.quote(f'{key}={_toml(value)}')}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(name)} = {_inner(each)}" for name, each in value.items())
        return f"{{{inner}}}"
    return str(value)


def _inner(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _toml(value)

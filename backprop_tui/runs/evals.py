"""RUN/evals/NAME/summary.json: what `eval` has found of a run, read by whoever compares runs."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from backprop_tui.core.comparison import Evaluation
from backprop_tui.core.printable import printable
from backprop_tui.core.scores import Figure

FOLDER, SUMMARY, SCHEMA = "evals", "summary.json", 1
LARGEST = 1 << 22  # bytes
NEEDED = {"name", "tuned", "tuned_low", "tuned_high", "n"}


def read_evaluations(run: Path) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of a run, and a sentence for each that cannot be used."""
    found: list[Evaluation] = []
    problems: list[str] = []
    try:
        folders = sorted(path for path in (run / FOLDER).iterdir() if path.is_dir())
    except OSError:  # none was made
        return [], []
    for folder in folders:
        path = folder / SUMMARY
        try:
            if not path.is_file():  # it has not come to its end
                problems.append(f"{path} is not there: eval has not come to its end")
            elif path.stat().st_size > LARGEST:
                problems.append(f"{path} is left out: over {LARGEST:,} bytes")
            else:
                found.append(_evaluation(folder.name, json.loads(path.read_bytes())))
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            problems.append(f"{path} is left out: it is no summary that eval writes")
    return found, [printable(text) for text in problems]


def _evaluation(name: str, plain: dict[str, Any]) -> Evaluation:
    if plain["schema"] != SCHEMA:
        raise ValueError("another schema")
    return Evaluation(
        name=printable(name),
        data=printable(_text(plain["data"])),
        data_sha256=printable(_text(plain.get("data_sha256") or "")),
        rows=_whole(plain["rows"]),
        figures=tuple(_figure(one) for one in plain["figures"]),
    )


def _figure(plain: dict[str, Any]) -> Figure:
    """A Figure; ValueError or KeyError where a field is absent or of another type."""
    values: dict[str, Any] = {"name": printable(_text(plain["name"])), "n": _whole(plain["n"])}
    for field in fields(Figure):
        if field.name in values:
            continue
        value = plain[field.name] if field.name in NEEDED else plain.get(field.name)
        if value is None and field.name not in NEEDED:
            values[field.name] = None
        else:
            values[field.name] = _number(value)
    return Figure(**values)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no count")
    return value

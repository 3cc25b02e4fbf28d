"""RUN/evals/NAME/summary.json: what `eval` has found of a run, read by whoever compares runs."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from backprop_tui.core.comparison_evals import Evaluation
from backprop_tui.core.printable import printable
from backprop_tui.core.scores import Figure

FOLDER, SUMMARY, SCHEMA = "evals", "summary.json", 1
LARGEST = 1 << 22  # bytes
NEEDED = {"name", "tuned", "tuned_low", "tuned_high", "n"}


def read_evaluations(run: Path) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of a run, the newest first, and a sentence for each that cannot be used.

    One of other weights than the run has now is not used: a run that goes on after it was stopped
    has new ones.
    """
    found: list[tuple[int, Evaluation]] = []
    problems: list[str] = []
    try:
        folders = sorted(path for path in (run / FOLDER).iterdir() if path.is_dir())
    except OSError:  # none was made
        return [], []
    now = _weights_now(run) if folders else ""
    for folder in folders:
        path = folder / SUMMARY
        try:
            if not path.is_file():
                problems.append(f"{path} is not there: eval has not come to its end")
            elif (status := path.stat()).st_size > LARGEST:
                problems.append(f"{path} is left out: over {LARGEST:,} bytes")
            else:
                plain = json.loads(path.read_bytes())
                one = _evaluation(folder.name, plain)
                if now and (_of(plain).get("tuned") or now) != now:
                    problems.append(f"{path} is left out: the run has other weights now")
                else:
                    found.append((status.st_mtime_ns, one))
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            problems.append(f"{path} is left out: it is no summary that eval writes")
    found.sort(key=lambda one: -one[0])
    return [one for _, one in found], [printable(text) for text in problems]


def result_sha256(folder: Path) -> str:
    """Of the weights and the configuration in the folder of a run's result."""
    digest = hashlib.sha256()
    names = ("adapter_config.json", "config.json")
    for file in (*sorted(folder.glob("*.safetensors")), *(folder / name for name in names)):
        if file.is_file():
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.name}:{found}".encode())
    return digest.hexdigest()


def _weights_now(run: Path) -> str:
    """Hash of what the run has learned; "" where that is gone or cannot be read."""
    try:
        for folder in (run / "adapter", run / "model"):
            if any(folder.glob("*.safetensors")):
                return result_sha256(folder)
    except OSError:
        pass
    return ""


def _evaluation(folder: str, plain: dict[str, Any]) -> Evaluation:
    if plain["schema"] != SCHEMA:
        raise ValueError("another schema")
    settings = plain.get("settings") or {}
    longest, pattern = settings.get("max_new_tokens"), settings.get("regex")
    return Evaluation(
        name=printable(_text(plain.get("rows_of") or folder)),
        data=printable(_text(plain["data"])),
        data_sha256=printable(_text(plain.get("data_sha256") or "")),
        rows=_whole(plain["rows"]),
        figures=tuple(_figure(one) for one in plain["figures"] if one["tuned"] is not None),
        heldout=bool(plain.get("heldout")),
        kind=_text(plain.get("kind") or ""),
        tokens_sha256=_text(_of(plain).get("tokens_sha256") or ""),
        max_new_tokens=None if longest is None else _whole(longest),
        regex=None if pattern is None else _text(pattern),
    )


def _of(plain: dict[str, Any]) -> dict[str, Any]:
    """Hashes of what was measured."""
    found = plain.get("of") or {}
    if not isinstance(found, dict):
        raise ValueError("no hashes")
    return found


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

"""Reading, changing and writing run files: every problem at once, atomic writes.

Precedence: `--set section.key=value` over the environment
(`BACKPROP_TUI__SECTION__KEY`) over the file over the defaults. What won is recorded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.printable import printable
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile
from backprop_tui.core.runfile_problems import INVALID, key_of, problem_of, shown
from backprop_tui.core.runfile_toml import parse_value, read_toml

ENV_PREFIX = "BACKPROP_TUI__"
__all__ = ["change", "dump", "overridden", "parse", "parse_value", "read", "to_toml", "write"]


def read(
    path: Path, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[RunFile, dict[str, str]]:
    """The run file with overrides applied, and {key: where it was overridden}.

    Raises InputError when the file cannot be read, ConfigError with every problem otherwise.
    """
    return overridden(read_toml(path), path, sets, os.environ if env is None else env)


def overridden(
    raw: dict[str, Any], path: Path, sets: Sequence[str], env: Mapping[str, str]
) -> tuple[RunFile, dict[str, str]]:
    """The same, from TOML values at hand; they are changed."""
    overrides: dict[str, str] = {}
    try:
        _override(raw, overrides, path, sets, env)
        return parse(raw, str(path)), overrides
    except ConfigError as error:
        # The person looks for the mistake in the file unless told that it is elsewhere.
        found = (_with_origin(problem, overrides) for problem in error.problems)
        raise ConfigError(error.path, tuple(found)) from None


def _override(
    raw: dict[str, Any],
    overrides: dict[str, str],
    path: Path,
    sets: Sequence[str],
    env: Mapping[str, str],
) -> None:
    """Put the environment's values and then those of --set into raw, and note each in overrides."""
    for name, text in sorted(env.items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            overrides[key] = f"environment {name}"
            _put(raw, key, parse_value(text), path)
    for item in sets:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            raise InputError(
                f"--set {shown(item)}: expected section.key=value",
                hint="for example --set training.learning_rate=1e-6",
                code=INVALID,
            )
        overrides[key.strip()] = "--set"
        _put(raw, key.strip(), parse_value(text), path)
    if "method" in overrides:
        # Another method was asked for: the file's table for the old one has no meaning now.
        for name in METHOD_SECTIONS:
            if name != raw["method"] and not any(k.startswith(f"{name}.") for k in overrides):
                raw.pop(name, None)


def _with_origin(problem: Problem, overrides: Mapping[str, str]) -> Problem:
    """The problem, saying which --set or variable it comes from when it is not from the file."""
    key = problem.field
    where = overrides.get(key) or next(
        (where for name, where in overrides.items() if name.startswith(f"{key}.")), ""
    )
    return replace(problem, message=f"{problem.message} (from {where})") if where else problem


def parse(raw: Mapping[str, Any], path: str = "run file") -> RunFile:
    """A RunFile from TOML values; raises ConfigError naming every problem."""
    problems: list[Problem] = []
    run: RunFile | None = None
    try:
        run = RunFile.model_validate(dict(raw))
    except ValidationError as error:
        by_key: dict[str, list[dict[str, Any]]] = {}
        for item in error.errors():
            by_key.setdefault(key_of(item["loc"]), []).append(dict(item))
        problems = [problem_of(raw, key, items) for key, items in by_key.items()]
    method = raw.get("method", "orpo")
    for name in METHOD_SECTIONS:
        if name in raw and name != method and method in list(METHOD_SECTIONS):
            problems.append(
                Problem(
                    INVALID,
                    name,
                    f"[{name}] is present but method = {method!r}; only [{method}] is allowed",
                    fix=f"remove [{name}], or set method = {name!r}",
                )
            )
    if problems or run is None:
        raise ConfigError(path, tuple(problems))
    return run


def change(run: RunFile, changes: Mapping[str, Any], path: str = "run file") -> RunFile:
    """A copy with some keys changed ("simpo.gamma": 1.0; None removes a key or table).

    Changing `method` drops the old method's table. Raises ConfigError.
    """
    raw = dump(run)
    for key, value in changes.items():
        if value is None:
            _remove(raw, key)
        else:
            _put(raw, key, value, Path(path))
    if "method" in changes:
        for name in METHOD_SECTIONS:
            if name != raw["method"]:
                raw.pop(name, None)
    return parse(raw, path)


def dump(run: RunFile) -> dict[str, Any]:
    """Plain TOML values in the order of the fields; what is absent stays absent."""
    return run.model_dump(by_alias=True, exclude_none=True)


def to_toml(run: RunFile) -> str:
    """The file's text. Values that equal a default are written too: a run file is complete."""
    return tomli_w.dumps(dump(run))


def write(run: RunFile, path: Path, *, overwrite: bool = False, header: str = "") -> None:
    """Write whole or not at all; refuses an existing file unless told otherwise."""
    text = "".join(f"# {line}\n" for line in header.splitlines()) + to_toml(run)
    if printable(text) != text:  # TOML escapes control characters: only this is left
        raise InputError(
            f"{path} cannot be written: a text in it holds half a character (a lone surrogate)",
            hint="correct that text; run files are UTF-8",
            code="WRITE_REFUSED",
        )
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder", hint="give a file name", code="RUNFILE_EXISTS")
        if path.exists() and not overwrite:
            raise InputError(
                f"{path} exists and is not overwritten",
                hint="choose another name, or --force to replace it",
                code="RUNFILE_EXISTS",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # as any new file; mkstemp makes it private
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="choose a folder you may write to",
            code="WRITE_REFUSED",
        ) from error


def _umask() -> int:
    """The process's umask; the only way to read it is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _put(raw: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set a dotted key. Keys below [data.columns] and [provenance] may be any name."""
    *parents, last = key.split(".")
    table = raw
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                str(path),
                (Problem(INVALID, key, f"{shown(key)}: {shown(parent)} is a value, not a table"),),
            )
        table = inner
    table[last] = value


def _remove(raw: dict[str, Any], key: str) -> None:
    *parents, last = key.split(".")
    table: Any = raw
    for parent in parents:
        table = table.get(parent, {})
    table.pop(last, None)

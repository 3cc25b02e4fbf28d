"""Reading, changing and writing run files: every problem at once, atomic writes.

Precedence: `--set section.key=value` over the environment
(`BACKPROP_TUI__SECTION__KEY`) over the file over the defaults. What won is recorded.
"""

from __future__ import annotations

import difflib
import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile, Section

INVALID = "CONFIG_INVALID_SETTING"
ENV_PREFIX = "BACKPROP_TUI__"


def read(
    path: Path, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[RunFile, dict[str, str]]:
    """The run file with overrides applied, and {key: where it was overridden}.

    Raises InputError when the file cannot be read, ConfigError with every problem otherwise.
    """
    raw = _read_toml(path)
    overrides: dict[str, str] = {}
    for name, text in sorted((os.environ if env is None else env).items()):
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            _put(raw, key, parse_value(text), path)
            overrides[key] = f"environment {name}"
    for item in sets:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            raise InputError(
                f"--set {item}: expected section.key=value",
                hint="for example --set training.learning_rate=1e-6",
                code=INVALID,
            )
        _put(raw, key.strip(), parse_value(text), path)
        overrides[key.strip()] = "--set"
    if "method" in overrides:
        # Another method was asked for: the file's table for the old one has no meaning now.
        for name in METHOD_SECTIONS:
            if name != raw["method"] and not any(k.startswith(f"{name}.") for k in overrides):
                raw.pop(name, None)
    return parse(raw, str(path)), overrides


def parse(raw: Mapping[str, Any], path: str = "run file") -> RunFile:
    """A RunFile from TOML values; raises ConfigError naming every problem."""
    problems: list[Problem] = []
    run: RunFile | None = None
    try:
        run = RunFile.model_validate(dict(raw))
    except ValidationError as error:
        problems = [_problem(raw, dict(item)) for item in error.errors()]
    method = raw.get("method", "orpo")
    for name in METHOD_SECTIONS:
        if name in raw and name != method:
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
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="give a file name", code="RUNFILE_EXISTS")
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists and is not overwritten",
            hint="choose another name, or --force to replace it",
            code="RUNFILE_EXISTS",
        )
    text = "".join(f"# {line}\n" for line in header.splitlines()) + to_toml(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
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


def parse_value(text: str) -> Any:
    """A --set or environment value: TOML if it is TOML, else the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def valid_keys() -> tuple[str, ...]:
    """Every key a run file may hold, dotted."""
    keys: list[str] = []
    for name, info in RunFile.model_fields.items():
        key = info.alias or name
        section = _section_type(info.annotation)
        keys += [f"{key}.{inner}" for inner in section.model_fields] if section else [key]
    return tuple(keys)


def help_for(key: str) -> str:
    """The description of a dotted key, "" when there is none."""
    section, _, name = key.rpartition(".")
    if not section:
        info = RunFile.model_fields.get(name)
    else:
        parent = _section_type(RunFile.model_fields[section].annotation)
        info = parent.model_fields.get(name) if parent else None
    return (info.description or "") if info else ""


def _section_type(annotation: Any) -> type[Section] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _names_in(path.parent), n=3)
        raise InputError(
            f"{path}: no such file",
            hint=f"did you mean {', '.join(near)}?" if near else "backprop-tui init writes one",
            code="RUNFILE_NOT_FOUND",
        ) from None
    except IsADirectoryError:
        inner = path / "run.toml"
        raise InputError(
            f"{path} is a folder, not a run file",
            hint=f"did you mean {inner}?" if inner.exists() else "give the .toml file",
            code="RUNFILE_NOT_FOUND",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}", code="RUNFILE_NOT_TOML") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", code="RUNFILE_NOT_FOUND"
        ) from None


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _put(raw: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set a dotted key. Keys below [data.columns] and [provenance] may be any name."""
    *parents, last = key.split(".")
    table = raw
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                str(path), (Problem(INVALID, key, f"{key}: {parent} is a value, not a table"),)
            )
        table = inner
    table[last] = value


def _remove(raw: dict[str, Any], key: str) -> None:
    *parents, last = key.split(".")
    table: Any = raw
    for parent in parents:
        table = table.get(parent, {})
    table.pop(last, None)


def _problem(raw: Mapping[str, Any], item: dict[str, Any]) -> Problem:
    """One pydantic error as key, value, what is allowed, and the nearest valid key."""
    # A union member's tag ("list[str]") is not part of the key a person wrote.
    location = [str(part) for part in item["loc"]]
    key = ".".join(part for part in location if not any(sign in part for sign in "[]-("))
    value, kind, context = item.get("input"), item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, valid_keys(), n=1, cutoff=0.5)
        section = key.rpartition(".")[0]
        allowed = [name for name in valid_keys() if name.rpartition(".")[0] == section]
        fix = f"did you mean {near[0]}?" if near else f"allowed here: {', '.join(allowed)}"
        return Problem(INVALID, key, f"{key} = {value!r}: no such key", fix=fix)
    source = next(
        (
            knob.source
            for method in METHODS.values()
            for knob in method.knobs
            if key == f"{method.name}.{knob.name}"
        ),
        "",
    )
    return Problem(
        INVALID,
        key,
        f"{key} = {value!r}: must be {_allowed(kind, context, item['msg'])}",
        fix=help_for(key) if key in valid_keys() else "",
        source=source,
    )


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    """What pydantic wanted, in words."""
    match kind:
        case "greater_than":
            return f"a number above {context['gt']:g}"
        case "greater_than_equal":
            return f"{context['ge']:g} or more"
        case "less_than":
            return f"a number below {context['lt']:g}"
        case "less_than_equal":
            return f"{context['le']:g} or less"
        case "finite_number":
            return "a finite number (not nan, not inf)"
        case "literal_error":
            return f"one of {context['expected']}"
        case "int_type" | "int_from_float":
            return "a whole number"
        case "float_type":
            return "a number"
        case "bool_type":
            return "true or false"
        case "string_type":
            return "text in quotes"
        case "list_type":
            return "a list"
        case "dict_type" | "model_type":
            return "a table of key = value lines"
        case _:
            return message[:1].lower() + message[1:]

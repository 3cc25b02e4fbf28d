"""Reading, changing and writing run files: every problem at once, atomic writes.

Precedence: `--set section.key=value` over the environment
(`BACKPROP_TUI__SECTION__KEY`) over the file over the defaults. What won is recorded.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from backprop_tui.core.errors import ConfigError, InputError, Problem
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import METHOD_SECTIONS, RunFile, Section

INVALID = "CONFIG_INVALID_SETTING"
ENV_PREFIX = "BACKPROP_TUI__"
# How pydantic names the member of a union that did not match.
UNION_MEMBER = re.compile(r"(literal|list)\[.*\]").fullmatch


def read(
    path: Path, sets: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[RunFile, dict[str, str]]:
    """The run file with overrides applied, and {key: where it was overridden}.

    Raises InputError when the file cannot be read, ConfigError with every problem otherwise.
    """
    raw = _read_toml(path)
    overrides: dict[str, str] = {}
    try:
        _override(raw, overrides, path, sets, os.environ if env is None else env)
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
                f"--set {item}: expected section.key=value",
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
            by_key.setdefault(_key(item["loc"]), []).append(dict(item))
        problems = [_problem(raw, key, items) for key, items in by_key.items()]
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


def parse_value(text: str) -> Any:
    """A --set or environment value: TOML if it is TOML, else the text itself."""
    try:
        found = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["v"] if len(found) == 1 else text


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
    fields = _fields(section)
    return (fields[name].description or "") if name in fields else ""


def _fields(section: str) -> dict[str, FieldInfo]:
    """The fields of a section ("" is the top of the file) by the name they have in TOML."""
    top = {info.alias or name: info for name, info in RunFile.model_fields.items()}
    if not section:
        return top
    inner = _section_type(top[section].annotation) if section in top else None
    return dict(inner.model_fields) if inner else {}


def _section_type(annotation: Any) -> type[Section] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
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


def _key(location: Sequence[str | int]) -> str:
    """Pydantic's location as the key a person wrote: without union members and list places."""
    parts = takewhile(lambda part: isinstance(part, str) and not UNION_MEMBER(part), location)
    return ".".join(str(part) for part in parts)


def _problem(raw: Mapping[str, Any], key: str, items: Sequence[Mapping[str, Any]]) -> Problem:
    """The pydantic errors of one key as one problem: key, value and what is allowed."""
    value = items[0].get("input")
    if items[0]["type"] == "extra_forbidden":
        return _unknown(raw, key, value)
    source = next(
        (
            knob.source
            for method in METHODS.values()
            for knob in method.knobs
            if key == f"{method.name}.{knob.name}"
        ),
        "",
    )
    # An error inside a list has a place in it; what is wrong with an entry is said of the list.
    kinds = ["list_type" if isinstance(item["loc"][-1], int) else item["type"] for item in items]
    allowed = dict.fromkeys(  # each once, in order
        _allowed(kind, item.get("ctx", {}), item["msg"])
        for kind, item in zip(kinds, items, strict=True)
    )
    return Problem(
        INVALID,
        key,
        f"{key} = {value!r}: must be {' or '.join(allowed)}",
        fix=help_for(key) if key in valid_keys() else "",
        source=source,
    )


def _unknown(raw: Mapping[str, Any], key: str, value: Any) -> Problem:
    """A key or table that does not exist, with the nearest that does."""
    section, _, name = key.rpartition(".")
    other = {method for method in METHOD_SECTIONS if method != raw.get("method", "orpo")}
    sections = [
        table for table in _fields("") if _fields(table) and table not in other | {"provenance"}
    ]
    if not section and isinstance(value, dict):
        near = difflib.get_close_matches(name, sections, n=1)
        allowed = [f"[{table}]" for table in sections]
        found = f"[{near[0]}]" if near else ""
        message = f"[{key}]: no such table"
    else:
        allowed = [full for full in valid_keys() if full.rpartition(".")[0] == section]
        near = difflib.get_close_matches(name, [full.rpartition(".")[2] for full in allowed], n=1)
        elsewhere = [f"{table}.{name}" for table in sections if name in _fields(table)]
        found = ".".join(filter(None, (section, near[0]))) if near else "".join(elsewhere[:1])
        message = f"{key} = {value!r}: no such key"
    fix = f"did you mean {found}?" if found else f"allowed here: {', '.join(allowed)}"
    return Problem(INVALID, key, message, fix=fix)


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    """What pydantic wanted, in words."""
    match kind:
        case "greater_than":
            return f"a number above {context['gt']:.12g}"
        case "greater_than_equal":
            return f"{context['ge']:.12g} or more"
        case "less_than":
            return f"a number below {context['lt']:.12g}"
        case "less_than_equal":
            return f"{context['le']:.12g} or less"
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
        case "list_type" | "too_short":
            return "a list of names in quotes"
        case "dict_type" | "model_type":
            return "a table of key = value lines"
        case _:
            return message[:1].lower() + message[1:]

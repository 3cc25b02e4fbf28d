"""The keys a run file may hold, and what each is for. The RunFile model is the only list."""

from __future__ import annotations

from typing import Any, get_args

from pydantic.fields import FieldInfo

from backprop_tui.core.runfile import RunFile, Section


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
    fields = fields_of(section)
    return (fields[name].description or "") if name in fields else ""


def fields_of(section: str) -> dict[str, FieldInfo]:
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

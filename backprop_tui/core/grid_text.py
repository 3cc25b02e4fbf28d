"""`--grid key=value,value` as typed: a key of the run file and its values."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.runfile_problems import INVALID, shown
from backprop_tui.core.runfile_toml import parse_value

Axis = tuple[str, tuple[Any, ...]]


def axes_of(grid: Sequence[str]) -> list[Axis]:
    """Each key once, with its values as TOML reads them (a word without quotes is text).

    Raises InputError for what is not key=value, a value given twice, or a key given twice.
    """
    found: list[Axis] = []
    for item in grid:
        key, sign, text = item.partition("=")
        key, values = key.strip(), _values(text)
        if not sign or not key or not values:
            raise _refused(item, "expected section.key=value,value")
        if key in dict(found):
            raise _refused(item, f"{shown(key)} is given twice")
        if any(value in values[:place] for place, value in enumerate(values)):
            raise _refused(item, "a value is given twice")
        found.append((key, values))
    return found


def _values(text: str) -> tuple[Any, ...]:
    """2,2.5 or orpo,simpo or [["q_proj"], ["q_proj", "v_proj"]], the last in TOML's brackets."""
    if text.strip().startswith("["):
        found = parse_value(text)
        return tuple(found) if isinstance(found, list) else ()
    try:
        return tuple(tomllib.loads(f"v = [{text}]")["v"])
    except (ValueError, RecursionError):
        return tuple(parse_value(part.strip()) for part in text.split(",") if part.strip())


def _refused(item: str, why: str) -> InputError:
    return InputError(
        f"--grid {shown(item)}: {why}",
        hint="for example --grid simpo.beta=2,2.5 --grid lora.rank=8,16",
        code=INVALID,
    )

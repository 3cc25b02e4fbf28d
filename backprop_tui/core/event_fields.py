"""What a line of JSON may say about a field: only what the event declares, so that whoever shows
an event can believe its types."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from backprop_tui.core.printable import printable

LARGEST = 1 << 63  # of a whole number; bytes and counts stay far below, and floats can hold it

Check = Callable[[Any], Any]  # the value as it is declared; ValueError when it is another


def checks(kind: type) -> dict[str, Check]:
    """A check for each field of a dataclass, from its annotation."""
    return {
        item.name: _finite if item.name == "t" else CHECKS[str(item.type)] for item in fields(kind)
    }


def checked(plain: dict[str, Any], known: dict[str, Check]) -> dict[str, Any]:
    """The fields that are known, each of its type. Raises ValueError, or OverflowError."""
    return {key: known[key](value) for key, value in plain.items() if key in known}


def _number(value: Any) -> float:
    """A float. null is what to_line makes of one that is not finite."""
    if type(value) is float:
        return value if math.isfinite(value) else math.nan
    if value is None:
        return math.nan
    return float(_whole(value))


def _number_or_none(value: Any) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    return None if value is None else float(_whole(value))


def _finite(value: Any) -> float:
    if not math.isfinite(found := _number(value)):
        raise ValueError("no time")
    return found


def _whole(value: Any) -> int:
    if type(value) is not int or not -LARGEST <= value < LARGEST:  # a bool is no number
        raise ValueError("no whole number")
    return value


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _text(value: Any) -> str:
    """Text without what a terminal obeys, or cannot be sent: whoever wrote the file."""
    if type(value) is not str:
        raise ValueError("no text")
    return value if value.isprintable() else printable(value)


def _yes_or_no(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def _table(cell: Check) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise ValueError("no table")
        return {_text(key): cell(inner) for key, inner in value.items()}

    return check


CHECKS: dict[str, Check] = {
    "float": _number,
    "float | None": _number_or_none,
    "int": _whole,
    "int | None": _whole_or_none,
    "str": _text,
    "bool": _yes_or_no,
    "dict[str, int]": _table(_whole),
    "dict[str, str]": _table(_text),
}

"""What pydantic found wrong with a run file, as problems a person can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from backprop_tui.core.errors import Problem
from backprop_tui.core.methods import METHODS
from backprop_tui.core.printable import printable
from backprop_tui.core.runfile import METHOD_SECTIONS
from backprop_tui.core.runfile_keys import fields_of, help_for, valid_keys

INVALID = "CONFIG_INVALID_SETTING"
LONGEST = 200  # characters of a key or a value that a message repeats
LIKE_A_KEY = 60  # characters; a longer name is no misspelt key
# How pydantic names the member of a union that did not match.
UNION_MEMBER = re.compile(r"(literal|list)\[.*\]").fullmatch


def key_of(location: Sequence[str | int]) -> str:
    """Pydantic's location as the key a person wrote: without union members and list places."""
    parts = takewhile(lambda part: isinstance(part, str) and not UNION_MEMBER(part), location)
    return ".".join(str(part) for part in parts)


def problem_of(raw: Mapping[str, Any], key: str, items: Sequence[Mapping[str, Any]]) -> Problem:
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
        f"{shown(key)} = {value_shown(value)}: must be {' or '.join(allowed)}",
        fix=help_for(key) if key in valid_keys() else "",
        source=source,
    )


def shown(text: str) -> str:
    """A key as a message repeats it: not too long, and nothing that a terminal obeys."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def value_shown(value: Any) -> str:
    """A value as a message repeats it, whatever it is."""
    try:
        return shown(repr(value))
    except RecursionError:
        return "a value nested too deeply"
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number with too many digits"


def _unknown(raw: Mapping[str, Any], key: str, value: Any) -> Problem:
    """A key or table that does not exist, with the nearest that does."""
    section, _, name = key.rpartition(".")
    similar = name[:LIKE_A_KEY]  # to look for a name takes time with the square of its length
    other = {method for method in METHOD_SECTIONS if method != raw.get("method", "orpo")}
    sections = [
        table for table in fields_of("") if fields_of(table) and table not in other | {"provenance"}
    ]
    if not section and isinstance(value, dict):
        near = difflib.get_close_matches(similar, sections, n=1)
        allowed = [f"[{table}]" for table in sections]
        found = f"[{near[0]}]" if near else ""
        message = f"[{shown(key)}]: no such table"
    else:
        allowed = [full for full in valid_keys() if full.rpartition(".")[0] == section]
        names = [full.rpartition(".")[2] for full in allowed]
        near = difflib.get_close_matches(similar, names, n=1)
        elsewhere = [f"{table}.{name}" for table in sections if name in fields_of(table)]
        found = ".".join(filter(None, (section, near[0]))) if near else "".join(elsewhere[:1])
        message = f"{shown(key)} = {value_shown(value)}: no such key"
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

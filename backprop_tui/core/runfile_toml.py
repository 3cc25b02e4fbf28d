"""TOML as people write it: a whole run file, or the value of one key."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.runfile_problems import shown
from backprop_tui.core.text import size

LARGEST = 1 << 20  # bytes of a run file
# A key of so many parts is none of ours, and to read one takes time with the square of them.
DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")


def parse_value(text: str) -> Any:
    """A --set or environment value: TOML if it is TOML, else the text itself."""
    try:
        found = tomllib.loads(f"v = {text}")
    except (ValueError, RecursionError):  # too many digits, or too deep, is not TOML either
        return text
    return found["v"] if len(found) == 1 else text


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a file. InputError: RUNFILE_NOT_FOUND, RUNFILE_NOT_TOML."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise _not_toml(path, f"it is larger than {size(LARGEST)}")
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        if DEEP.search(text):
            raise _not_toml(path, "a key in it has more than 32 parts")
        return tomllib.loads(text)
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
        raise _not_toml(path, shown(str(error))) from None
    except (RecursionError, ValueError) as error:  # it reads no number of over 4300 digits
        deep = isinstance(error, RecursionError)
        why = "it is nested too deeply" if deep else "a number has too many digits"
        raise _not_toml(path, why) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", code="RUNFILE_NOT_FOUND"
        ) from None


def _not_toml(path: Path, why: str) -> InputError:
    return InputError(f"{path}: not valid TOML: {why}", code="RUNFILE_NOT_TOML")


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []

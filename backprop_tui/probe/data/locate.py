"""Which file, or which hub data set, a name means; and what to say when it means none."""

from __future__ import annotations

import re
from pathlib import Path

from backprop_tui.core.errors import InputError

POCKET = "pocket"
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def bundled(name: str, method: str | None) -> Path | None:
    """The file behind "pocket": feedback (unpaired) for kto, pairs for the rest."""
    if name != POCKET:
        return None
    demo = Path(__file__).parents[2] / "demo"
    return demo / ("feedback.jsonl" if method == "kto" else "pairs.jsonl")


def find(name: str) -> Path | None:
    """The file of this name, or None when it can only be a hub id. Raises InputError."""
    try:
        path = Path(name).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except PermissionError:
        raise InputError(
            f"{name}: cannot be read (its folder gives no permission)",
            code="DATA_UNREADABLE",
            hint="check the folder's permissions",
        ) from None
    except (OSError, RuntimeError) as error:  # a name too long, a user without a home
        raise InputError(f"{name}: no such file ({error})", code="DATA_NOT_FOUND") from None
    if not name.strip():
        raise InputError(
            "no data set was named", code="DATA_NOT_FOUND", hint=f'give a file, or "{POCKET}"'
        )
    if is_folder:
        files = sorted(entry.name for entry in _entries(path) if entry.suffix.lower() in SUFFIXES)
        raise InputError(
            f"{name}: a folder, not a file",
            code="DATA_IS_FOLDER",
            hint=f"name one of the files in it: {_some(files)}"
            if files
            else "it holds no .jsonl, .json, .csv or .parquet file",
        )
    if exists:
        return path
    owner = path.parent
    if _HUB_ID.fullmatch(name) and path.suffix.lower() not in SUFFIXES and not owner.exists():
        return None
    raise InputError(f"{name}: no such file", code="DATA_NOT_FOUND", hint=_nearest(path))


def _nearest(path: Path) -> str:
    from difflib import get_close_matches

    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name for entry in _entries(folder))
    close = get_close_matches(path.name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(str(folder / name) for name in close)}?"
    files = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    if files:
        return f"data files in {folder}: {_some(files)}"
    return f'there is no data file in {folder}; "{POCKET}" names the bundled data set'


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # no permission to list: then there is nothing to offer
        return []


def _some(names: list[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more:,} more" if more > 0 else "")

"""Which files, or which hub data set, a name means; and what to say when it means none."""

from __future__ import annotations

import glob
import re
from pathlib import Path

import backprop_tui
from backprop_tui.core.errors import InputError

from .folder import Chosen, check_parts, choose, inside, is_data, some
from .formats import SUFFIXES, suffix_of

POCKET = "pocket"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def bundled(name: str, method: str | None) -> Path | None:
    """The file behind "pocket": feedback (unpaired) for kto, pairs for the rest."""
    if name != POCKET:
        return None
    demo = Path(backprop_tui.__file__).parent / "demo"
    return demo / ("feedback.jsonl" if method == "kto" else "pairs.jsonl")


def find(name: str, split: str | None = None, config: str | None = None) -> Chosen | None:
    """The files of this name, or None when it can only be a hub id. Raises InputError."""
    try:
        path = Path(name).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except PermissionError:
        raise InputError(
            f"{name}: cannot be read (its folder gives no permission)",
            code="DATA_UNREADABLE",
            hint="check the folder's permissions",
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        # A name too long, a user without a home, a NUL in it.
        raise InputError(f"{name}: no such file ({error})", code="DATA_NOT_FOUND") from None
    if not name.strip():
        raise InputError(
            "no data set was named", code="DATA_NOT_FOUND", hint=f'give a file, or "{POCKET}"'
        )
    if is_folder:
        chosen = choose(name, path, inside(name, path, config), split)
        check_parts(name, chosen.files)
        return chosen
    if exists:
        return Chosen(files=(path,), root=path)
    if any(sign in path.name for sign in "*?["):
        return _matching(name, path, split)
    owner = path.parent
    if _HUB_ID.fullmatch(name) and suffix_of(path) not in SUFFIXES and not owner.exists():
        return None
    raise InputError(f"{name}: no such file", code="DATA_NOT_FOUND", hint=_nearest(path))


def _matching(name: str, path: Path, split: str | None) -> Chosen:
    """The files a pattern matches; those of other splits are left out, as in a folder."""
    found = [Path(entry) for entry in sorted(glob.glob(str(path)))]
    files = [entry for entry in found if is_data(entry)]
    if not files:
        raise InputError(
            f"{name}: no data file matches",
            code="DATA_NOT_FOUND",
            hint=f"it matches {some([entry.name for entry in found])}" if found else _nearest(path),
        )
    return choose(name, path.parent, files, split)


def _nearest(path: Path) -> str:
    from difflib import get_close_matches

    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:  # no permission to list: then there is nothing to offer
        names = []
    close = get_close_matches(path.name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(str(folder / name) for name in close)}?"
    files = [name for name in names if suffix_of(Path(name)) in SUFFIXES]
    if files:
        return f"data files in {folder}: {some(files)}"
    return f'there is no data file in {folder}; "{POCKET}" names the bundled data set'

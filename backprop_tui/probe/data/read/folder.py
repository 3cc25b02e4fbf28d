"""Which files of a folder are the data set, and which belong to another split.

A folder is read as the hub reads one: where its files are named after splits, one split is
taken, "train" unless another is asked for. Nothing is mixed by guess: what cannot be told
apart is refused with the list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backprop_tui.core.errors import InputError
from backprop_tui.core.text import plural

from .formats import SUFFIXES, suffix_of

# Files that say something about a data set and hold no rows.
METADATA = {
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json",
    "metadata.json",
}  # fmt: skip

# A part of a file's name -> the split it names, as the hub reads names.
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "heldout": "test",
}
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The files to read, in order; those beside them that are not read; the folder or file."""

    files: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()
    root: Path


def is_data(path: Path) -> bool:
    """Whether a file of a folder may hold rows."""
    return (
        suffix_of(path) in SUFFIXES
        and path.name not in METADATA
        and not path.name.startswith((".", "_"))
        and not path.is_dir()
    )


def inside(name: str, folder: Path, config: str | None) -> list[Path]:
    """The data files of a folder; where it has none, those of the folders in it, as hub data
    sets are laid out (data/train-00000-of-00001.parquet). config: of that folder only."""
    if config is not None:
        if not (folder / config).is_dir():
            raise InputError(
                f"{name}: there is no folder {config!r} in it (data.config)",
                code="DATA_CONFIG",
                hint=f"there are: {some([each.name for each in _folders(name, folder)])}",
            )
        folder = folder / config
    files = _files(name, folder)
    if files:
        return files
    below = {each: _files(name, each) for each in _folders(name, folder)}
    below = {each: found for each, found in below.items() if found}
    if not below:
        raise InputError(
            f"{name}: a folder without a data file",
            code="DATA_IS_FOLDER",
            hint=_no_data(folder),
        )
    if len(below) > 1 and any(each.name.lower() not in SPLITS for each in below):
        raise InputError(
            f"{name}: a folder of several folders with data",
            code="DATA_IS_FOLDER",
            hint=f"name one of them: {some([str(each) for each in below])}",
        )
    return [path for found in below.values() for path in found]


def choose(name: str, folder: Path, files: Sequence[Path], split: str | None) -> Chosen:
    """The files of one split, or all where no file names one. Raises InputError when unsure."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(_split_of(path, folder), []).append(path)
    named = [each for each in groups if each]
    if split is None and (not named or len(groups) == 1):
        return Chosen(files=tuple(files), root=folder)
    wanted = _wanted(named, split)
    if wanted is None or (split is None and "" in groups):
        said = ", ".join(
            f"{each or 'no split named'} ({plural(len(found), 'file')}: "
            f"{some([path.name for path in found], 2)})"
            for each, found in groups.items()
        )
        asked = f"no split {split!r}" if split else "more than one split, or none that is 'train'"
        raise InputError(
            f"{name}: {asked} among its files",
            code="DATA_SPLIT",
            hint=f"there are: {said}. Set data.split to one of them, or name the files",
        )
    others = [path for each, found in groups.items() if each != wanted for path in found]
    return Chosen(files=tuple(groups[wanted]), left_out=tuple(others), root=folder)


def check_parts(name: str, files: Sequence[Path]) -> None:
    """Refuse a folder that lacks some of the parts its file names speak of."""
    parts: dict[tuple[str, int], int] = {}
    for path in files:
        if shard := _SHARD.fullmatch(_stem(path)):
            key = shard[1], int(shard[2])
            parts[key] = parts.get(key, 0) + 1
    for (stem, wanted), found in parts.items():
        if found < wanted:
            raise InputError(
                f"{name}: {found:,} of the {wanted:,} parts of {stem} are there",
                code="DATA_UNREADABLE",
                hint="download the others, or name the files that are there by a pattern",
            )


def _wanted(named: list[str], split: str | None) -> str | None:
    """The one split that is meant, or None."""
    if (split or "train") in named:
        return split or "train"
    kind = SPLITS.get((split or "train").lower())
    alike = [each for each in named if kind and _kind(each) == kind]
    return alike[0] if len(alike) == 1 else None


def _split_of(path: Path, folder: Path) -> str:
    """The split a file's name, or the folder it is in, names; "" for none.

    "train_prefs-00000-of-00001" is the split train_prefs: the hub writes a split's name there.
    """
    stem = _stem(path)
    if shard := _SHARD.fullmatch(stem):
        return shard[1]
    if path.parent != folder and path.parent.name.lower() in SPLITS:
        return SPLITS[path.parent.name.lower()]
    return _kind(stem)


def _stem(path: Path) -> str:
    return path.name[: path.name.lower().rfind(suffix_of(path))]


def _kind(name: str) -> str:
    parts = {SPLITS[part] for part in re.split(r"[\W_]+", name.lower()) if part in SPLITS}
    return parts.pop() if len(parts) == 1 else ""


def _files(name: str, folder: Path) -> list[Path]:
    return sorted(path for path in _entries(name, folder) if is_data(path))


def _folders(name: str, folder: Path) -> list[Path]:
    found = [each for each in _entries(name, folder) if not each.name.startswith(".")]
    return sorted(each for each in found if each.is_dir())


def _entries(name: str, folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{name}: {folder} cannot be read ({error.strerror})",
            code="DATA_UNREADABLE",
            hint="check the folder's permissions",
        ) from None


def _no_data(folder: Path) -> str:
    arrow = any(folder.glob("*.arrow")) or any(folder.glob("*/*.arrow"))
    if arrow:
        return (
            "it was written by save_to_disk: write it as Parquet with "
            "datasets.load_from_disk(...).to_parquet(...)"
        )
    return "there is no .jsonl, .json, .csv, .tsv or .parquet file in it, gzipped or not"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")

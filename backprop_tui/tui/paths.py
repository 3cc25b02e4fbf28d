"""Completing paths as a shell does: what a text could become. Pure but for listing a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATA_SUFFIXES = tuple(
    suffix + packed
    for suffix in (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
    for packed in ("", ".gz")
)
MOST = 200  # names offered at once; a longer folder wants another letter

Place = Literal["here", "hub", "nowhere"]
Wanted = Callable[[os.DirEntry[str]], bool]


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing the text could become. note: its size, or what it is."""

    text: str
    note: str = ""
    is_folder: bool = False


def is_data(entry: os.DirEntry[str]) -> bool:
    """A file that can be read as data."""
    return entry.name.lower().endswith(DATA_SUFFIXES) and entry.is_file()


def is_folder(name: str) -> bool:
    """Whether a text names a folder; no error for one that cannot be looked at."""
    return os.path.isdir(os.path.expanduser(name))


def is_model(entry: os.DirEntry[str]) -> bool:
    """Folders are offered anyway; no single file is a model."""
    return False


def offers(text: str, wanted: Wanted) -> tuple[Offer, ...]:
    """Folders and wanted files that begin with the text; hidden ones only when asked for."""
    head, tail = os.path.split(text)
    folder = Path(head or ".").expanduser()
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") and not tail.startswith("."):
                    continue
                if not entry.name.startswith(tail):
                    continue
                if entry.is_dir():
                    found.append(Offer(os.path.join(head, entry.name) + os.sep, "", True))
                elif wanted(entry):
                    found.append(Offer(os.path.join(head, entry.name), _size(entry)))
    except OSError:  # no such folder, or not ours to list: nothing to offer
        return ()
    return tuple(sorted(found, key=lambda offer: (offer.is_folder, offer.text))[:MOST])


def place(text: str, known: Collection[str] = ()) -> Place:
    """Where a name is to be looked for, told from its form. known: names that need no asking."""
    if text == "pocket" or text in known or os.path.exists(os.path.expanduser(text)):
        return "here"
    if text.startswith((".", "/", "~")) or text.endswith("/"):
        return "here"  # a path by its look: the reading says what is missing
    return "hub" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else "nowhere"


def completed(text: str, found: Iterable[Offer]) -> str:
    """The text grown as far as all offers agree; unchanged when they do not."""
    # Letter by letter is what is wanted here; commonpath would only grow by whole folders.
    names = [offer.text for offer in found if offer.text.startswith(text)]
    grown = os.path.commonprefix(names)  # noqa: RUF071
    return grown if len(grown) > len(text) else text


def _size(entry: os.DirEntry[str]) -> str:
    from backprop_tui.core.text import size

    try:
        return size(entry.stat().st_size)
    except OSError:  # gone since it was listed
        return ""

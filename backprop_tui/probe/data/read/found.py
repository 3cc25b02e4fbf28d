"""The files, or the hub data set, that a source means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError

from .files import DataFile
from .folder import Chosen
from .formats import examine
from .locate import bundled, find
from .source import DataSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files a source means. path: what the user named, resolved."""

    name: str
    path: str
    files: tuple[DataFile, ...]
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def format(self) -> str:
        return " + ".join(dict.fromkeys(file.format for file in self.files))

    @property
    def text_cells(self) -> bool:
        """Whether a label may only be there as text, as in CSV."""
        return any(file.format in ("csv", "tsv") for file in self.files)

    def names(self) -> tuple[str, ...]:
        """What each file is called where there are several; () for one."""
        return tuple(file.name for file in self.files) if len(self.files) > 1 else ()

    def paths(self) -> tuple[str, ...]:
        """All files; () for the one that the user named."""
        paths = tuple(str(file.path.resolve()) for file in self.files)
        return () if paths == (self.path,) else paths


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRows:
    """One split of a hub data set, as rows that are read when they are asked for."""

    name: str
    rows: Sequence[dict[str, Any]]
    text_cells: bool = False


def look_up(source: DataSource) -> Found | HubRows:
    """The files the source means, examined, or the hub data set. Raises InputError."""
    chosen = [_chosen(name, source) for name in (source.path, *source.more)]
    files = [each for each in chosen if each is not None]
    if len(files) < len(chosen):
        if len(chosen) == 1:
            from .hub import read_hub

            rows = read_hub(source.path, source.config, source.split, source.revision)
            return HubRows(name=source.path, rows=rows)
        name = next(
            name
            for name, each in zip((source.path, *source.more), chosen, strict=True)
            if each is None
        )
        raise InputError(
            f"{name}: no such file; data sets of the hub are read one at a time",
            code="DATA_NOT_FOUND",
            hint="download their files and name those",
        )
    paths = [path for each in files for path in each.files]
    names = [source.path] if len(paths) == 1 else _short_names(paths)
    return Found(
        name=source.path,
        path=str(files[0].root.resolve()),
        files=tuple(_examined(paths, names)),
        left_out=tuple(str(path.resolve()) for each in files for path in each.left_out),
    )


def _examined(paths: Sequence[Path], names: Sequence[str]) -> list[DataFile]:
    """The files, less those of several that are empty: a writer of parts leaves such."""
    files = []
    for path, name in zip(paths, names, strict=True):
        try:
            files.append(examine(path, name))
        except InputError as error:
            if error.code != "DATA_EMPTY" or len(paths) == 1:
                raise
    if not files:
        raise empty(names[0])
    return files


def _chosen(name: str, source: DataSource) -> Chosen | None:
    path = bundled(name, source.method)
    return Chosen(files=(path,), root=path) if path else find(name, source.split, source.config)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many parts as tell them all apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def empty(name: str) -> InputError:
    return InputError(
        f"{name}: there are no rows in it",
        code="DATA_EMPTY",
        hint="the file may not have been written completely",
    )

"""The files of a model, wherever they lie: names, sizes, and their first bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from backprop_tui.core.errors import InputError


class ModelFiles(Protocol):
    """A folder or a hub repository. Only files at its top level count."""

    where: str  # as shown in messages: the folder's path, or the hub id
    sizes: Mapping[str, int | None]  # file name to bytes; None when the hub does not say

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The first `limit` bytes of a file, or all of it. Raises InputError."""


class FolderFiles:
    """A model folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder
        try:
            # Links are followed: the hub's cache is made of them. A dangling one is no file.
            entries = [entry for entry in os.scandir(folder) if entry.is_file()]
            self.sizes: Mapping[str, int | None] = {e.name: e.stat().st_size for e in entries}
        except OSError as error:
            raise unreadable(self.where, error) from error

    def read(self, name: str, limit: int | None = None) -> bytes:
        try:
            with open(self._folder / name, "rb") as file:
                return file.read(-1 if limit is None else limit)
        except OSError as error:
            raise unreadable(f"{self.where}/{name}", error) from error


def unreadable(what: str, error: OSError) -> InputError:
    return InputError(
        f"{what} cannot be read: {error.strerror or error}.",
        hint="Check its permissions, or choose another model.",
        code="MODEL_UNREADABLE",
    )


def read_object(files: ModelFiles, name: str, code: str) -> dict[str, Any]:
    """A JSON object from a file of the model; InputError with `code` when it is anything else."""
    try:
        value = json.loads(files.read(name))
    except (ValueError, RecursionError) as error:
        at = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(
            f"{files.where}: {name} is not valid JSON{at}.",
            hint="Download or save the model again.",
            code=code,
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{files.where}: {name} holds a {type(value).__name__}; a JSON object is needed.",
            hint="Download or save the model again.",
            code=code,
        )
    return value

"""Read a data set: its rows as they are trained, and the facts about it.

    loaded = load(DataSource(path="pairs.jsonl"))   # rows, and why others were dropped
    facts = describe(loaded)                        # counts and statistics

`datasets` is imported for hub ids only and pyarrow for Parquet only: both cost more than
reading a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.facts import DataFacts, Shape

from .clean import Loaded, clean
from .decision import Asked
from .locate import bundled
from .readers import read
from .sample import describe, with_tokens

__all__ = ["DataSource", "Loaded", "bundled", "describe", "load", "probe_data", "with_tokens"]


@dataclass(frozen=True)
class DataSource:
    """What to read, and how.

    path: a file, a folder, a hub id, or "pocket". more: further files, read after it.
    config, split, revision: of a hub data set. columns: our name -> the file's name.
    labels: what a text in the label column means. shape: read it as this shape, whatever it
    looks like. method: decides which bundled file "pocket" is.
    """

    path: str
    more: tuple[str, ...] = ()
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    columns: dict[str, str] | None = None
    labels: dict[str, bool] | None = None
    shape: Shape | None = None
    method: str | None = None


def load(source: DataSource) -> Loaded:
    """Every row that can be trained, in file order. Raises InputError for an unreadable file."""
    table = read(source.path, source.split, source.revision, source.method)
    asked = Asked(columns=source.columns, labels=source.labels, shape=source.shape)
    return clean(table, asked)


def probe_data(source: DataSource, *, seed: int = 0) -> DataFacts:
    """The facts about a data set. Raises InputError for one that cannot be read."""
    return describe(load(source), seed=seed)

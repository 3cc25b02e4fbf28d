"""Read a data set: its rows as they are trained, and the facts about it.

    loaded = load(DataSource(path="pairs.jsonl"))   # rows, and why others were dropped
    facts = describe(loaded)                        # counts and statistics

Of a data set too large to read in a moment, `glance` gives a sample and estimates at once, and
`scan` a sample and exact counts after a while; of any other both give what `load` gives. All
three settle the layout over the same rows, so they read every row alike.

`datasets` is imported for hub ids only and pyarrow for Parquet only: both cost more than
reading a file.
"""

from __future__ import annotations

from collections.abc import Callable

from backprop_tui.core.facts import DataFacts

from .clean import Loaded, clean
from .large.estimates import decide, estimated
from .large.look import Stratum, is_large, look_into
from .large.scanning import ScanStopped, counted
from .layouts.decision import Asked, Decision
from .read.found import Found, HubRows, look_up
from .read.locate import bundled
from .read.readers import read_all
from .read.source import DataSource
from .sample import describe, with_tokens

__all__ = [
    "DataSource",
    "Loaded",
    "ScanStopped",
    "bundled",
    "describe",
    "glance",
    "load",
    "probe_data",
    "scan",
    "with_tokens",
]


def load(source: DataSource) -> Loaded:
    """Every row that can be trained, in file order. Raises InputError for what cannot be read,
    or be held in memory."""
    data, _, how = _looked_up(source)
    return clean(read_all(data), _asked(source), how)


def glance(source: DataSource) -> Loaded:
    """What `load` gives, of a small data set; of a large one a sample and estimates, in about
    a second and in little memory. Raises InputError for what cannot be read."""
    data, strata, how = _looked_up(source)
    if how is None:
        return clean(read_all(data), _asked(source))
    return estimated(data, strata, how)


def scan(
    source: DataSource,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Loaded:
    """Exact counts of all rows, and a uniform sample of them, in bounded memory.

    progress: told the share that is done, from 0 to 1. stop: asked often; once it says True,
    ScanStopped is raised and nothing goes on. Raises InputError for what cannot be read.
    """
    told = progress or (lambda share: None)
    told(0.0)
    data, asked = look_up(source), _asked(source)
    loaded = None
    if is_large(data):
        loaded = counted(data, asked, told, stop or (lambda: False))
    if loaded is None:
        loaded = clean(read_all(data), asked)
    told(1.0)
    return loaded


def probe_data(source: DataSource, *, seed: int = 0) -> DataFacts:
    """The facts about a data set, at once. Raises InputError for one that cannot be read."""
    return describe(glance(source), seed=seed)


def _looked_up(
    source: DataSource,
) -> tuple[Found | HubRows, tuple[Stratum, ...], Decision | None]:
    """The data; and of a large data set what a look at part of it shows, and the decision.

    No decision: it is small, or no row that was looked at is an object; then all are read.
    """
    data = look_up(source)
    if not is_large(data):
        return data, (), None
    strata = look_into(data)
    return data, strata, decide(data, strata, _asked(source))


def _asked(source: DataSource) -> Asked:
    return Asked(columns=source.columns, labels=source.labels, shape=source.shape)

"""What to read, and how: one value that the run file, the wizard and the commands all make."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.facts import Shape


@dataclass(frozen=True)
class DataSource:
    """What to read, and how.

    path: a file, a folder, a pattern ("part-*.jsonl"), a hub id, or "pocket". more: further
    files, folders or patterns, read after it. config, revision: of a hub data set; a config
    also names a subfolder. split: of a hub data set, or of the files of a folder. columns: our
    name -> the file's name. labels: what a text in the label column means. shape: read it as
    this shape, whatever it looks like. method: decides which bundled file "pocket" is.
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

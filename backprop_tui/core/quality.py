"""What is wrong, or worth knowing, about a data set beyond its shape: the quality report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found. count of `of` rows looked at.

    code: stable, stands in docs/codes.md. text: one sentence with its figures.
    examples: the first few, as "row 12: ...". do: what to do about it.
    """

    code: str
    level: Literal["note", "warning", "problem"]
    count: int
    of: int
    text: str
    examples: tuple[str, ...] = ()
    do: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The report over a sample of the rows that can be trained.

    noise: share of scored pairs whose score says the opposite of the choice; None without
    scores. scripts: share of rows by the script most of their letters are in.
    """

    rows: int
    findings: tuple[Finding, ...] = ()
    noise: float | None = None
    scripts: dict[str, float] = field(default_factory=dict)

"""What is wrong, or worth knowing, about a data set beyond its shape: the quality report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["note", "warning", "problem"]

# Share of the rows looked at from which a finding is a warning; below, it is a note. The
# figures are our choice: the clean public files we read stay below them.
WARN_FROM = {
    "data-duplicates": 0.05,
    "data-near-duplicates": 0.10,
    "data-near-leak": 0.05,  # of the held-out prompts: fewer hardly move their mean
    "data-contradictions": 0.01,
    "data-cycles": 0.01,
    "data-label-noise": 0.10,
    "data-refusals": 0.05,
    "data-placeholders": 0.01,
    "data-short-answers": 0.20,
    "data-script-mismatch": 0.05,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found. count of `of` rows looked at.

    code: stable, stands in docs/codes.md. text: one sentence with its figures.
    examples: the first few, as "row 12: ...". do: what to do about it.
    """

    code: str
    level: Level
    count: int
    of: int
    text: str
    examples: tuple[str, ...] = ()
    do: str = ""
    source: str = ""

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The report over a sample of the rows that can be trained.

    noise: share of pairs whose scores say the opposite of the choice, among the pairs whose
    scores differ; None without scores. scripts: share of rows by the script most of their
    letters are in.
    """

    rows: int
    findings: tuple[Finding, ...] = ()
    noise: float | None = None
    scripts: dict[str, float] = field(default_factory=dict)

    def find(self, code: str) -> Finding | None:
        """The finding of this code, or None."""
        return next((finding for finding in self.findings if finding.code == code), None)


def level(code: str, count: int, of: int) -> Level:
    """A warning from the code's share on; findings without one are notes."""
    limit = WARN_FROM.get(code)
    return "warning" if limit is not None and count and count >= limit * of else "note"

"""A change of the run file that can be applied with one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of the run file that answers the advice, and how to say it in a few words."""

    label: str
    changes: tuple[tuple[str, Any], ...]

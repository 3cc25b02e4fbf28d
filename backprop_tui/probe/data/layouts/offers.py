"""What a data set looks like, and the changes to the run file that would make it usable."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.facts import Offer

from .cells import Record

QUESTIONS = ("prompt", "instruction", "question", "query", "input", "problem")
ONLY_NAMED = ("answers", "scores", "ranks", "first", "second", "winner")
TOLD = 2  # offers that the sentences spell out; the others are in the list of offers only


@dataclass(frozen=True, slots=True)
class Look:
    """What records look like, in a sentence, and ways to read them."""

    says: str
    offers: tuple[Offer, ...] = ()

    @property
    def advice(self) -> str:
        """The sentence, and how to take the first few offers in a run file."""
        offers = [offer for offer in self.offers if is_writable(offer)][:TOLD]
        taken = [f"{offer.text}: {as_toml(offer)}." for offer in offers]
        said = " ".join([self.says, *taken])
        return said.encode("utf-8", "replace").decode()  # a column may be named by half a letter


def offer(
    text: str,
    columns: dict[str, str] | None = None,
    labels: dict[str, bool] | None = None,
    shape: str | None = None,
) -> Offer:
    """An offer. A column under our name already is left out, unless it counts only once named."""
    columns = {
        ours: theirs
        for ours, theirs in (columns or {}).items()
        if ours != theirs or ours in ONLY_NAMED or len(columns or {}) == 1
    }
    keys = (("data.columns", columns), ("data.labels", labels), ("data.shape", shape))
    return Offer(text=text, changes=tuple((key, value) for key, value in keys if value))


def is_writable(offer: Offer) -> bool:
    """Whether its names can stand in a run file: half a surrogate pair cannot."""
    try:
        json.dumps([offer.text, offer.changes], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def as_toml(offer: Offer) -> str:
    """The changes as they stand in a run file: [data.columns] label = "tag"."""
    parts = []
    for key, value in offer.changes:
        if isinstance(value, dict):
            pairs = (f"{_key(name)} = {json.dumps(inner)}" for name, inner in value.items())
            parts.append(f"[{key}] {', '.join(pairs)}")
        else:
            parts.append(f"{key} = {json.dumps(value)}")
    return "; ".join(parts)


def _key(name: str) -> str:
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return name if bare else json.dumps(name, ensure_ascii=False)


def as_pairs_prompt(names: Sequence[str]) -> dict[str, str]:
    """The mapping that gives pairs a prompt, where none stands under a name that we read."""
    read = ("prompt", "instruction", "question", "query", "input", "messages", "conversations")
    return {"prompt": "problem"} if "problem" in names and not {*read} & {*names} else {}


def as_answer(names: Sequence[str], answer: str) -> dict[str, str]:
    """The mapping that makes a column the answer to imitate, after the question there is."""
    if "instruction" in names:
        return {"output": answer}
    name = next((name for name in QUESTIONS if name in names), None)
    return {"prompt": name, "completion": answer} if name else {"completion": answer}


def often(records: Sequence[Record]) -> list[str]:
    """Columns filled in at least a tenth of the records."""
    filled = Counter(
        name for record in records for name, value in record.items() if value is not None
    )
    return [name for name, n in filled.items() if 10 * n >= len(records)]


def share(records: Sequence[Record], name: str, holds: Callable[[Any], bool]) -> float:
    """The part of the records whose column is such."""
    return sum(1 for record in records if holds(record.get(name))) / max(len(records), 1)


def text_columns(records: Sequence[Record]) -> list[str]:
    """Columns that mostly hold text."""
    return [n for n in often(records) if share(records, n, lambda v: isinstance(v, str)) > 0.5]


def filled(records: Sequence[Record], name: str) -> list[Any]:
    """A column's values, without those that are missing."""
    return [record[name] for record in records if record.get(name) is not None]


def listed(names: Sequence[str], most: int = 8) -> str:
    """A few names for a sentence."""
    shown = ", ".join(name[:40] for name in names[:most]) or "none"
    return shown + (", ..." if len(names) > most else "")

"""Rows as 64-bit numbers, to count those that come again without holding them.

Of four million different rows, two get the same number once in two million files.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import xxhash

from backprop_tui.core.rows import Chat, Message, Pair, Row, prompt_of, text_of

from ..layouts.turns import ASSISTANT, USER

NO_PROMPT = 0
MOST = 1 << 22  # hashes held; of more rows, only a share


def of(row: Row) -> tuple[int, int]:
    """(of the row without its number and scores, of its prompt's text or NO_PROMPT)."""
    prompt = text_of(prompt_of(row))
    start = _hash(prompt) if prompt else NO_PROMPT
    if isinstance(row, Chat):
        return hash((_turns(row.messages, ""),)), start
    first = _turns(row.prompt, USER)
    if isinstance(row, Pair):
        return hash((first, _turns(row.chosen, ASSISTANT), _turns(row.rejected, ASSISTANT))), start
    return hash((first, _turns(row.completion, ASSISTANT), row.label)), start


def _turns(messages: tuple[Message, ...], role: str) -> int:
    """One turn of the role that is to be expected there counts as its text alone."""
    if len(messages) == 1 and messages[0].role == role:
        return _hash(messages[0].content)
    return _hash("\x1e".join(f"{turn.role}\x1f{turn.content}" for turn in messages))


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(slots=True)
class Hashes:
    """Which rows come again, told by their hashes; of too many, by those of a share of them.

    A hash is left out by its own value, so that equal rows are both left out or both kept.
    """

    parts: list[Any] = field(default_factory=list)  # numpy arrays
    held: int = 0
    share: int = 1  # one hash in so many is kept

    def add(self, hashes: array[int]) -> None:
        import numpy as np  # 0.1 s, while the processes count

        part = np.frombuffer(hashes, dtype=np.uint64)
        self.parts.append(self._thinned(part) if self.share > 1 else part)
        self.held += len(self.parts[-1])
        while self.held > MOST:
            self.share *= 2
            self.parts = [self._thinned(part) for part in self.parts]
            self.held = sum(map(len, self.parts))

    def _thinned(self, part: Any) -> Any:
        return part[(part >> 40) % self.share == 0]

    def repeats(self) -> int:
        """How many equal an earlier one."""
        import numpy as np

        if not self.held:
            return 0
        found = np.sort(np.concatenate(self.parts))
        return int((found[1:] == found[:-1]).sum()) * self.share

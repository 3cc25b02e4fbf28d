"""Near duplicates: texts that share most of their word triples, by MinHash and then exactly.

MinHash (Broder 1997) finds candidates without comparing every text with every other; the
similarity of those is then counted exactly, so a pair that is reported is always a true one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

# Lee et al., Deduplicating Training Data Makes Language Models Better, call 0.8 a near copy.
THRESHOLD = 0.8  # shared word triples over all word triples (Jaccard)
SOURCE = "Lee et al., arXiv:2107.06499"
SHINGLE = 3  # words in a row
LOOKED_AT = 4_000  # characters of each text: whole books would take minutes

_PERMUTATIONS = 128
_BANDS = 32  # 4 values each: a pair at the threshold is missed once in ten million
_LIKELY = THRESHOLD - 0.12  # three standard errors of an estimate from 128 values
_CHECKED = 8  # candidates counted exactly, the likeliest first

# A word; in scripts without spaces, a character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Alike:
    """Text number `other` is a copy, as likely as any; similarity: exact, from THRESHOLD to 1."""

    other: int
    similarity: float


def shingles(text: str) -> set[str]:
    """Every three words in a row; a shorter text is one shingle. Case and signs do not count."""
    words = _WORD.findall(text.lower())
    if len(words) < SHINGLE:
        return {" ".join(words)} if words else set()
    following = (islice(words, i, None) for i in range(SHINGLE))
    return set(map(" ".join, zip(*following, strict=False)))


def jaccard(first: set[str], second: set[str]) -> float:
    """What both have over what either has."""
    both = len(first & second)
    return both / (len(first) + len(second) - both) if both else 0.0


def near_copies(texts: Sequence[str], parts: Sequence[str], seed: int) -> dict[int, Alike]:
    """Each text that has a near copy among the others, and which that is.

    parts: a part of each text that must be nearly the same by itself too.
    """
    looked_at = _starts(texts)
    return _find(looked_at, looked_at, seed, _starts(parts))


def near_copies_in(texts: Sequence[str], among: Sequence[str], seed: int) -> dict[int, Alike]:
    """Each of `texts` that has a near copy in `among`, and which that is."""
    return _find(_starts(texts), _starts(among), seed)


def _find(
    texts: Sequence[str], among: Sequence[str], seed: int, parts: Sequence[str] | None = None
) -> dict[int, Alike]:
    from rensa import RMinHash, RMinHashLSH

    itself = texts is among
    prints = RMinHash.from_token_sets(map(shingles, texts), _PERMUTATIONS, seed)
    known = prints
    if not itself:
        known = RMinHash.from_token_sets(map(shingles, among), _PERMUTATIONS, seed)
    index = RMinHashLSH(THRESHOLD, _PERMUTATIONS, _BANDS)
    index.insert_many(known)
    # Kept for the candidates only: the triples of a text take twenty times its room.
    sought, there, inside = _triples(texts), _triples(among), _triples(parts or ())

    def similarity(i: int, j: int) -> float:
        alike = jaccard(sought(i), there(j))
        if parts is None or alike < THRESHOLD:
            return alike
        return min(alike, jaccard(inside(i), inside(j)))

    found: dict[int, Alike] = {}
    for i, mine in enumerate(prints):
        likely = []
        for j in index.query(mine):
            estimate = mine.jaccard(known[j])
            if estimate >= _LIKELY and not (itself and i == j):
                likely.append((-estimate, j))
        exact = ((similarity(i, j), j) for _, j in sorted(likely)[:_CHECKED])
        best, other = next((one for one in exact if one[0] >= THRESHOLD), (0.0, 0))
        if best:
            found[i] = Alike(other, best)
    return found


def _triples(texts: Sequence[str]) -> Callable[[int], set[str]]:
    """The shingles of a text by its place, made once."""
    return cache(lambda i: shingles(texts[i]))


def _starts(texts: Sequence[str]) -> list[str]:
    return [text[:LOOKED_AT] for text in texts]

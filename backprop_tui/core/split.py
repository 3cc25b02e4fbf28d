"""Train and held-out rows: by prompt, stratified by label, the same on every machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

from .rows import Chat, Labelled, Pair, Row, prompt_of, text_of

Group = list[int]  # indexes of the rows that share one prompt


def split(rows: Sequence[Row], heldout: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out), both shuffled by the seed.

    Rows with the same prompt text go to one side, so no prompt leaks. The number held out is
    as close to round(len(rows) * heldout) as whole prompts allow, and of Labelled rows the
    same share of each label is taken, as far as the prompts allow. With heldout above 0 and
    two distinct prompts neither side is empty; with one prompt all rows train.
    Rows without a prompt go together when all they say is equal.
    ValueError: heldout outside 0 <= x < 1.
    """
    if not 0 <= heldout < 1:
        raise ValueError(f"heldout must be at least 0 and under 1, not {heldout}")
    taken: set[int] = set()
    groups = _groups(rows, seed)
    if heldout > 0 and len(groups) > 1:
        target = min(max(round(len(rows) * heldout), 1), len(rows) - 1)
        counts = _counts_by_size(Counter(map(len, groups)), target, heldout)
        for group in _choose(rows, groups, counts):
            taken.update(group)
    order = sorted(range(len(rows)), key=lambda i: _digest(seed, "row", str(i)))
    train = [rows[i] for i in order if i not in taken]
    held = [rows[i] for i in order if i in taken]
    return train, held


def _digest(seed: int, *parts: str) -> bytes:
    joined = "\0".join((str(seed), *parts))
    return sha256(joined.encode("utf-8", "surrogatepass")).digest()


def _groups(rows: Sequence[Row], seed: int) -> list[Group]:
    """Rows by prompt, in an order that only the seed and the rows' texts decide."""
    by_prompt: dict[tuple[str, ...], Group] = defaultdict(list)
    for index, row in enumerate(rows):
        prompt = text_of(prompt_of(row)).strip()
        by_prompt[("prompt", prompt) if prompt else ("row", *_answers(row))].append(index)
    return [by_prompt[key] for key in sorted(by_prompt, key=lambda key: _digest(seed, *key))]


def _answers(row: Row) -> tuple[str, ...]:
    """What a row without a prompt says. Its label is left out: one text stays on one side."""
    if isinstance(row, Pair):
        return text_of(row.chosen), text_of(row.rejected)
    return (text_of(row.messages if isinstance(row, Chat) else row.completion),)


def _counts_by_size(sizes: Counter[int], target: int, heldout: float) -> Counter[int]:
    """How many groups of each size to hold out, so that their rows come closest to `target`.

    The same share of every size first, then whichever leftovers fill the gap; only where they
    cannot fill it exactly is the choice made among all groups.
    """
    share = Counter({size: int(n * heldout) for size, n in sizes.items()})
    gap = target - _rows_in(share)
    filled = share + _closest_sum(sizes - share, gap) if gap > 0 else share
    if _rows_in(filled) == target:
        return filled
    return _closest_sum(sizes, target)


def _rows_in(counts: Counter[int]) -> int:
    return sum(size * n for size, n in counts.items())


def _closest_sum(sizes: Counter[int], target: int) -> Counter[int]:
    """Bounded subset sum: the counts whose rows come closest to `target`, below total, above 0.

    Bit i of a layer is set where i rows can be reached with the items so far.
    """
    limit = target + max(sizes)
    mask = (1 << (limit + 1)) - 1
    items = [(size, n) for size in sorted(sizes) for n in _binary_parts(sizes[size])]
    layers = [1]
    for size, n in items:
        layers.append(layers[-1] | (layers[-1] << (size * n)) & mask)
    within = range(1, min(limit, _rows_in(sizes) - 1) + 1)
    outward = (i for off in range(limit) for i in (target - off, target + off) if i in within)
    total = next((i for i in outward if layers[-1] >> i & 1), 0)
    counts: Counter[int] = Counter()
    for (size, n), before in zip(reversed(items), reversed(layers[:-1]), strict=True):
        if not before >> total & 1:
            counts[size] += n
            total -= size * n
    return counts


def _binary_parts(n: int) -> list[int]:
    """n as parts whose subsets sum to every number from 0 to n: 1, 2, 4, ..., rest."""
    parts, part = [], 1
    while n > part:
        parts.append(part)
        n -= part
        part *= 2
    return [*parts, n]


def _choose(rows: Sequence[Row], groups: list[Group], counts: Counter[int]) -> Iterable[Group]:
    """`counts` groups of each size, large ones first, keeping the share of desirable rows."""

    def desirable(group: Group) -> int:
        return sum(1 for i in group if isinstance(row := rows[i], Labelled) and row.label)

    left = _rows_in(counts)
    wanted = left * sum(map(desirable, groups)) / len(rows)
    for size in sorted(counts, reverse=True):
        # Groups of one size by how many desirable rows they hold, first in order last.
        piles: dict[int, list[Group]] = defaultdict(list)
        for group in reversed(groups):
            if len(group) == size:
                piles[desirable(group)].append(group)
        for _ in range(counts[size]):
            ideal = size * wanted / left
            nearest = min((d for d in piles if piles[d]), key=lambda d: (abs(d - ideal), d))
            wanted -= nearest
            left -= size
            yield piles[nearest].pop()

"""How far a measured share may be from the true one. Pure."""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # of the normal distribution: 2.5 % lie above
WILSON = "Wilson, J. Am. Stat. Assoc. 22 (1927) 209"
RANKED = "Birnbaum and Klose, Ann. Math. Stat. 28 (1957) 933"

Interval = tuple[float, float]


def wilson(share: float, n: int, z: float = Z95) -> Interval:
    """The score interval of a binomial share, 0..1 each: 95 % by default.

    share: 0..1, successes by trials; ties may have counted half. n: trials, at least 1. It stays
    inside [0, 1] and covers well for few trials, which the normal one does not (Brown, Cai and
    DasGupta, Stat. Sci. 16 (2001) 101). Raises ValueError for a share or n out of range.
    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if not (0 <= share <= 1 and n >= 1):
        raise ValueError(f"share {share} of {n} trials: 0 to 1 of at least 1 is allowed")
    squared = z * z
    middle = share + squared / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    whole = 1 + squared / n
    low = 0.0 if share == 0 else max(0.0, (middle - half) / whole)
    high = 1.0 if share == 1 else min(1.0, (middle + half) / whole)
    return low, high


def trials(method: str, rows: int) -> int:
    """Of how many trials a held-out accuracy over `rows` is worth at least.

    Pairs are a trial each. The accuracy of kto is how often a good row outranks a bad one; its
    variance is at most A(1 - A) / min(good, bad), and the log has no counts of the two, so half
    of the rows is taken for either. Source: Birnbaum and Klose, Ann. Math. Stat. 28 (1957) 933.
    """
    return max(1, rows // 2) if method == "kto" else rows

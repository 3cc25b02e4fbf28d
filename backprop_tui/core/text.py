"""Numbers as people write them: bytes, durations, counts, rates."""

from __future__ import annotations

import math

NA = "n/a"


def size(n_bytes: float | None) -> str:
    """Bytes in the unit a person would pick (1 GB = 2**30 bytes): 11.2 GB, 340 MB, 12 KB."""
    if n_bytes is None:
        return NA
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if abs(n_bytes) >= factor:
            value = n_bytes / factor
            return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{n_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds as 0:42, 12:05 or 3:07:09; "n/a" when unknown."""
    if seconds is None or not math.isfinite(seconds):
        return NA
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def count(n: int | None) -> str:
    """1,234,567; "n/a" when unknown."""
    return NA if n is None else f"{n:,}"


def parameters(n: int | None) -> str:
    """Model size as the field writes it: 7.6B, 494M, 2.8M."""
    if n is None:
        return NA
    for unit, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if n >= factor * 0.9995:  # 999,999 is 1.0M, not 1000K
            value = n / factor
            return f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"
    return str(n)


def percent(share: float | None) -> str:
    """A share between 0 and 1 as a whole percentage, never rounded up to 100 % or down to 0 %."""
    if share is None:
        return NA
    if 0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{share * 100:.0f} %"


def rate(value: float | None) -> str:
    """A learning rate or other small number without trailing noise: 5e-07, 2e-05, 0.1."""
    return NA if value is None else f"{value:.12g}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """3 rows, 1 row, 1,000 entries."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"

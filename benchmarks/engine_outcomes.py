"""What came of the cells measured on a card, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SIDES = ("trl", "lean")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell. engine "" for a gradient check. reserved, allocated: peak bytes.
    tokens: of a pass, each prompt once and no padding, whatever the engine reads. mfu: the share
    of the card's peak rate that these tokens alone account for. off: of each adapter tensor, the
    distance of the two gradients by the length of stock's; the median and the most. path:
    how the lean engine computes, with what its choice was made on. failed: why there are no
    figures."""

    model: str
    method: str
    engine: str
    pairs_per_second: float = 0.0
    seconds: tuple[float, ...] = ()
    tokens: int = 0
    mfu: float | None = None
    reserved: int = 0
    allocated: int = 0
    path: str = ""
    off_median: float | None = None
    off_most: float | None = None
    off_where: str = ""
    failed: str = ""


def table(found: Sequence[Outcome]) -> str:
    """A row a model and method, both engines in it."""
    lines = [
        "| model | method | stock, pairs/s | lean, pairs/s | times as fast | stock, GiB reserved "
        "| lean, GiB reserved | of stock | MFU stock, lean | gradients apart: median, most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[tuple[str, str], dict[str, Outcome]] = {}
    for one in found:
        cells.setdefault((one.model, one.method), {})[one.engine] = one
    paths = []
    for (model, method), sides in cells.items():
        stock, lean = (sides.get(engine, Outcome(model, method, engine)) for engine in SIDES)
        words = [
            model,
            method,
            _speed(stock),
            _speed(lean),
            _ratio(lean.pairs_per_second, stock.pairs_per_second),
            _gib(stock),
            _gib(lean),
            "" if stock.failed or lean.failed else _ratio(lean.reserved, stock.reserved),
            ", ".join(f"{one.mfu:.1%}" if one.mfu else "-" for one in (stock, lean)),
            _apart(sides.get("")),
        ]
        lines.append(f"| {' | '.join(words)} |")
        if lean.path:
            paths.append(f"- {model}, {method}: {lean.path}")
    return "\n".join([*lines, "", "How the lean engine computed:", "", *paths])


def _speed(one: Outcome) -> str:
    return one.failed or (f"{one.pairs_per_second:.3g}" if one.pairs_per_second else "")


def _ratio(lean: float, stock: float) -> str:
    return f"{lean / stock:.2f}" if lean and stock else ""


def _gib(one: Outcome) -> str:
    return f"{one.reserved / 2**30:.2f}" if one.reserved else ""


def _apart(one: Outcome | None) -> str:
    if one is None or one.off_median is None:
        return one.failed if one else ""
    return f"{one.off_median:.1e}, {one.off_most:.1e}"

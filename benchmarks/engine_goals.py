"""What was measured -> stock beside lean, a ratio and its goal; as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["defaults", "lean without checkpointing", "like for like"]

# Pairs per second, lean / stock, at least; by kind, rows, batch.
DEFAULTS = {"simpo": 3.0, "orpo": 3.0, "kto": 2.5, "dpo": 2.0}
LIKE_FOR_LIKE = {"simpo": 2.2, "orpo": 2.2, "kto": 2.0, "dpo": 1.6}
FASTER: dict[tuple[Kind, str, int], Mapping[str, float]] = {
    ("defaults", "ultrafeedback", 4): DEFAULTS,
    ("lean without checkpointing", "ultrafeedback", 4): DEFAULTS,
    ("like for like", "ultrafeedback", 4): LIKE_FOR_LIKE,
    ("like for like", "ultrafeedback", 1): dict.fromkeys(DEFAULTS, 1.3),
    ("like for like", "long-prompt", 4): dict.fromkeys(DEFAULTS, 2.5),
}
NEVER_SLOWER = 1.0
# Peak bytes, lean / stock, at most, from this vocabulary on.
LARGE_VOCABULARY = 100_000
SMALLER = {"orpo": 0.5, "simpo": 0.5, "kto": 0.8, "dpo": 0.8}


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine at one setting. seconds: of one pass over the rows, each round; bytes: the peak
    of a pass and what was there before it."""

    method: str
    vocabulary: int
    profile: str
    batch: int
    engine: str
    checkpointing: bool
    pairs: int
    pairs_per_second: float = 0.0
    seconds: tuple[float, ...] = ()
    peak: int = 0
    before: int = 0

    @property
    def cell(self) -> tuple[str, int, str, int]:
        """What a stock and a lean side must share to be compared."""
        return self.method, self.vocabulary, self.profile, self.batch


@dataclass(frozen=True, slots=True)
class Compared:
    """Two of them. goals: None where none was set."""

    kind: Kind
    stock: Measured
    lean: Measured

    @property
    def faster(self) -> float | None:
        """Lean pairs per second for each of stock."""
        if not self.stock.pairs_per_second or not self.lean.pairs_per_second:
            return None
        return self.lean.pairs_per_second / self.stock.pairs_per_second

    @property
    def smaller(self) -> float | None:
        """Lean bytes for each of stock."""
        return self.lean.peak / self.stock.peak if self.stock.peak and self.lean.peak else None

    @property
    def speed_goal(self) -> float:
        """At least this many times as fast. Nowhere slower."""
        _, _, profile, batch = self.lean.cell
        goals = FASTER.get((self.kind, profile, batch), {})
        return goals.get(self.lean.method, NEVER_SLOWER)

    @property
    def memory_goal(self) -> float | None:
        """At most this share of stock's bytes."""
        if self.lean.vocabulary < LARGE_VOCABULARY:
            return None
        return SMALLER.get(self.lean.method)

    def as_json(self) -> dict[str, Any]:
        """The ratios and goals by name."""
        return {
            "kind": self.kind,
            "stock": asdict(self.stock),
            "lean": asdict(self.lean),
            "faster": self.faster,
            "speed_goal": self.speed_goal,
            "smaller": self.smaller,
            "memory_goal": self.memory_goal,
        }


def compare(found: Iterable[Measured], default: bool = True) -> list[Compared]:
    """Each pair worth comparing. default: whether the lean engine checkpoints unless told."""
    cells: dict[tuple[str, int, str, int], dict[tuple[str, bool], Measured]] = {}
    for one in found:
        cells.setdefault(one.cell, {})[one.engine, one.checkpointing] = one
    compared: list[Compared] = []
    for sides in cells.values():
        kinds: list[tuple[Kind, bool, bool]] = [
            ("defaults", True, default),
            ("lean without checkpointing", True, False),
            ("like for like", True, True),
            ("like for like", False, False),
        ]
        for kind, stock_on, lean_on in kinds:
            stock, lean = sides.get(("trl", stock_on)), sides.get(("lean", lean_on))
            if stock and lean:
                compared.append(Compared(kind, stock, lean))
    return compared


def speed_table(compared: Sequence[Compared]) -> str:
    """Pairs per second."""
    lines = [
        "| method | vocabulary | rows | batch | compared | checkpointing: stock, lean "
        "| stock, pairs/s | lean, pairs/s | times as fast | goal | met |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in compared:
        stock, lean = (f"{side.pairs_per_second:.3g}" for side in (one.stock, one.lean))
        ratio = "" if one.faster is None else f"{one.faster:.2f}"
        lines.append(
            f"{_start(one)} | {stock} | {lean} | {ratio} | {one.speed_goal:.1f} "
            f"| {_met(one.faster, one.speed_goal, least=True)} |"
        )
    return "\n".join(lines)


def memory_table(compared: Sequence[Compared]) -> str:
    """Peak bytes."""
    lines = [
        "| method | vocabulary | rows | batch | compared | checkpointing: stock, lean "
        "| weights, MiB | stock, MiB | lean, MiB | of stock | goal | met |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in compared:
        if one.smaller is None:
            continue
        goal = one.memory_goal
        sizes = (one.lean.before, one.stock.peak, one.lean.peak)
        lines.append(
            f"{_start(one)} | {' | '.join(f'{size / 2**20:,.0f}' for size in sizes)} "
            f"| {one.smaller:.2f} | {goal or ''} "
            f"| {_met(one.smaller, goal, least=False) if goal else ''} |"
        )
    return "\n".join(lines)


def _start(one: Compared) -> str:
    method, vocabulary, profile, batch = one.lean.cell
    on = ", ".join("on" if side.checkpointing else "off" for side in (one.stock, one.lean))
    return f"| {method} | {vocabulary // 1000}k | {profile} | {batch} | {one.kind} | {on}"


def _met(value: float | None, goal: float, *, least: bool) -> str:
    if value is None:
        return "not measured"
    return "yes" if (value >= goal if least else value <= goal) else "NO"

"""One cell of the comparison on a card: an engine, a method, a model that is there already."""

from __future__ import annotations

import gc
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine_data import Lengths
from benchmarks.engine_models import random_model
from benchmarks.engine_outcomes import Outcome
from benchmarks.engine_sides import Setting, Side, rows_for

OUT_OF_MEMORY = "out of memory"
ROUNDS = 2


@dataclass(slots=True)
class Budget:
    """Seconds there are. What no longer fits is left out, and told in `skipped`.

    A cell is expected to take as long as the last one of its kind: what stands after the colon,
    its method left out.
    """

    seconds: float
    skipped: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)
    took: dict[str, float] = field(default_factory=dict)

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.begun

    def allows(self, cell: str, until: float = 1.0) -> bool:
        """Whether it fits in this share of the seconds, as far as can be told."""
        if self.spent + self.took.get(_kind(cell), 0.0) <= self.seconds * until:
            return True
        self.skipped.append(f"{cell}: the time was up")
        return False

    @contextmanager
    def timed(self, cell: str) -> Iterator[None]:
        """Remember how long it takes, and say it."""
        begun = time.perf_counter()
        yield
        self.took[_kind(cell)] = time.perf_counter() - begun
        print(f"{cell}: {self.took[_kind(cell)]:.0f} s", flush=True)


def _kind(cell: str) -> str:
    model, _, what = cell.partition(": ")
    return f"{model}: {what.rpartition(', ')[2]}"


class Base:
    """The model that all cells of a part train in turn; made anew after one that went wrong half
    way and left it in an unknown state."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.model: Any = None

    def get(self) -> Any:
        """The model, without adapter."""
        if self.model is None:
            one = self.setting
            self.model = random_model(one.shape, one.precision, one.device)
        return self.model

    def give_back(self, side: Side | None) -> None:
        """Done with it. None: building the trainer went wrong."""
        if side is None:
            self.drop()
        else:
            side.release()

    def drop(self) -> None:
        """Give its memory back."""
        self.model = None
        gc.collect()


def measure(
    name: str, setting: Setting, base: Base, lengths: Sequence[Lengths], folder: Path
) -> Outcome:
    """Speed and memory of an engine."""
    outcome = Outcome(name, setting.method, setting.engine)
    rows = rows_for(setting.method, lengths, setting.shape.vocab_size)
    forget(setting)
    side: Side | None = None
    try:
        side = Side(setting, rows, folder, base.get())
        list(side.epoch())  # warms up: kernels are chosen, the optimizer's state is made
        seconds = [sum(wall for wall, _ in side.epoch()) for _ in range(ROUNDS)]
        tokens = sum(map(needed, rows))
        outcome = replace(
            outcome,
            seconds=tuple(seconds),
            pairs_per_second=len(lengths) / median(seconds),
            tokens=tokens,
            mfu=_mfu(side, tokens / median(seconds)),
            path=_path(side),
        )
    except Exception as error:  # noqa: BLE001 - of any kind: the other cells are still wanted
        outcome = replace(outcome, failed=reason(error))
    reserved, allocated = _memory(setting)
    base.give_back(side)
    return replace(outcome, reserved=reserved, allocated=allocated)


def check_gradients(
    name: str, setting: Setting, base: Base, lengths: Sequence[Lengths], folder: Path
) -> Outcome:
    """The gradient of every adapter tensor on one batch, lean against stock."""
    outcome = Outcome(name, setting.method, "")
    rows = rows_for(setting.method, lengths, setting.shape.vocab_size)
    found: list[dict[str, Any]] = []
    for engine in ("trl", "lean"):
        forget(setting)
        side: Side | None = None
        try:
            one = replace(setting, engine=engine, batch=len(lengths))
            side = Side(one, rows, folder, base.get())
            found.append(side.gradients())
        except Exception as error:  # noqa: BLE001 - of any kind: the other cells are still wanted
            base.give_back(side)
            return replace(outcome, failed=f"{engine}: {reason(error)}")
        base.give_back(side)
    stock, lean = found
    if set(stock) != set(lean):
        return replace(outcome, failed="the engines train different tensors")
    off = {
        tensor: float((lean[tensor] - right).norm() / right.norm().clamp(min=1e-30))
        for tensor, right in stock.items()
    }
    where = max(off, key=lambda tensor: off[tensor])
    return replace(outcome, off_median=median(off.values()), off_most=off[where], off_where=where)


def forget(setting: Setting) -> None:
    """Start the card's memory figures anew."""
    gc.collect()
    if setting.device == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(setting: Setting) -> tuple[int, int]:
    """Peak bytes reserved, and allocated of them."""
    if setting.device != "cuda":
        return 0, 0
    import torch

    return torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()


def needed(row: Any) -> int:
    """Tokens of a pair or judged answer that any engine has to read with a gradient."""
    if hasattr(row, "completion"):
        return len(row.prompt) + len(row.completion)
    return len(row.prompt) + len(row.chosen) + len(row.rejected)


def _mfu(side: Side, tokens_per_second: float) -> float | None:
    if side.setting.device != "cuda":
        return None
    import torch

    from backprop_tui.core.cards import peak_flops
    from backprop_tui.train.engine.speed import flops_per_token

    peak, work = peak_flops(torch.cuda.get_device_name()), flops_per_token(side.trainer.model)
    return tokens_per_second * work / peak if peak and work else None


def _path(side: Side) -> str:
    """How the lean engine computes, and what its probe measured."""
    lean = getattr(side.trainer, "lean", None)
    return lean.path.words(lean.head) if lean else ""


def reason(error: BaseException) -> str:
    if type(error).__name__ == "OutOfMemoryError" or re.search("out of memory", str(error), re.I):
        return OUT_OF_MEMORY
    traceback.print_exception(error)
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error) else ''}"
    )

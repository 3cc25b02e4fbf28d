"""What a try takes, measured: on a card the whole process, on a CPU its tensors alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from backprop_tui.core.calibration import Calibration
from backprop_tui.core.facts import Gpu, GpuProcess
from backprop_tui.core.text import size
from backprop_tui.probe.gpu import probe_gpu

LARGEST_CONTEXT = 3 * 2**30  # bytes; more than any CUDA takes: then it was something else


@dataclass(frozen=True, slots=True)
class Room:
    """free: bytes this process may have, with what it has already; None: unknown. others: who else
    holds some of the card, in words, "" when nobody is known to. held: bytes they hold."""

    free: int | None
    others: str = ""
    held: int | None = None


class Meter(Protocol):
    """slow: watching costs time, so nothing is timed under it.

    reserved, context: bytes on a card, once a try was watched; None elsewhere.
    """

    slow: bool
    peak: int  # bytes, of the latest try

    @property
    def reserved(self) -> int | None: ...

    @property
    def context(self) -> int | None: ...

    def room(self) -> Room:
        """What there is now."""

    def watching(self, trainer: Any) -> Any:
        """A context: what is computed in it is measured."""

    def stop(self) -> None:
        """Stop measuring before the context ends."""


class TensorMeter:
    """Counts tensors, weights included. For a CPU."""

    slow = True
    reserved = context = None

    def __init__(self) -> None:
        self.peak = 0
        self._before: int | None = None  # bytes that were free when it was first asked
        self._watch = ExitStack()

    def room(self) -> Room:
        """What was free before the model was read: the peak counts it as well."""
        import psutil

        if self._before is None:
            self._before = psutil.virtual_memory().available
        return Room(self._before)

    @contextmanager
    def watching(self, trainer: Any) -> Iterator[None]:
        """Count until `stop`, or until the context ends."""
        from backprop_tui.train.memory.fakes import quantisation_state
        from backprop_tui.train.memory.peak import PeakBytes

        memory = PeakBytes()
        model = trainer.model
        memory.hold(*model.parameters(), *model.buffers(), *quantisation_state(model))
        with self._watch:
            self._watch.enter_context(memory)
            try:
                yield
            finally:
                self.peak = memory.peak

    def stop(self) -> None:
        """Count no more."""
        self._watch.close()


class CardMeter:
    """What the allocator reserves of the card, and the context of CUDA. card: as it was before this
    process took any of it. calibration: has the context where it cannot be measured."""

    slow = False

    def __init__(self, card: Gpu | None, calibration: Calibration) -> None:
        self.card = card
        self.calibration = calibration
        self.peak = 0
        self.reserved: int | None = None
        self.context: int | None = None

    def room(self) -> Room:
        """Free now, and who has the rest."""
        import torch

        free, total = torch.cuda.mem_get_info()
        reserved = torch.cuda.memory_reserved()
        listed = processes_of(self.card)
        before = self.card.memory_used if self.card else None
        self.context = context(listed, total - free, reserved, before)
        mine = reserved + (self.calibration.context if self.context is None else self.context)
        held = max(0, total - free - mine)
        # Where this process is not listed, as in a container, one of the listed is this one.
        known = any(one.pid == os.getpid() for one in listed or ())
        return Room(min(free + mine, total), in_words(listed) if known else "", held)

    @contextmanager
    def watching(self, trainer: Any) -> Iterator[None]:
        """Measure until the context ends."""
        import torch

        torch.cuda.reset_peak_memory_stats()
        try:
            yield
        finally:
            self.reserved = torch.cuda.max_memory_reserved()
            beside = self.calibration.context if self.context is None else self.context
            self.peak = self.reserved + beside

    def stop(self) -> None:
        """Nothing to stop: the allocator counts by itself."""


def processes_of(card: Gpu | None) -> tuple[GpuProcess, ...] | None:
    """Who is on the card now; None where that cannot be read."""
    if card is None:
        return None
    found = next((one for one in probe_gpu().cards if one.index == card.index), None)
    return found.processes if found else None


def context(
    listed: tuple[GpuProcess, ...] | None, used: int, reserved: int, before: int | None
) -> int | None:
    """Bytes this process has on the card beside what the allocator reserved; None: unknown.

    used: of the whole card. before: the same before this process had any. What another process
    took meanwhile cannot be told apart where the driver lists no memory of processes.
    """
    mine = next((one.memory for one in listed or () if one.pid == os.getpid()), None)
    if mine is None and before is not None:
        mine = used - before
    found = None if mine is None else mine - reserved
    return found if found is not None and 0 < found < LARGEST_CONTEXT else None


def in_words(listed: tuple[GpuProcess, ...] | None) -> str:
    """The other processes that hold most: "python3 (pid 4242) holds 9.0 GB"."""
    others = [one for one in listed or () if one.pid != os.getpid() and one.memory]
    return " and ".join(
        f"{one.name or 'a process'} (pid {one.pid}) holds {size(one.memory)}" for one in others[:2]
    )

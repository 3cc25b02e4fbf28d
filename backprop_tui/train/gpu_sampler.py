"""A reading of the card every second while a run lasts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backprop_tui.core.events import Event, GpuSampled
from backprop_tui.probe.gpu import GpuSampler

INTERVAL = 1.0  # seconds


def card_of(local_rank: int) -> int:
    """The card, as nvidia-smi counts, that CUDA numbers so in this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if local_rank < len(visible) and visible[local_rank].strip().isdecimal():
        return int(visible[local_rank])
    return local_rank


@contextmanager
def sampling(
    card: int,
    emit: Callable[[Event], None],
    clock: Callable[[], float],
    before: int | None = None,
) -> Iterator[None]:
    """Emit GpuSampled from a thread of its own; on a machine without a card, nothing.

    before: bytes in use on the card before this process used it; taken for what others hold where
    the driver does not list this process.
    """
    done = threading.Event()

    def sample() -> None:
        with GpuSampler(card) as sampler:
            while not done.is_set():
                reading = sampler.read()
                if reading is None:
                    return
                emit(
                    GpuSampled(
                        t=clock(),
                        memory_used=reading.memory_used,
                        memory_total=reading.memory_total,
                        utilisation=reading.utilisation,
                        temperature=reading.temperature,
                        power=reading.power,
                        power_limit=reading.power_limit,
                        others=before if (held := sampler.others()) is None else held,
                        throttle=sampler.throttle(),
                    )
                )
                done.wait(INTERVAL)

    thread = threading.Thread(target=sample, name="gpu-sampler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

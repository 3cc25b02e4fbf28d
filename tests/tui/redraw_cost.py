"""What one redraw of the whole monitor costs, in CPU milliseconds, on a real pseudo-terminal.

    python -m tests.tui.redraw_cost

2,000 steps of history at 120x36; every panel changed. Counted: taking in the event,
drawing, composing the frame and writing it out, with the writer thread; an idle loop is taken off.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

import pexpect

from tests.tui import histories
from tests.tui.monitor_harness import MonitorHarness

STEPS, TICKS = 2_000, 100


class Meter(MonitorHarness):
    """Plays a long run in, then counts."""

    def on_ready(self) -> None:
        self.run_worker(self.measure())

    async def measure(self) -> None:
        self.post(histories.training("simpo", upto=STEPS, steps=2 * STEPS, cuda=True))
        while len(self.monitor.history.steps) < STEPS:
            await asyncio.sleep(0.05)
        self.monitor._timer.pause()
        await self.loop(0, busy=True)
        idle = await self.loop(1, busy=False)
        busy = await self.loop(2, busy=True)
        self.exit(message=f"redraw {(busy - idle) * 1000 / TICKS:.2f} ms of CPU")

    async def loop(self, seed: int, *, busy: bool) -> float:
        rng = random.Random(seed)
        began = time.process_time()
        for i in range(TICKS):
            if busy:
                step = STEPS + seed * TICKS + i
                self.post([histories.step_event("simpo", step, 2 * STEPS, rng, cuda=True)])
                self.post([histories.gpu(step)])
                await asyncio.sleep(0.01)
                self.monitor.draw()
            await asyncio.sleep(0.05)
        return time.process_time() - began


def main() -> None:
    if "--inside" in sys.argv:
        Meter("simpo", cuda=True).run()
        return
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tests.tui.redraw_cost", "--inside"],
        dimensions=(36, 120),
        timeout=120,
        encoding="utf-8",
    )
    child.expect(r"redraw [\d.]+ ms of CPU")
    sys.stdout.write(f"{child.after}\n")
    child.expect(pexpect.EOF)


if __name__ == "__main__":
    main()

"""Train one run under the full monitor, and write how late the screen's event loop was.

usage: monitored.py RUN.toml [LAG.json] — started by speed.py inside a pseudo-terminal. Without
LAG.json nothing is measured here: looking at the clock 200 times a second costs the trainer too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import ClassVar

from backprop_tui.core import runfile_io
from backprop_tui.tui import app as app_module

TICK = 0.005  # seconds between two looks at the clock when lag is measured
IDLE = 0.5  # and when it is not


class MeasuredApp(app_module.BackpropApp):
    """The app, its training started at once, and left when it ends."""

    # Textual looks for style sheets beside the file of the class.
    CSS_PATH: ClassVar = [Path(app_module.__file__).parent / name for name in app_module.STYLES]

    def __init__(self, run_file: Path, tick: float) -> None:
        super().__init__(runfile_io.read(run_file, env={})[0])
        self.tick = tick
        self.lags: list[float] = []

    def on_ready(self) -> None:
        """The first screen is drawn: train, and watch the loop."""
        self.start_training()
        self.measuring = asyncio.get_running_loop().create_task(self.measure())

    async def measure(self) -> None:
        """Every tick, how much later than asked the loop came back."""
        while self.ending is None:
            monitor = self.monitor()
            training = monitor is not None and monitor.history.started is not None
            before = time.perf_counter()
            await asyncio.sleep(self.tick)
            if training:
                self.lags.append(time.perf_counter() - before - self.tick)
        self.exit()


def main() -> None:
    """Run to the end, then write the lags (seconds)."""
    run_file, *lag_file = map(Path, sys.argv[1:])
    app = MeasuredApp(run_file, TICK if lag_file else IDLE)
    app.run()
    for path in lag_file:
        path.write_text(json.dumps(app.lags))


if __name__ == "__main__":
    main()

"""SIGINT and SIGTERM as a request to stop, for commands that train in other processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from backprop_tui.cli.run import STOPPING, silence


@contextmanager
def stop_asked(said: str) -> Iterator[Callable[[], bool]]:
    """Whether a stop was asked for: the first ctrl+c or SIGTERM asks and says so on stderr, a
    second ctrl+c interrupts. SIGHUP: the terminal is lost, and the work goes on without it."""
    asked: list[int] = []
    terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        with suppress(OSError):  # the terminal may be gone; print is not safe in a handler
            os.write(2, f"{said}\n".encode())

    def go_on(_number: int, _frame: FrameType | None) -> None:
        for descriptor in terminals:
            if not os.isatty(descriptor):
                silence(descriptor)

    handlers = {**dict.fromkeys(STOPPING, ask), signal.SIGHUP: go_on}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The processes of a scan, with a thread each that hands out jobs and takes answers."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import backprop_tui

from ..layouts.decision import Decision
from .jobs import Job, Setup

MOST = 8
TICK = 0.05  # seconds to wait for an answer


class Workers:
    """Started as commands, never forked: the wizard has threads, and a fork copies the locks
    these hold. Leaving the block ends them, whatever they are at."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = deque(jobs)
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self.left = max(1, min(len(jobs), MOST, len(os.sched_getaffinity(0))))

    @property
    def done(self) -> bool:
        return self.left == 0

    def __enter__(self) -> Workers:
        package = str(Path(backprop_tui.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            for _ in range(self.left):
                process = subprocess.Popen(
                    [sys.executable, "-m", "backprop_tui.probe.data.large.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    start_new_session=True,  # a terminal that goes does not end them
                )
                self._processes.append(process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self, how: Decision) -> None:
        """Hand out the jobs. The processes start before it is known how rows are read."""
        setup = pickle.dumps(Setup.of(how))
        for process in self._processes:
            thread = threading.Thread(target=self._serve, args=(process, setup), daemon=True)
            self._threads.append(thread)
            thread.start()

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe:
                        pipe.close()
                except OSError:  # the rest of a question to a process that was killed
                    continue

    def answers(self) -> list[tuple[str, Any]]:
        """What has come in since; waits a moment when there is nothing."""
        try:
            found = [self._answers.get(timeout=TICK)]
        except queue.Empty:
            return []
        while not self._answers.empty():
            found.append(self._answers.get())
        return found

    def _serve(self, process: subprocess.Popen[bytes], setup: bytes) -> None:
        """Hand out jobs until there is none left, then ask for the sample."""
        ask, hear = process.stdin, process.stdout
        assert ask is not None
        assert hear is not None
        try:
            ask.write(setup)
            kind = "counted"
            while kind not in ("drawn", "refused"):
                if kind == "counted":
                    ask.write(pickle.dumps(self._next()))
                    ask.flush()
                kind, value = pickle.load(hear)
                self._answers.put((kind, value))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._answers.put(("lost", f"exit status {process.wait()}"))

    def _next(self) -> Job | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

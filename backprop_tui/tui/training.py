"""TrainingApp: trains the plan in a thread, or in the background, and outlives its screen."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.worker import Worker, WorkerState

from backprop_tui.core.control import Control
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Event, Failed, Finished
from backprop_tui.core.facts import Facts
from backprop_tui.core.history import History
from backprop_tui.core.runfile import RunFile
from backprop_tui.tui.ending import exit_code
from backprop_tui.tui.last_words import STILL_STOPPING, last_words, way_back
from backprop_tui.tui.memory_asker import MemoryAsker
from backprop_tui.tui.messages import RunEvent

if TYPE_CHECKING:
    from backprop_tui.tui.monitor import MonitorScreen

TRAINING = "training"  # as in monitor_requests.py, which is loaded late


class TrainingApp(MemoryAsker):
    """What is trained now, and how it ended."""

    def __init__(self, run: RunFile | None = None, facts: Facts | None = None) -> None:
        super().__init__(run, facts)
        self.control: Control | None = None  # of the training thread, until its run is put away
        # Set by the training thread, read when the app has ended: one write of a frozen value.
        self.ending: Finished | Failed | None = None
        self.history: History | None = None  # of the newest training
        self.background: Path | None = None  # the run folder of a run that is watched
        self._trained = threading.Event()
        self._trained.set()

    def start_training(self) -> None:
        """Watch the plan train. The caller has seen to it that no problem is left."""
        from backprop_tui.tui.monitor import MonitorScreen

        self.stop_asking()  # what it holds is wanted for the training
        self.control = Control()
        self.ending = None
        screen = MonitorScreen(self.plan, self.control)
        self.history = screen.history
        self.push_screen(screen)
        # From the app, so that the thread does not die with a screen.
        self.run_worker(
            partial(self._train, self.plan, self.control, screen),
            name=TRAINING,
            group=TRAINING,
            thread=True,
            exit_on_error=False,
        )

    def _train(self, run: RunFile, control: Control, screen: MonitorScreen) -> None:
        """The training thread. Touches no widget: every event is posted."""
        from backprop_tui.train.runner import train

        def emit(event: Event) -> None:
            if isinstance(event, Finished | Failed):
                self.ending = event
            if not self.screen_lost:
                screen.post_message(RunEvent(event))

        self._trained.clear()
        try:
            train(run, emit, control)
        finally:
            self._trained.set()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A trainer that could not even be loaded ends like one that failed."""
        super().on_worker_state_changed(event)
        if event.worker.group == TRAINING and event.state is WorkerState.ERROR:
            self.ending = Failed(
                t=0.0,
                code="TRAINER_BROKEN",
                message=f"The trainer could not be started: {event.worker.error}",
                hint="backprop-tui doctor says which library is missing",
                log="",
            )
            if (monitor := self.monitor()) is not None:
                monitor.post_message(RunEvent(self.ending))

    def start_in_background(self) -> None:
        """Start the plan as a process of its own, and watch it."""
        from backprop_tui.tui.background import start_in_background
        from backprop_tui.tui.watch_screen import WatchScreen

        try:
            started = start_in_background(self.plan)
        except BackpropError as error:
            self.notify(f"{error.message}. {error.hint}", severity="error", title="Not started")
            return
        self.stop_asking()
        self.ending, self.background = None, started.folder
        screen = WatchScreen(started.run, started.folder, process=started.process)
        self.history = screen.history
        self.push_screen(screen)

    def monitor(self) -> MonitorScreen | None:
        """The monitor, once a run was started and until it is put away."""
        if self.control is None and self.background is None:
            return None
        from backprop_tui.tui.monitor import MonitorScreen

        return next((s for s in reversed(self.screen_stack) if isinstance(s, MonitorScreen)), None)

    def forget_training(self) -> None:
        """Its screen is closed, and the plan is worked on again."""
        self.control = self.background = None

    # Ending

    def on_unmount(self) -> None:
        """Quitting waits for threads: let the training end within a step, an answer at once.

        Without a terminal nobody has asked for an end: the training goes on.
        """
        self.stop_asking()
        if self.control is not None and not self.screen_lost:
            self.control.stop()

    def terminate(self) -> None:
        """SIGTERM: a training stops and saves, and the screen stays until it has."""
        if self._trained.is_set() or self.control is None:
            super().terminate()
            return
        self.control.stop()
        if self.is_running and not self.screen_lost and (monitor := self.monitor()) is not None:
            monitor.leave_after_stop()

    def wait_for_training(self) -> None:
        """Until the thread that trains has ended, however long after the screen that is."""
        self._trained.wait()

    async def run_async(self, *args: Any, **options: Any) -> int | None:
        """Say what the terminal waits for when the training thread outlives the screen."""
        result = await super().run_async(*args, **options)
        if not self._trained.is_set() and self.ending is None and not self.screen_lost:
            print(STILL_STOPPING, file=sys.__stdout__, flush=True)
        return result

    def last_words(self) -> list[str]:
        """What stays in the terminal."""
        if self.background is not None and self.history is not None and not self.history.ended:
            return way_back(self.background)
        ending = self.ending or (self.history.ended if self.history else None)
        return last_words(self.history, ending)

    @property
    def exit_code(self) -> int:
        """What the process returns: how the training ended, else how the wizard was left."""
        return (self.return_code or 0) if self.ending is None else exit_code(self.ending)

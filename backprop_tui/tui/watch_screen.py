"""WatchScreen: the monitor of a run that another process works on, or that nobody does any more.

It knows no more than the run folder says: the events, and who owns the run. Requests are left in
the folder. Leaving never ends anything.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from backprop_tui.core.events import Resumed
from backprop_tui.core.runfile import RunFile
from backprop_tui.runs.launch import CONSOLE, last_said
from backprop_tui.runs.requests import RemoteControl
from backprop_tui.tui.ending import exit_code
from backprop_tui.tui.last_words import way_on
from backprop_tui.tui.monitor import MonitorScreen
from backprop_tui.tui.watcher import EVERY, Seen, Watcher


class WatchScreen(MonitorScreen):
    """One run, from its folder. It may be live, paused, ended, or interrupted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+q",
            "request_quit",
            "Leave",
            id="watch.leave",
            tooltip="Leave; the run goes on",
            priority=True,
        ),
        Binding("d,f10", "request_quit", "Leave", show=False),
    ]

    def __init__(
        self, run: RunFile, folder: Path, *, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        super().__init__(run, RemoteControl(folder))
        self.folder = folder
        self.owned: bool | None = None  # before the first look
        self._watcher = Watcher(folder, process)

    def on_mount(self) -> None:
        """Begin to look; a look is done in a thread, as the folder may be far away."""
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        told = ""
        while True:
            try:
                seen = await asyncio.to_thread(self._watcher.look)
            except OSError as error:
                if told != (told := f"{error.filename}: {error.strerror or error}"):
                    self.notify(f"{told}. It is tried again.", severity="error", title="Not read")
            else:
                self.see(seen)
            await asyncio.sleep(EVERY)

    def see(self, seen: Seen) -> None:
        """Show what a look has found."""
        first = self.owned is None
        if seen.restarted:
            self.forget()
        if any(isinstance(event, Resumed) for event in seen.events):
            self.control = RemoteControl(self.folder)  # nothing was asked of this owner yet
        self.take(seen.events)
        if seen.owned != self.owned:
            self.owned = seen.owned
            halted = not seen.owned and self.history.ended is None
            self._progress.halt(way_on(self.folder) if halted else "")
            self.refresh_bindings()
            if halted and self._watcher.process is not None:
                self._tell_why()
        if first:
            then, came = self._now
            self._now = (then, came - seen.age)
            self.draw()

    def _tell_why(self) -> None:
        """The process that was started is gone without a last event."""
        said = last_said(self.folder).strip() or f"see {self.folder / CONSOLE}"
        self.record(f"the process ended: {said}")
        self.notify(said.splitlines()[-1], severity="error", title="The process ended")

    def reachable(self) -> bool:
        """Whether somebody owns the run."""
        return bool(self.owned)

    @property
    def interrupted(self) -> bool:
        """Whether the run has not ended and nobody works on it."""
        return self.owned is False and self.history.ended is None

    def request_quit(self) -> None:
        """Leave at once: nothing ends by it."""
        ended = self.history.ended
        self.app.exit(return_code=0 if ended is None else exit_code(ended))

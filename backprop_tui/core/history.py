"""What a run has done so far: its events, sorted for reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from backprop_tui.core.events import (
    Amended,
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    GpuSampled,
    Paused,
    Preparing,
    Probed,
    Resumed,
    Saved,
    Started,
    Step,
    Warned,
)


@dataclass(slots=True)
class History:
    """The events so far, sorted for reading. Grows by `add`; the only mutable value here."""

    started: Started | None = None
    probed: Probed | None = None
    stage: str = ""
    steps: list[Step] = field(default_factory=list)
    evaluations: list[Evaluated] = field(default_factory=list)
    gpu: list[GpuSampled] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    saved: list[Saved] = field(default_factory=list)
    amended: list[Amended] = field(default_factory=list)
    paused: Paused | None = None  # now
    ended: Finished | Failed | None = None
    since: int = 0  # of how many steps a pause came last; it is not training time

    def add(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case Preparing():
                self.stage = event.stage
            case Started():
                self.started, self.stage = event, "training"
            case Probed():
                self.probed = event
            case Step():
                self.steps.append(event)
            case Evaluated():
                self.evaluations.append(event)
            case GpuSampled():
                self.gpu.append(event)
            case Warned():
                self.warnings.append(event)
            case Saved():
                self.saved.append(event)
            case Paused():
                self.paused = event
            case Continued():
                self.paused, self.since = None, len(self.steps)
            case Amended():
                self.amended.append(event)
            case Resumed():
                self._forget_after(event.step if event.checkpoint else -1)
            case Finished() | Failed():
                self.ended, self.paused = event, None

    def _forget_after(self, step: int) -> None:
        """Drop what a killed process did after its last checkpoint: it is done again."""
        self.ended = self.paused = None
        self.steps = [event for event in self.steps if event.step <= step]
        self.evaluations = [event for event in self.evaluations if event.step <= step]
        self.saved = [event for event in self.saved if event.step <= step]
        self.amended = [event for event in self.amended if event.step <= step]
        self.since = len(self.steps)

    @property
    def last(self) -> Step | None:
        """The newest step."""
        return self.steps[-1] if self.steps else None

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the pace of the last 20 steps, those after a pause if there are
        two; None before the second step."""
        after = min(20, len(self.steps) - self.since)
        recent = self.steps[-after:] if after > 1 else self.steps[-20:]
        if len(recent) < 2 or recent[-1].step == recent[0].step:
            return None
        pace = (recent[-1].t - recent[0].t) / (recent[-1].step - recent[0].step)
        return pace * (recent[-1].steps - recent[-1].step)

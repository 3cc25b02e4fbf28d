"""The header: what runs, how far it is, how long it takes, and what was asked of it."""

from __future__ import annotations

from backprop_tui.core.chart import Run
from backprop_tui.core.events import Event, Failed, Finished, Step
from backprop_tui.core.history import History
from backprop_tui.core.pace import pace
from backprop_tui.core.reading import NOTHING_SAVED
from backprop_tui.core.text import count, duration
from backprop_tui.tui.panels.panel import BAD, GOOD, LABEL, VALUE, WARN, Line, Panel, bar, words
from backprop_tui.tui.signs import SIGNS

BAR = 32  # cells the bar and the percentage keep beside the speeds


class ProgressPanel(Panel):
    """Two lines: method, model, step and a note; the bar with the times."""

    def __init__(self, history: History, method: str, model: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.history, self.method, self.model = history, method, model
        self.elapsed = 0.0
        self.note = ""  # what was asked of the run and is not done yet
        self.halted = ""  # the command that takes up a run nobody works on

    def take(self, event: Event) -> None:
        """Every event may move the header; the history already holds it."""
        self.changed = True

    def tick(self, elapsed: float) -> None:
        """Let the clock go on between events."""
        if int(elapsed) != int(self.elapsed):
            self.changed = True
        self.elapsed = elapsed

    def ask(self, note: str) -> None:
        """Show at once what was asked of the run; "" when it is done."""
        if note != self.note:
            self.note, self.changed = note, True
            self.redraw()

    def halt(self, command: str) -> None:
        """Nobody works on the run, and it has not ended; "" when somebody does."""
        if command != self.halted:
            self.halted, self.changed = command, True

    def lines(self, width: int, height: int) -> list[Line]:
        """The two lines."""
        return [self._title(width), self._bar(width)][:height]

    def _title(self, width: int) -> Line:
        where, role = self._where()
        right = self.note or where
        right_role = WARN if self.note else role
        if self.note and self.history.steps:
            right = f"{where}   {self.note}"
        right = _cut(right, width - len(self.method) - 2)
        model = self.history.started.model if self.history.started else self.model
        room = width - len(self.method) - len(right) - 4
        if len(model) > room:
            model = model[: max(0, room - 1)] + SIGNS.more[0] if room > 1 else ""
        middle = words(f" · {model} ") if model else " "
        gap = " " * max(1, width - len(self.method) - len(middle) - len(right))
        return [
            Run(self.method, VALUE),
            Run(middle, LABEL),
            Run(gap, LABEL),
            Run(words(right), right_role),
        ]

    def _where(self) -> tuple[str, int]:
        """The step or the stage, or how it ended."""
        ended, last = self.history.ended, self.history.last
        if isinstance(ended, Failed):
            return f"{SIGNS.problem} failed", BAD
        steps = _steps(last) if last else ""
        if isinstance(ended, Finished):
            if ended.stopped and not ended.path:
                return f"{SIGNS.note} {NOTHING_SAVED.lower()}", VALUE
            word = "stopped and saved" if ended.stopped else "finished"
            return f"{steps}   {SIGNS.done} {word}".strip(), GOOD
        if self.halted:
            begun = "interrupted before the first step" if self.history.stage else "not begun"
            done = f"interrupted at {steps}" if last else begun
            return f"{SIGNS.warning} {done}", WARN
        if paused := self.history.paused:
            return f"{steps or self.history.stage}   {SIGNS.pause} paused: {paused.why}", WARN
        if last:
            return steps, VALUE
        return self.history.stage or "preparing", VALUE

    def _bar(self, width: int) -> Line:
        last, ended = self.history.last, self.history.ended
        times = f"{duration(ended.t if ended else self.elapsed)} elapsed"
        if self.halted and not ended:
            times = self.halted
        elif last and not ended and not self.history.paused:
            left = self.history.eta
            times += "" if left is None else f" · {duration(left)} left"
        if not self.halted:
            times = words(times + self._pace(width - len(times)))
        share = last.step / last.steps if last and last.steps else 0.0
        percent = f"{int(share * 100):>3} %  "
        times = _cut(times, width - len(percent) - 2)
        full, free = bar(share, max(0, width - len(times) - len(percent) - 2))
        role = BAD if isinstance(ended, Failed) else GOOD if ended else 0
        return [Run(full, role), Run(free, LABEL), Run(percent, VALUE), Run("  " + times, LABEL)]

    def _pace(self, room: int) -> str:
        """Tokens a second, and more of the speeds as long as the bar keeps its length."""
        last = self.history.last
        if last is None:
            return ""
        method = self.history.started.method if self.history.started else self.method
        shown = ""
        for part in pace(last.tokens_per_second, last.rows_per_second, last.mfu, method):
            if shown and room - len(f"{shown} · {part}") < BAR:
                break
            shown += f" · {part}"
        return shown


def _cut(text: str, room: int) -> str:
    """Text that ends in a sign where it had to be cut."""
    return text if len(text) <= room else text[: max(0, room - 1)] + SIGNS.more[0]


def _steps(last: Step) -> str:
    return f"step {count(last.step)} of {count(last.steps)}"

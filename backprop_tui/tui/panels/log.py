"""What happened, in words: stages, warnings, evaluations, saves, requests."""

from __future__ import annotations

import textwrap
from typing import ClassVar

from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from backprop_tui.core.events import (
    Amended,
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    Paused,
    Preparing,
    Resumed,
    Saved,
    Started,
    Warned,
)
from backprop_tui.core.lines import amended, resumed
from backprop_tui.core.reading import NOTHING_SAVED, figure
from backprop_tui.core.text import count, duration, percent, plural, rate
from backprop_tui.tui.panels.panel import BAD, CLASSES, GOOD, LABEL, VALUE, WARN, words
from backprop_tui.tui.signs import SIGNS

KEPT = 500  # entries; run.log has them all
INDENT = 10  # cells of the time and the sign


def entry(event: Event) -> tuple[str, str, int] | None:
    """Sign, words and role of an event; None for those the panels show."""
    match event:
        case Preparing():
            return SIGNS.dot, event.stage, LABEL
        case Started():
            return SIGNS.here, _started(event), VALUE
        case Evaluated():
            return SIGNS.note, f"step {count(event.step)}: held-out {_measured(event)}", VALUE
        case Warned():
            return SIGNS.warning, f"warning {event.code}: {event.message}", WARN
        case Saved():
            return SIGNS.done, f"step {count(event.step)}: {event.kind} saved, {event.path}", GOOD
        case Paused():
            return SIGNS.pause, f"step {count(event.step)}: paused: {event.why}", WARN
        case Continued():
            return SIGNS.here, f"step {count(event.step)}: going on", VALUE
        case Amended():
            return SIGNS.warning, amended(event), WARN
        case Resumed():
            return SIGNS.here, resumed(event), VALUE
        case Finished():
            if event.stopped and not event.path:
                return SIGNS.note, NOTHING_SAVED.lower(), VALUE
            word = "stopped and saved" if event.stopped else "finished"
            why = f" ({event.why})" if event.why else ""
            return SIGNS.done, f"{word} after {plural(event.step, 'step')}{why}, {event.path}", GOOD
        case Failed():
            return SIGNS.problem, f"failed, {event.code}: {event.message} {event.hint}".strip(), BAD
        case _:
            return None


def _started(event: Started) -> str:
    heldout = f"{count(event.heldout_rows)} held out" if event.heldout_rows else "none held out"
    text = (
        f"training: {plural(event.steps, 'step')} over {plural(event.train_rows, 'row')}, "
        f"{heldout}, learning rate {rate(event.learning_rate)}, on {event.device}"
    )
    dropped = ", ".join(f"{count(n)} {reason}" for reason, n in event.dropped.items() if n)
    return f"{text}; dropped: {dropped}" if dropped else text


def _measured(event: Evaluated) -> str:
    parts = [f"loss {figure(event.loss)}"]
    if event.margin is not None:
        parts.append(f"margin {figure(event.margin, signed=True)}")
    if event.accuracy is not None:
        parts.append(f"accuracy {percent(event.accuracy)}")
    return ", ".join(parts)


class LogPanel(ScrollView, can_focus=True):
    """The entries, wrapped to the width, the newest in view unless the user scrolled up."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(CLASSES.values())

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Log"
        self.entries: list[tuple[float, str, str, int]] = []
        self.rows: list[tuple[str, str, int]] = []  # head, text, role of a drawn line
        self.changed = False
        self.follow = True  # keep the newest in view

    def take(self, event: Event) -> None:
        """Add an entry for an event that has one."""
        found = entry(event)
        if found:
            self.write(event.t, *found)

    def write(self, t: float, sign: str, text: str, role: int = LABEL) -> None:
        """Add an entry."""
        self.entries.append((t, sign, words(text), role))
        if len(self.entries) > KEPT:
            del self.entries[: KEPT // 5]
        self.changed = True

    def clear(self) -> None:
        """Without entries."""
        self.entries.clear()
        self.changed = True

    def redraw(self) -> None:
        """Wrap the entries again when there are new ones."""
        if self.changed:
            self.changed = False
            self._wrap()

    def on_resize(self, event: Resize) -> None:
        """Wrap to the new width."""
        self._wrap()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """A user who scrolls up is left there; at the end the log follows again."""
        super().watch_scroll_y(old_value, new_value)
        self.follow = new_value >= self.max_scroll_y

    def _wrap(self) -> None:
        width = self.scrollable_content_region.width
        if width <= INDENT:
            return
        self.rows = []
        for t, sign, text, role in self.entries:
            head = f"{duration(t):>7} {sign} "
            for line in textwrap.wrap(text, width - INDENT) or [""]:
                self.rows.append((head, line, role))
                head = " " * INDENT
        self.virtual_size = Size(width, len(self.rows))
        if self.follow:
            self.scroll_end(animate=False, force=True, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        row = y + self.scroll_offset.y
        width, base = self.scrollable_content_region.width, self.rich_style
        if row >= len(self.rows):
            return Strip.blank(width, base)
        head, text, role = self.rows[row]
        style = self.get_component_rich_style
        segments = [
            Segment(head[:8], style(CLASSES[LABEL])),
            Segment(head[8:], style(CLASSES[role])),
            Segment(text, style(CLASSES[VALUE if role in (LABEL, GOOD, WARN, BAD) else role])),
        ]
        return Strip(segments).adjust_cell_length(width, base)

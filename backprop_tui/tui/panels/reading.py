"""One sentence that reads the run in words."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.history import History
from backprop_tui.core.reading import read_run
from backprop_tui.tui.panels.panel import words


class ReadingPanel(Static):
    """core.reading.read_run, wrapped; drawn again only when the sentence changed."""

    TITLE = "In words"

    def __init__(self, history: History, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = self.TITLE
        self.history = history
        self.sentence = ""

    def redraw(self) -> None:
        """Read the run again."""
        sentence = words(read_run(self.history))
        if sentence != self.sentence:
            self.sentence = sentence
            self.update(Content(sentence), layout=False)

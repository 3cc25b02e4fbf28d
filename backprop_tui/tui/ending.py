"""The screens at the end of a run, and the question before an end that was not planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, Static

from backprop_tui.core.errors import EXIT_INTERRUPTED
from backprop_tui.core.events import Failed, Finished
from backprop_tui.core.history import History
from backprop_tui.core.reading import NOTHING_SAVED
from backprop_tui.core.summary import summary
from backprop_tui.core.verdict import verdict
from backprop_tui.tui.panels.panel import words
from backprop_tui.tui.signs import SIGNS, is_plain


def exit_code(ended: Finished | Failed | None) -> int:
    """What the program returns after this end."""
    return EXIT_INTERRUPTED if ended is None else ended.exit_code


def hint_in_the_wizard(ended: Failed) -> str:
    """What to do, without the command line's options where a step asks the same."""
    if ended.code not in ("OUTPUT_EXISTS", "WRITE_REFUSED"):
        return ended.hint
    return f"{ended.hint.replace(' with --output', '')} (step 5, output folder)"


class Question(ModalScreen[bool]):
    """A yes-or-no question. No is the default: enter and escape mean no."""

    CSS_PATH = "ending.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="question.yes", tooltip="Do it"),
        Binding("n,escape", "answer(False)", "No", id="question.no", tooltip="Change nothing"),
        Binding("ctrl+q,ctrl+c", "answer(False)", "No", show=False, priority=True),
        Binding("left,right", "app.focus_next", "Other answer", show=False),
    ]

    def __init__(self, title: str, text: str, *, yes: str, no: str) -> None:
        super().__init__()
        self.title_text, self.text, self.yes, self.no = title, text, yes, no

    def compose(self) -> ComposeResult:
        """The question and the two answers, the harmless one first and focused."""
        with VerticalScroll(classes="ending", can_focus=False) as box:
            box.border_title = self.title_text
            yield Static(Content(words(self.text)), classes="ending--text")
            with Horizontal(classes="ending--buttons"):
                yield Button(f"{self.no}  (n)", id="no", variant="primary")
                yield Button(f"{self.yes}  (y)", id="yes")

    def on_mount(self) -> None:
        """No is the default."""
        self.set_class(is_plain(), "plain")
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button is the same as its key."""
        event.stop()
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)


class EndScreen(ModalScreen[None]):
    """The end of a run over its charts. enter: look at the charts; b: the plan; q: quit."""

    CSS_PATH = "ending.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,escape", "dismiss", "Charts", id="end.charts", tooltip="Back to the charts"),
        Binding(
            "q,ctrl+q", "leave", "Quit", id="end.quit", tooltip="Leave the program", priority=True
        ),
        Binding(
            "ctrl+b,b",
            "app.back_to_plan",
            "Back to the plan",
            id="end.plan",
            tooltip="Change the plan and start again",
        ),
        Binding("ctrl+c", "leave", "Quit", show=False, priority=True),
    ]

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history

    def on_mount(self) -> None:
        """Plain borders where the terminal asked for them."""
        self.set_class(is_plain(), "plain")

    def action_leave(self) -> None:
        """Leave the program with the exit code of this end."""
        self.app.exit(return_code=exit_code(self.history.ended))

    def _facts(self, facts: Sequence[tuple[str, str]]) -> ComposeResult:
        for label, value in facts:
            with Horizontal(classes="ending--fact"):
                yield Static(Content(label), classes="ending--fact-label")
                yield Static(Content(words(value)), classes="ending--fact-value")


class SummaryScreen(EndScreen):
    """What was trained, what it learned, what it cost, where it is, how to repeat it."""

    def compose(self) -> ComposeResult:
        """The verdict, then the facts."""
        ended = self.history.ended
        stopped = isinstance(ended, Finished) and ended.stopped
        with VerticalScroll(classes="ending wide") as box:
            empty = isinstance(ended, Finished) and stopped and not ended.path
            title = NOTHING_SAVED if empty else "Stopped and saved" if stopped else "Finished"
            box.border_title = f"{SIGNS.note if empty else SIGNS.done} {title}"
            if not empty:
                found = [("Verdict", verdict(self.history).sentence)]
                yield from self._facts(found)
            yield from self._facts(summary(self.history))
        yield Footer(show_command_palette=False)


class FailureScreen(EndScreen):
    """What went wrong, what to do, where the details are."""

    def compose(self) -> ComposeResult:
        """The message first; the code and the log last."""
        ended = self.history.ended
        with VerticalScroll(classes="ending wide") as box:
            box.border_title = f"{SIGNS.problem} The run failed"
            if isinstance(ended, Failed):
                yield Static(Content(words(ended.message)), classes="ending--text")
                saved = self.history.saved
                facts = [
                    ("What to do", hint_in_the_wizard(ended)),
                    (
                        "Last saved",
                        f"step {saved[-1].step}: {saved[-1].path}" if saved else "nothing",
                    ),
                    ("Details", ended.log),
                    ("Code", ended.code),
                ]
                yield from self._facts([fact for fact in facts if fact[1]])
        yield Footer(show_command_palette=False)

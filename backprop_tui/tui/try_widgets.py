"""The parts of the try screen: an answer, the prompt, the votes, the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static, TextArea

from backprop_tui.core.text import plural
from backprop_tui.core.votes import CHOICES, Answer, Choice, Sampling
from backprop_tui.tui.put import put

ENDS = {"writing": "", "ended": "", "full": "cut at the limit", "stopped": "stopped"}
KEYS: dict[Choice, str] = {"A": "a", "B": "b", "tie": "t", "both bad": "x"}
MOST_TOKENS, HIGHEST_TEMPERATURE = 100_000, 10.0


class AnswerPane(VerticalScroll):
    """One side's answer; its title says whose, or A or B while that is secret."""

    def compose(self) -> ComposeResult:
        yield Static("", classes="answer--text")

    def name_it(self, title: str) -> None:
        """Whose answer this is."""
        self.border_title = title

    def show(self, answer: Answer | None, *, waiting: str = "") -> None:
        """The answer so far; None: nothing yet."""
        text = self.query_one(Static)
        at_end = self.max_scroll_y - self.scroll_y <= 1
        if answer is None:
            text.set_class(True, "-waiting")
            put(text, waiting)
            self.border_subtitle = ""
            return
        done = answer.how != "writing"
        empty = done and not answer.text.strip()
        text.set_class(empty, "-waiting")
        put(text, "(it wrote nothing)" if empty else answer.text)
        parts = [plural(answer.tokens, "token"), ENDS[answer.how]]
        self.border_subtitle = ", ".join(part for part in parts if part)
        if at_end and not done:  # follow, unless the user has scrolled up
            self.scroll_end(animate=False)


class PromptArea(TextArea):
    """enter asks; ctrl+j begins a new line, and so does what is pasted."""

    @dataclass
    class Asked(Message):
        """enter was pressed."""

        text: str

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Asked(self.text))
        elif event.key == "ctrl+j":
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)


class VoteBar(Horizontal, can_focus=True):
    """Which answer is better, by key or by mouse. It is focused itself, not a button, so that an
    enter too many votes for nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"vote('{choice}')", choice, show=False) for choice, key in KEYS.items()),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    @dataclass
    class Voted(Message):
        """A vote."""

        choice: Choice

    def compose(self) -> ComposeResult:
        yield Label("Which is better?", classes="vote--ask")
        for choice in CHOICES:
            title = f"{choice} ({KEYS[choice]})"
            yield Button(title, id=f"vote-{KEYS[choice]}", compact=True)

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        """By mouse, or enter on a button."""
        event.stop()
        key = str(event.button.id).removeprefix("vote-")
        self.action_vote(next(choice for choice, one in KEYS.items() if one == key))

    def action_vote(self, choice: Choice) -> None:
        """By key."""
        self.post_message(self.Voted(choice))


class SettingsDialog(ModalScreen[Sampling]):
    """How answers are written. enter takes it, escape changes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c,ctrl+q", "dismiss", "Cancel", id="settings.cancel", priority=True),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, sampling: Sampling) -> None:
        super().__init__()
        self.sampling = sampling

    def compose(self) -> ComposeResult:
        now = self.sampling
        rows = (
            ("temperature", f"{now.temperature:g}", "0: the likeliest word each time"),
            ("max-tokens", str(now.max_new_tokens), "most tokens of an answer"),
            ("seed", str(now.seed), "of the draws; both sides have the same"),
            ("system", now.system, "system prompt; empty for none"),
        )
        with Vertical(classes="dialog"):
            yield Label("How answers are written", classes="dialog--title")
            for name, value, help_ in rows:
                with Horizontal(classes="setting"):
                    yield Label(name.replace("-", " "), classes="setting--label")
                    yield Input(value, id=f"set-{name}", compact=True)
                yield Static(help_, classes="setting--help")
            yield Static("", id="settings-note")
            yield Static("enter take them   escape cancel", classes="dialog--keys")

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    @on(Input.Submitted)
    def take(self) -> None:
        """Hand them back, or say what is not allowed."""
        values = {str(field.id).removeprefix("set-"): field.value for field in self.query(Input)}
        try:
            self.dismiss(
                Sampling(
                    temperature=number(values["temperature"]),
                    max_new_tokens=whole(values["max-tokens"], "max tokens", 1, MOST_TOKENS),
                    seed=whole(values["seed"], "seed", 0, 2**32 - 1),
                    system=values["system"].strip(),
                )
            )
        except ValueError as error:
            put(self.query_one("#settings-note", Static), str(error))


def number(text: str) -> float:
    """A temperature. ValueError in words."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value <= HIGHEST_TEMPERATURE:
        raise ValueError(f"temperature {text!r}: 0 to {HIGHEST_TEMPERATURE:g} is allowed")
    return value


def whole(text: str, name: str, low: int, high: int) -> int:
    """A whole number. ValueError in words."""
    value = int(text) if text.strip().isascii() and text.strip().isdigit() else -1
    if not low <= value <= high:
        raise ValueError(f"{name} {text!r}: a whole number from {low} to {high} is allowed")
    return value

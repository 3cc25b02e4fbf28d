"""The step rail: where you are, what is done, what needs a look. A column, or one line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from backprop_tui.core.rules import Level
from backprop_tui.tui.panels.advice import COLOURS
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import STEPS, View


class RailItem(Static):
    """One step; a click opens it."""

    def __init__(self, step: str) -> None:
        super().__init__(id=f"rail-{step}", classes="rail--item")
        self.step = step
        self.tooltip = f"Open {step.title()}"

    def on_click(self) -> None:
        self.post_message(Rail.GoTo(self.step))


class Rail(Container):
    """All steps."""

    class GoTo(Message):
        """A step was clicked."""

        def __init__(self, step: str) -> None:
            super().__init__()
            self.step = step

    def compose(self) -> ComposeResult:
        for step in STEPS:
            yield RailItem(step)

    def show(self, view: View, current: str, visited: set[str]) -> None:
        """Mark every step."""
        for number, step in enumerate(STEPS, 1):
            item = self.query_one(f"#rail-{step}", RailItem)
            item.set_class(step == current, "-current")
            sign, style = mark(view, step, current, visited)
            text = Content.assemble(Content.styled(sign, style), f" {number} {step.title()}")
            put(item, text)


def mark(view: View, step: str, current: str, visited: set[str]) -> tuple[str, str]:
    """The sign of a step and its colour."""
    if step == current:
        return SIGNS.here, "bold $text-primary"
    if step not in visited or step == "review":
        return " ", ""
    items = view.on_step(step)
    levels: set[Level] = {item.level for item in items if not view.is_todo(item)}
    for level in ("problem", "warning"):
        if level in levels:
            return SIGNS.level(level), COLOURS[level]
    if step == "memory" and view.memory is None:
        return " ", ""
    if any(view.is_todo(item) for item in items):
        return SIGNS.todo, "$text-primary"
    return SIGNS.done, "$text-success"

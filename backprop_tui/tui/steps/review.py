"""Step 7: what will happen, what stands in the way, and the file that says it all."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from backprop_tui.core.rules import Advice
from backprop_tui.core.runfile_io import to_toml
from backprop_tui.tui import words
from backprop_tui.tui.options import replace_options
from backprop_tui.tui.panels.advice import NO_BREAK, heading
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.view import View, places


class ReviewStep(Step):
    """All advice in one list, the run in words, the TOML."""

    name_ = "review"
    title = "Review"
    intro = "The whole plan before it starts. ctrl+s saves it as a file."
    first = "#all-advice"

    class GoTo(Message):
        """The user wants to see the field of an advice."""

        def __init__(self, item: Advice) -> None:
            super().__init__()
            self.item = item

    def __init__(self) -> None:
        super().__init__()
        self._advice: tuple[Advice, ...] = ()

    def compose_body(self) -> ComposeResult:
        yield Static("", id="ready")
        yield Static("", id="two-ways", markup=False)
        yield OptionList(id="all-advice", compact=True)
        yield Static("What will happen", classes="group")
        yield Static("", id="what", markup=False)
        yield Static("", id="all-cards-title", classes="group", markup=False)
        yield Static("", id="all-cards", markup=False)
        yield Static("The run file", classes="group")
        with VerticalScroll(id="toml"):
            yield Static("", id="toml-text", markup=False)

    def show_body(self, view: View) -> None:
        self._advice = view.advice
        put(self.query_one("#ready", Static), ready(view))
        put(self.query_one("#two-ways", Static), words.two_ways(over_ssh()))
        listed = self.query_one("#all-advice", OptionList)
        listed.display = bool(view.advice)
        rows = [
            Option(row(item, todo=view.is_todo(item)), id=f"{i}-{item.code}")
            for i, item in enumerate(view.advice)
        ]
        replace_options(listed, rows, rows[0].id or "" if rows else "")
        lines = words.what_will_happen(view)
        put(self.query_one("#what", Static), "\n".join(f"{SIGNS.note} {line}" for line in lines))
        self._show_all_cards(view)
        put(self.query_one("#toml-text", Static), highlighted(to_toml(view.plan)))

    def _show_all_cards(self, view: View) -> None:
        """What starts the plan on every card; from here one trains."""
        from backprop_tui.tui.app import BackpropApp

        assert isinstance(self.app, BackpropApp)
        number = len(view.facts.gpu.cards) if view.facts.gpu else 0
        for name, text in (
            ("#all-cards-title", f"On all {number} cards, once ctrl+s has saved the file"),
            ("#all-cards", on_all_cards(number, self.app.proposed_name())),
        ):
            shown = self.query_one(name, Static)
            shown.display = view.effective.device == "cuda" and number > 1
            put(shown, text)

    def focus_first(self) -> None:
        self.query_one("#all-advice" if self._advice else "#toml").focus()

    def fixable(self, view: View) -> Advice | None:
        """The highlighted line's fix, else the first there is."""
        index = self.query_one("#all-advice", OptionList).highlighted
        items = list(view.advice)
        if index is not None and index < len(items) and items[index].fix:
            return items[index]
        return next((item for item in items if item.fix), None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.GoTo(self._advice[event.option_index]))


def over_ssh() -> bool:
    """Whether this terminal is at the other end of a connection that may drop."""
    return any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))


def ready(view: View) -> Content:
    """Whether it can start."""
    if view.reading & {"model", "data", "machine"}:
        return Content.from_markup("$sign still reading", sign=SIGNS.more)
    if view.problems:
        return Content.from_markup(
            "[$text-error]$sign not ready[/]  enter goes to the field, f6 applies its fix",
            sign=SIGNS.problem,
        )
    return Content.from_markup("[$text-success]$sign ready to start[/]", sign=SIGNS.done)


def on_all_cards(number: int, file: Path) -> str:
    """The command for a shell, in two lines that are copied as they stand."""
    return (
        f"accelerate launch --multi_gpu --num_processes {number} \\\n"
        f"  -m backprop_tui run {shlex.quote(str(file))}"
    )


def row(item: Advice, *, todo: bool) -> Content:
    """One advice, with its place and its fix."""
    fix = f"f6 {item.fix.label}".replace(" ", NO_BREAK) if item.fix else ""
    return Content.assemble(
        heading(item, todo=todo),
        Content.styled(f"  {places(item)[0]}  ", "$muted"),
        f"{item.message}  " if fix else item.message,
        Content.styled(fix, "$text-primary"),
    )


def highlighted(toml: str) -> Content:
    """The file with its keys and values told apart."""
    from textual.highlight import highlight  # pygments, 0.1 s: only here

    return highlight(toml, language="toml")

"""The help screen: keys, steps, and where things are written."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("ctrl+n  ctrl+b", "next step, step before"),
    ("escape, then 1-6", "leave the field, open a step"),
    ("tab  shift+tab", "next and previous field; in a path, tab completes it"),
    ("up  down  enter", "move in a list or between fields, choose"),
    ("f2", "use the bundled model or data"),
    ("f5", "read the machine, the model and the data again"),
    ("f6", "apply the fix shown beside a warning"),
    ("f9 or ctrl+r", "start the training"),
    ("ctrl+s", "save the plan as a run file"),
    ("ctrl+p", "colours and other commands"),
    ("ctrl+q", "quit; ctrl+c quits too, and asks when something is not saved"),
)
STEPS = (
    ("1 Machine", "which card to use, and who else holds its memory"),
    ("2 Model", "the language model that is tuned"),
    ("3 Data", "the examples it learns from, and how many are held out to measure on"),
    ("4 Method", "sft imitates; orpo and simpo learn from pairs; kto from good and bad marks"),
    ("5 Tuning", "rate, batch, adapter and where to write; every default is sound"),
    ("6 Review", "what will happen, and the run file"),
)
FILES = (
    ("run file", "the whole plan, saved with ctrl+s; backprop-tui run FILE repeats it"),
    ("run folder", "runs/METHOD-MODEL unless you say otherwise; an existing one is never touched"),
    ("", "run.toml, events.jsonl, run.log, checkpoints/, adapter/"),
)


class HelpScreen(ModalScreen[None]):
    """One page; escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="help"):
            for title, rows in (("Keys", KEYS), ("Steps", STEPS), ("Files", FILES)):
                yield Static(title, classes="group")
                yield Static(Content("\n").join(_row(*row) for row in rows))
            yield Static("escape closes this page", classes="dialog--keys")


def _row(name: str, text: str) -> Content:
    return Content.assemble(Content.styled(f"{name:<18}", "$text-primary"), text)

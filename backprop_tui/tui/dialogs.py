"""Under which name to save the run file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static


class SaveDialog(ModalScreen[Path]):
    """Where to write the run file. An existing file is only replaced after a second enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", id="save.cancel"),
    ]

    def __init__(self, proposal: Path) -> None:
        super().__init__()
        self.proposal = proposal
        self._confirmed: Path | None = None  # the existing file the user agreed to replace

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("Save the run file", classes="dialog--title")
            yield Input(str(self.proposal), compact=True, select_on_focus=False)
            yield Static("", id="save-note", markup=False)
            yield Static("enter save   escape cancel", classes="dialog--keys")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Changed)
    def explain(self, event: Input.Changed) -> None:
        """Say beforehand what enter will do."""
        self._confirmed = None
        path = self.path(event.value)
        note = f"writes {path.absolute()}"
        if path.is_dir():
            note = f"{path} is a folder: add a file name"
        elif path.exists():
            note = f"{path} exists; it is not replaced without asking"
        self.query_one("#save-note", Static).update(note)

    @on(Input.Submitted)
    def save(self, event: Input.Submitted) -> None:
        """Hand the path back; ask once more for a file that exists."""
        path = self.path(event.value)
        if not event.value.strip() or path.is_dir():
            return
        if path.exists() and self._confirmed != path:
            self._confirmed = path
            self.query_one("#save-note", Static).update(
                f"Replace {path}? enter again replaces it, escape keeps it"
            )
            return
        self.dismiss(path)

    @staticmethod
    def path(text: str) -> Path:
        """The file a text names."""
        return Path(text.strip()).expanduser()

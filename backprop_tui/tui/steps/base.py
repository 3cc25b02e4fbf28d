"""Step: one page of the wizard, a view of the plan and the facts."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.css.query import NoMatches
from textual.widget import Widget
from textual.widgets import Input, Static

from backprop_tui.core.rules import Advice
from backprop_tui.tui.field import Field, planner
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.view import View


class Step(VerticalScroll, can_focus=False):
    """name: as in view.STEPS. first: the selector of the widget that gets the focus."""

    name_: ClassVar[str]
    title: ClassVar[str]
    intro: ClassVar[str]
    first: ClassVar[str] = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id=self.name_, classes="step")

    def compose(self) -> ComposeResult:
        yield Static(self.intro, classes="intro", markup=False)
        yield from self.compose_body()

    def compose_body(self) -> ComposeResult:
        """The widgets below the introduction."""
        raise NotImplementedError

    def show(self, view: View) -> None:
        """Bring every widget in line with the view."""
        for field in self.query(Field):
            field.show(view)
        self.show_body(view)
        self.mark_fix(view)
        self.call_after_refresh(self._keep_in_view)

    def show_body(self, view: View) -> None:
        """What is not a field."""

    def focus_first(self) -> None:
        """The focus where a newcomer wants it."""
        try:
            self.query(self.first).first(Widget).focus(scroll_visible=False)
        except NoMatches:
            self.screen.set_focus(None)

    def _keep_in_view(self) -> None:
        """Advice that appears under the field being typed in must be seen."""
        if self.display and (field := self._focused_field()) is not None:
            field.scroll_visible(animate=False)

    def _focused_field(self) -> Field | None:
        focused = self.screen.focused
        nodes = focused.ancestors_with_self if focused else []
        return next((node for node in nodes if isinstance(node, Field)), None)

    def fixable(self, view: View) -> Advice | None:
        """The advice the fix key answers: the focused field's, else the first on the step."""
        items = [item for item in view.on_step(self.name_) if item.fix]
        field = self._focused_field()
        own = [item for item in items if field is not None and item.field == field.key]
        return next(iter([*own, *items]), None)

    def mark_fix(self, view: View) -> None:
        """Write the fix key beside the advice it answers."""
        item = self.fixable(view)
        for notes in self.query(Notes):
            notes.mark(item.code if item else None)

    def on_descendant_focus(self) -> None:
        self.mark_fix(planner(self).view)

    def on_descendant_blur(self) -> None:
        """A name is finished when its field is left; not when the focus only went to its list."""
        self.call_after_refresh(self._finish_names)

    def _finish_names(self) -> None:
        field = self._focused_field() if self.is_attached else None
        here = field is not None and self in field.ancestors
        if field is None or not here or field.key not in ("model.id", "data.path"):
            planner(self).ask_hub()

    @on(Notes.FixClicked)
    def fix_clicked(self, event: Notes.FixClicked) -> None:
        """A fix was clicked instead of typed."""
        event.stop()
        if event.item.fix:
            planner(self).apply(dict(event.item.fix.changes))

    @on(Input.Submitted)
    def next_field(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field; a name in this one is finished."""
        event.stop()
        planner(self).ask_hub()
        self.screen.focus_next()

"""Field: one key of the run file as a label, a control, its help, and the advice under it.

A field never holds the plan: it hands what was typed to the planner and shows what the view
says. Text that cannot become part of the plan stays in the control, with the reason under it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Label, Select, Static

from backprop_tui.core.runfile_keys import help_for
from backprop_tui.core.text import rate
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View, value_at

if TYPE_CHECKING:
    from backprop_tui.tui.planner import Planner

Kind = Literal["text", "number", "whole"]


def planner(widget: Widget) -> Planner:
    """The app of a widget, as the one who keeps the plan."""
    return cast("Planner", widget.app)


def typed(text: str, kind: Kind) -> Any:
    """What a text means: None when empty, a number when it is one, else the text itself."""
    text = text.strip()
    if not text or kind == "text":
        return text or None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def written(value: Any) -> str:
    """A value as a person types it."""
    if isinstance(value, float):
        return repr(value) if len(repr(value)) < 12 else rate(value)
    return "" if value is None else str(value)


class Field(Vertical):
    """The frame of a field; the control is made by a subclass."""

    def __init__(self, key: str, label: str, *, help: str | None = None) -> None:
        super().__init__(id=field_id(key), classes="field")
        self.key = key
        self.label = label
        self.help = help_for(key) if help is None else help

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field--row"):
            yield Label(self.label, classes="field--label")
            yield from self.compose_control()
            yield Static(self.help, classes="field--help", markup=False)
        yield Notes()

    def compose_control(self) -> ComposeResult:
        """The control itself."""
        raise NotImplementedError

    def show(self, view: View) -> None:
        """Bring control and advice in line with the view."""
        self.query_one(Notes).show(view.under(self.key))

    def say(self, text: str) -> None:
        """Replace the help by something about this very value; "" brings the help back."""
        put(self.query_one(".field--help", Static), text or self.help)


class TextField(Field):
    """A line of text or a number. Empty means the default, or that the tool chooses."""

    def __init__(
        self,
        key: str,
        label: str,
        kind: Kind = "text",
        *,
        empty: str = "",
        help: str | None = None,
    ) -> None:
        super().__init__(key, label, help=help)
        self.kind: Kind = kind
        self.empty = empty
        self._known = ""  # the text last shown or handed over; another one is on its way
        self._shown = False  # whether a value was ever written into it
        if kind != "text":
            self.add_class("-number")

    def compose_control(self) -> ComposeResult:
        yield Input(placeholder=self.empty, compact=True)

    @property
    def input(self) -> Input:
        """The control."""
        return self.query_one(Input)

    def show(self, view: View) -> None:
        super().show(view)
        if self.input.value != self._known or planner(self).is_refused(self.key):
            return
        value = value_at(view.plan, self.key)
        meant = typed(self._known, self.kind)
        if meant is None and self._shown:
            meant = planner(self).default_of(self.key)
        if meant != value:
            self._known = written(value)
            self._shown = True
            self.input.value = self._known

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.input.value != self._known:
            self._known = self.input.value
            planner(self).edit(self.key, typed(self._known, self.kind))


class ChoiceField(Field):
    """One of a few values. labels: value -> what to call it."""

    def __init__(
        self, key: str, label: str, labels: dict[str, str], *, help: str | None = None
    ) -> None:
        super().__init__(key, label, help=help)
        self.labels = labels
        self._shown = False  # until then the control holds its first option, not the plan's value

    def compose_control(self) -> ComposeResult:
        yield Select[str](
            [(name, value) for value, name in self.labels.items()],
            allow_blank=False,
            compact=True,
        )

    def show(self, view: View) -> None:
        super().show(view)
        value = value_at(view.plan, self.key)
        select = cast("Select[str]", self.query_one(Select))
        if isinstance(value, list):  # module names from a run file: shown, and kept
            value = ", ".join(value)
        if value is None:
            return
        if value not in self.labels:
            self.labels[value] = value
            select.set_options([(name, item) for item, name in self.labels.items()])
        select.value = value
        self._shown = True

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()
        value = event.select.value  # the message may be older than what is shown by now
        now = value_at(planner(self).plan, self.key)
        if (
            self._shown
            and now is not None
            and value != now
            and value in self.labels
            and not _same(now, value)
        ):
            planner(self).edit(self.key, value)


def _same(now: Any, shown: object) -> bool:
    return isinstance(now, list) and ", ".join(now) == shown


class Toggle(Static, can_focus=True):
    """Yes or no, as a sign and a word. Space and enter change it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter", "flip", "Change", show=False),
    ]

    class Toggled(Message):
        """The user changed it."""

    on: reactive[bool] = reactive(False)

    def render(self) -> str:
        return f"{SIGNS.on} yes" if self.on else f"{SIGNS.off} no"

    def action_flip(self) -> None:
        """The other one."""
        self.post_message(self.Toggled())

    def on_click(self) -> None:
        self.action_flip()


class SwitchField(Field):
    """Yes or no."""

    def compose_control(self) -> ComposeResult:
        yield Toggle()

    def value(self, view: View) -> bool:
        """What the plan says."""
        return bool(value_at(view.plan, self.key))

    def show(self, view: View) -> None:
        super().show(view)
        self.query_one(Toggle).on = self.value(view)

    def on_toggle_toggled(self, event: Toggle.Toggled) -> None:
        event.stop()
        self.change(not self.value(planner(self).view))

    def change(self, on: bool) -> None:
        """The user switched it."""
        planner(self).edit(self.key, on)


def field_id(key: str) -> str:
    """The widget id of a key's field."""
    return "field-" + key.replace(".", "-")

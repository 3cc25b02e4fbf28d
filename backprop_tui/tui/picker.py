"""PathField: a path, a hub id or "pocket", with what it could be listed below while typing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from backprop_tui.core.rules import Advice
from backprop_tui.tui.field import TextField, planner
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.paths import Offer, Wanted, completed, is_folder, offers
from backprop_tui.tui.view import View, value_at

UNASKED = "enter looks it up on the hub"


class PathInput(Input):
    """Tab completes while there is something to complete, and moves on when there is not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False),
        Binding("down", "pick", "Choose from the list", show=False),
    ]

    class Complete(Message):
        """Tab was pressed."""

    class Pick(Message):
        """Down was pressed."""

    def action_complete(self) -> None:
        """Ask the field to complete."""
        self.post_message(self.Complete())

    def action_pick(self) -> None:
        """Ask the field for its list."""
        self.post_message(self.Pick())


class Offers(OptionList):
    """What the text could become; up from the first line goes back to the text."""

    def action_cursor_up(self) -> None:
        if self.highlighted:
            super().action_cursor_up()
        else:
            self.screen.focus_previous()


class PathField(TextField):
    """known: offers besides paths, the bundled one and cached models; asked whenever shown."""

    def __init__(
        self,
        key: str,
        label: str,
        *,
        wanted: Wanted,
        known: Callable[[], tuple[Offer, ...]],
        empty: str,
    ) -> None:
        super().__init__(key, label, empty=empty, help="")
        self.wanted = wanted
        self.known = known
        self._offers: tuple[Offer, ...] = ()
        self._settled = False  # the text names something that could be read

    def compose(self) -> ComposeResult:
        yield from super().compose()
        yield Offers(classes="offers", compact=True)

    def compose_control(self) -> ComposeResult:
        yield PathInput(placeholder=self.empty, compact=True)

    def show(self, view: View) -> None:
        super().show(view)
        facts = view.facts.model if self.key == "model.id" else view.facts.data
        self._settled = facts is not None
        self._list()
        self.query_one(Notes).show(self.advice(view), todo=not value_at(view.plan, self.key))

    def advice(self, view: View) -> tuple[Advice, ...]:
        """What stands under the field; a name that is being typed is not yet a mistake."""
        found = view.under(self.key)
        if self.key.split(".")[0] in planner(self).unasked:
            folder = self.key == "data.path" and is_folder(self.input.value)
            text = "enter reads every file in this folder" if folder else UNASKED
            return (Advice("HUB_UNASKED", "note", self.key, text),)
        if not self._offers or not self.input.value:
            return found
        text = "nothing has this name yet: tab completes it, down chooses from the list."
        return tuple(
            replace(item, message=text) if item.code.endswith("_NOT_FOUND") else item
            for item in found
        )

    def _list(self) -> None:
        """Show the list while it is of use: nothing named yet, or a name being typed."""
        options = self.query_one(OptionList)
        inside = self.has_focus_within or not self.input.value
        self._offers = self.find() if inside and not self._settled else ()
        options.display = bool(self._offers)
        new = [Option(_row(offer), id=str(i)) for i, offer in enumerate(self._offers)]
        if [o.prompt for o in options.options] != [o.prompt for o in new]:
            options.clear_options()
            options.add_options(new)

    def find(self) -> tuple[Offer, ...]:
        """What the text could become."""
        text = self.input.value
        named = [o for o in self.known() if text.lower() in o.text.lower() and o.text != text]
        found = [o for o in offers(text, self.wanted) if o.text != text]
        return (*named, *found)

    def take(self, text: str) -> None:
        """Put a text in the field, as if it had been typed."""
        self.input.value = text
        self.input.cursor_position = len(text)

    @on(PathInput.Complete)
    def complete(self, event: PathInput.Complete) -> None:
        """Grow the text as far as it is clear; else go to the next field."""
        event.stop()
        text = self.input.value
        grown = completed(text, self.find()) if text else text
        if grown != text:
            self.take(grown)
        else:
            self.screen.focus_next()

    @on(PathInput.Pick)
    def pick(self, event: PathInput.Pick) -> None:
        """Go down into the list, or on to the next field."""
        event.stop()
        if self._offers:
            self.query_one(Offers).highlighted = 0
        self.screen.focus_next()

    @on(OptionList.OptionSelected)
    def picked(self, event: OptionList.OptionSelected) -> None:
        """Take what was chosen; a folder is opened, not taken."""
        event.stop()
        offer = self._offers[event.option_index]
        self.take(offer.text)
        self.input.focus()

    def on_descendant_focus(self) -> None:
        self._list()

    def on_descendant_blur(self) -> None:
        self.call_after_refresh(self._list)

    def on_input_changed(self, event: Input.Changed) -> None:
        super().on_input_changed(event)
        self._list()


def _row(offer: Offer) -> Content:
    return Content.from_markup("$text  [$muted]$note[/]", text=offer.text, note=offer.note)

"""Step 1: what this machine has."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from backprop_tui.core.facts import Gpu, GpuFacts, GpuProcess
from backprop_tui.core.text import NA, percent, size
from backprop_tui.tui.facts_table import FactsTable, Line
from backprop_tui.tui.field import planner
from backprop_tui.tui.options import replace_options
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.view import View

CPU = "cpu"


class MachineStep(Step):
    """The cards, and which one to use."""

    name_ = "machine"
    title = "Machine"
    intro = "Where to train. The graphics card decides how large a model you can tune."
    first = "OptionList"

    def compose_body(self) -> ComposeResult:
        yield Static("", id="machine-none", classes="lead")
        yield OptionList(id="cards", compact=True)
        yield Notes()
        yield FactsTable("card-facts")

    def show_body(self, view: View) -> None:
        facts = view.facts.gpu
        none = self.query_one("#machine-none", Static)
        none.display = facts is None or not facts.cards
        reading = Content(f"reading the machine {SIGNS.more}")
        put(none, reading if facts is None else no_card(facts))
        self._list(view)
        self.query_one(Notes).show((*view.under("machine.card"), *view.under("machine.device")))
        card = view.facts.gpu_card
        shown = facts is not None and card is not None and view.effective.device == "cuda"
        details = self.query_one("#card-facts", FactsTable)
        details.show(card_table(card, facts) if shown and facts and card else [])

    def _list(self, view: View) -> None:
        cards = view.facts.gpu.cards if view.facts.gpu else ()
        chosen = str(view.plan.machine.card) if view.effective.device == "cuda" else CPU
        options = []
        for card in cards:
            index = str(card.index)
            name = f"card {index}  {card.name}"
            options.append(Option(_choice(index == chosen, name, _room(card)), id=index))
        free = planner(self).free_ram
        room = f"{size(free)} of main memory free" if free else ""
        options.append(Option(_choice(chosen == CPU, "CPU, no card", room), id=CPU))
        replace_options(self.query_one(OptionList), options, chosen)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id == CPU:
            planner(self).apply({"machine.device": "cpu"})
        else:
            card = int(event.option_id or 0)
            planner(self).apply({"machine.device": "auto", "machine.card": card})


def _choice(on: bool, name: str, room: str) -> Content:
    sign = SIGNS.on if on else SIGNS.off
    return Content.from_markup("$sign $name   [$muted]$room[/]", sign=sign, name=name, room=room)


def _room(card: Gpu) -> str:
    return f"{size(card.memory_free)} of {size(card.memory_total)} free"


def no_card(facts: GpuFacts) -> Content:
    """Why there is no card, and what still works."""
    return Content.from_markup(
        "[$text-warning]$sign no card[/]  $why", sign=SIGNS.warning, why=facts.problem or ""
    )


def card_table(card: Gpu, facts: GpuFacts) -> list[Line]:
    """What the driver says of a card, and who holds its memory."""
    capability = ".".join(map(str, card.compute_capability)) if card.compute_capability else NA
    bf16 = NA if card.bf16 is None else "yes" if card.bf16 else "no"
    limit = f" of {card.power_limit:.0f}" if card.power_limit is not None else ""
    busy = NA if card.utilisation is None else percent(card.utilisation / 100)
    warmth = NA if card.temperature is None else f"{card.temperature} °C"
    return [
        (("memory free", _room(card)), ("busy", busy)),
        (("driver", facts.driver or NA), ("temperature", warmth)),
        (
            ("newest CUDA", facts.cuda or NA),
            ("power", NA if card.power is None else f"{card.power:.0f}{limit} W"),
        ),
        (("capability", capability), ("bf16 in hardware", bf16)),
        Content(""),
        *processes(card.processes),
    ]


def processes(found: tuple[GpuProcess, ...] | None) -> list[Line]:
    """Who holds the card's memory."""
    if not found:
        return [("memory held by", NA if found is None else "no other process")]
    lines: list[Line] = []
    for process in found:
        name = process.name or "unknown program"
        text = f"{name}, {size(process.memory)}, pid {process.pid}"
        lines.append(("" if lines else "memory held by", text))
    return lines

"""Step 4: how to learn, and why."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from backprop_tui.core.methods import METHODS, Knob, Method, Preset
from backprop_tui.core.recommend import Reason
from backprop_tui.core.text import rate
from backprop_tui.tui.field import ChoiceField, Field, SwitchField, TextField, planner
from backprop_tui.tui.options import replace_options
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.view import View

# Labels of knobs; the others are called by their own names.
NAMES = {"desirable_weight": "good weight", "undesirable_weight": "bad weight"}
OTHERS = "others"  # id of the line above the other objectives, which cannot be chosen


class MethodStep(Step):
    """The methods, the reasons for one, its numbers and published settings."""

    SCOPED_CSS = False  # -narrow is a class of the screen
    # Four methods, the line under them, and a sign that more follow; narrow, some take two lines.
    DEFAULT_CSS = """
    MethodStep #methods {
        max-height: 6;
        scrollbar-size-vertical: 1;
    }
    .-narrow MethodStep #methods {
        max-height: 8;
    }
    """

    name_ = "method"
    title = "Method"
    intro = "How to learn from the data. What the data holds decides the recommendation."
    first = "#methods"

    def compose_body(self) -> ComposeResult:
        yield OptionList(id="methods", compact=True)
        yield Notes()
        yield Static("", id="reasons", classes="facts")
        for method in METHODS.values():
            with Vertical(id=f"knobs-{method.name}", classes="knobs"):
                yield from knobs(method)
        yield Static("", id="presets-title", classes="group")
        yield OptionList(id="presets", compact=True)

    def show_body(self, view: View) -> None:
        chosen = view.plan.method
        recommended = view.recommendation.method
        options = [
            Option(_row(method, method.name == chosen, method.name == recommended), id=method.name)
            for method in sorted(METHODS.values(), key=lambda method: method.other)
        ]
        first = sum(not method.other for method in METHODS.values())
        options.insert(first, Option(_line_above_others(), id=OTHERS, disabled=True))
        replace_options(self.query_one("#methods", OptionList), options, chosen)
        self.query_children(Notes).first().show(view.under("method"))
        put(self.query_one("#reasons", Static), reasons(view))
        for method in METHODS:
            self.query_one(f"#knobs-{method}").display = method == chosen
        presets = METHODS[chosen].presets
        title = self.query_one("#presets-title", Static)
        title.display = bool(presets)
        put(title, cited(view))
        listed = self.query_one("#presets", OptionList)
        listed.display = bool(presets)
        rows = [Option(_preset(p), id=str(i)) for i, p in enumerate(presets)]
        replace_options(listed, rows, "0")

    @on(OptionList.OptionSelected, "#methods")
    def choose(self, event: OptionList.OptionSelected) -> None:
        """A method was taken by hand."""
        event.stop()
        planner(self).choose_method(str(event.option_id))

    @on(OptionList.OptionSelected, "#presets")
    def take_preset(self, event: OptionList.OptionSelected) -> None:
        """Published numbers; the rate only where it is meant for, full fine-tuning."""
        event.stop()
        plan = planner(self).plan
        preset = METHODS[plan.method].presets[event.option_index]
        changes = {f"{plan.method}.{name}": value for name, value in preset.knobs}
        if plan.lora is None and preset.learning_rate is not None:
            changes["training.learning_rate"] = preset.learning_rate
        planner(self).apply(changes)


def knobs(method: Method) -> list[Field]:
    """The method's own numbers."""
    fields: list[Field] = [
        TextField(
            f"{method.name}.{knob.name}",
            _label(knob.name),
            "number",
            empty=rate(knob.default),
            help=_help(method, knob),
        )
        for knob in method.knobs
    ]
    if method.name == "sft":
        labels = {"answers": "answers", "everything": "everything"}
        fields.append(ChoiceField("sft.train_on", "train on", labels))
    if method.name == "kto":
        fields.append(SwitchField("kto.rebalance", "rebalance"))
    return fields


def _help(method: Method, knob: Knob) -> str:
    """What a knob does; of the other objectives with its source, as no advice names it."""
    source = f" ({knob.source})" if method.other else ""
    return f"{knob.help} Default {rate(knob.default)}{source}."


def reasons(view: View) -> Content:
    """Why the recommended method, with figures and sources, and when the runner-up."""
    found = view.recommendation
    if view.facts.data is None:
        return Content.styled("Choose data first: the recommendation follows from it.", "$muted")
    head = f"Why {found.method}" if found.method else "Nothing is recommended"
    sure = Content.styled(f"  {found.confidence}" if found.confidence else "", "$muted")
    lines = [Content.assemble(Content.styled(head, "bold"), sure)]
    if found.wait:
        lines.insert(0, Content.styled(f"{SIGNS.warning} {found.wait}", "$text-warning"))
    lines += [_reason(reason) for reason in found.reasons]
    if found.runner_up:
        text = f"Runner-up {found.runner_up}: if {found.runner_up_when}."
        lines.append(Content(f"{SIGNS.note} {text}"))
    return Content("\n").join(lines)


def _reason(reason: Reason) -> Content:
    source = Content.styled(f"  {reason.source}" if reason.source else "", "$muted")
    return Content.assemble(f"{SIGNS.note} {reason.text}", source)


def _row(method: Method, chosen: bool, recommended: bool) -> Content:
    sign = SIGNS.on if chosen else SIGNS.off
    mark = "[$text-success]recommended[/]  " if recommended else ""
    return Content.from_markup(
        f"$sign [b]$name[/b]  {mark}[$muted]$summary[/]",
        sign=sign,
        name=f"{method.name:<5}",
        summary=method.summary,
    )


def _line_above_others() -> Content:
    return Content("other objectives, never recommended")


def _label(knob: str) -> str:
    return NAMES.get(knob, knob.replace("_", " "))


def _preset(preset: Preset) -> Content:
    numbers = "  ".join(f"{_label(name)} {rate(value)}" for name, value in preset.knobs)
    published = preset.learning_rate
    return Content.from_markup(
        "$name $numbers [$muted]$rate[/]",
        name=f"{preset.name:<25}",
        numbers=f"{numbers:<24}",
        rate="" if published is None else f"rate {rate(published)}",
    )


def cited(view: View) -> Content:
    """Where the published settings come from, and what becomes of their rates."""
    presets = METHODS[view.plan.method].presets
    sources = ", ".join(dict.fromkeys(preset.source for preset in presets))
    taken = "taken too" if view.plan.lora is None else "not taken: an adapter wants its own"
    rates = (
        "Values a comparison searched: run several, compare them on the same held-out rows."
        if all(preset.learning_rate is None for preset in presets)
        else f"Theirs are rates for full fine-tuning, {taken}."
    )
    return Content.from_markup(
        "Published settings  [not bold $muted]$sources\n$rates[/]", sources=sources, rates=rates
    )

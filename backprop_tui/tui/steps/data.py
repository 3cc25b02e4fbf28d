"""Step 3: the examples to learn from."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.facts import DataFacts
from backprop_tui.core.text import count, percent, plural
from backprop_tui.tui import words
from backprop_tui.tui.facts_table import FactsTable, Line
from backprop_tui.tui.field import SwitchField, TextField
from backprop_tui.tui.paths import Offer, is_data
from backprop_tui.tui.picker import PathField
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.steps.data_inside import fit_words, inside, lengths
from backprop_tui.tui.view import View

POCKET = Offer("pocket", "bundled examples, written for the bundled model")
SHAPES = {
    "paired": "pairs: a chosen and a rejected answer",
    "unpaired": "single answers marked good or bad",
    "sft": "answers to imitate",
    "other": "not recognised",
}


class DataStep(Step):
    """Name it, see what it holds, decide what is held out."""

    name_ = "data"
    title = "Data"
    intro = (
        "What to learn from: a file or folder (JSONL, JSON, CSV, Parquet), a hub id, or the "
        "bundled one (f2)."
    )

    def compose_body(self) -> ComposeResult:
        yield PathField(
            "data.path",
            "data",
            wanted=is_data,
            known=lambda: (POCKET,),
            empty="file, owner/name, or pocket",
        )
        yield FactsTable("data-facts")
        yield TextField("data.config", "configuration", empty="the only one")
        yield TextField("data.split", "split", empty="train")
        yield TextField("data.heldout", "held out", "number")
        yield TextField("data.max_length", "max length", "whole")
        yield SwitchField("data.cut_answers", "cut answers")
        with VerticalScroll(id="examples"):
            yield Static("", id="example-rows", markup=False)

    def show_body(self, view: View) -> None:
        facts = view.facts.data
        table = self.query_one("#data-facts", FactsTable)
        reading = [Content(f"reading it {SIGNS.more}")] if "data" in view.reading else []
        table.show(data_table(facts, view) if facts else reading)
        for key in ("split", "config"):
            chosen = getattr(view.plan.data, key)
            on_hub = (facts and facts.format == "hub") or asked_for(view, key)
            self.query_one(f"#field-data-{key}").display = bool(chosen or on_hub)
        self.query_one("#field-data-max_length", TextField).say(fit_words(view))
        self.query_one("#field-data-heldout", TextField).say(
            words.rows_line(view) or "share of the rows kept aside to measure on"
        )
        examples = self.query_one("#examples")
        examples.display = bool(facts and (facts.examples or facts.dropped_rows))
        examples.border_title = "a look inside"
        if facts:
            put(self.query_one("#example-rows", Static), inside(view, facts))


def data_table(facts: DataFacts, view: View) -> list[Line]:
    """Shape, counts, lengths and balance."""
    about = "" if facts.exact else "about "
    kept = f"{about}{count(facts.kept)} of {count(facts.rows)}"
    lines: list[Line] = [
        ("shape", SHAPES[facts.shape]),
        ("columns", mapped(view.plan.data.columns) or facts.layout or ", ".join(facts.columns)),
        (("rows kept", kept), ("format", facts.format)),
    ]
    if view.counted is not None:
        bar = progress(view.counted)
        lines.append(("counting", f"{bar} {percent(view.counted)} of the rows counted exactly"))
    if len(facts.files) > 1:
        lines.append(("files", f"{count(len(facts.files))}: {', '.join(facts.files)}"))
    if facts.left_out:
        lines.append(("not read", f"{', '.join(facts.left_out)} (other splits)"))
    if facts.dropped:
        reasons = ", ".join(f"{count(n)} {reason}" for reason, n in facts.dropped.items())
        lines.append(("rows dropped", reasons))
    if facts.offers:
        lines.append(("can be read", f"in {plural(len(facts.offers), 'way')} that f3 lists"))
    if facts.labels is not None:
        good, bad = facts.labels.get(True, 0), facts.labels.get(False, 0)
        lines.append(("marks", f"{count(good)} good, {count(bad)} bad"))
    bias = facts.length_bias
    if bias is not None and bias.pairs:
        longer = percent(bias.chosen_longer / bias.pairs)
        shorter = percent(bias.chosen_shorter / bias.pairs)
        of = f"of {count(bias.pairs)} pairs"
        lines.append(("chosen answers", f"longer in {longer}, shorter in {shorter} {of}"))
    if facts.duplicate_rows or facts.duplicate_prompts:
        text = f"{count(facts.duplicate_rows)} rows, {count(facts.duplicate_prompts)} prompts"
        lines.append(("repeated", text))
    return [*lines, *lengths(facts)]


def mapped(columns: dict[str, str] | None) -> str:
    """A mapping in one line: our name, and the file's column it is read from."""
    return ", ".join(f"{ours} {SIGNS.back} {theirs}" for ours, theirs in (columns or {}).items())


def progress(share: float) -> str:
    """A bar of twenty cells."""
    done = round(20 * share)
    return SIGNS.full * done + SIGNS.free * (20 - done)


def asked_for(view: View, key: str) -> bool:
    """Whether the hub said that one must be chosen."""
    return any(item.code == f"DATA_{key.upper()}" for item in view.under("data.path"))

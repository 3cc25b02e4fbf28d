"""Step 3: the examples to learn from."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from backprop_tui.core.facts import DataFacts, Quantiles
from backprop_tui.core.text import count, percent
from backprop_tui.tui import words
from backprop_tui.tui.facts_table import NAME, FactsTable, Line
from backprop_tui.tui.field import SwitchField, TextField
from backprop_tui.tui.paths import Offer, is_data
from backprop_tui.tui.picker import PathField
from backprop_tui.tui.put import put
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.steps.base import Step
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
        "What to learn from: a file (JSONL, JSON, CSV, Parquet), a Hugging Face id, or the "
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
        table.show(data_table(facts) if facts else reading)
        split = self.query_one("#field-data-split")
        split.display = bool(view.plan.data.split or (facts and facts.format == "hub"))
        self.query_one("#field-data-heldout", TextField).say(
            words.rows_line(view) or "share of the rows kept aside to measure on"
        )
        examples = self.query_one("#examples")
        examples.display = bool(facts and (facts.examples or facts.dropped_rows))
        examples.border_title = "some of its rows"
        if facts:
            put(self.query_one("#example-rows", Static), example_rows(facts))


def data_table(facts: DataFacts) -> list[Line]:
    """Shape, counts, lengths and balance."""
    lines: list[Line] = [
        ("shape", SHAPES[facts.shape]),
        ("columns", facts.layout or ", ".join(facts.columns)),
        (("rows kept", f"{count(facts.kept)} of {count(facts.rows)}"), ("format", facts.format)),
    ]
    if facts.dropped:
        reasons = ", ".join(f"{count(n)} {reason}" for reason, n in facts.dropped.items())
        lines.append(("rows dropped", reasons))
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


def lengths(facts: DataFacts) -> list[Line]:
    """How long the texts are: half are at most this long, nine in ten, the longest."""
    shown, unit = (facts.tokens, "tokens") if facts.tokens else (facts.words, "words")
    if not shown:
        return []
    head = f"{'half up to':>10}{'9 in 10':>10}{'99 %':>8}{'longest':>10}"
    title = Content.styled(f"{'length, ' + unit:<{NAME}}{head}", "$muted")
    names = {name: "whole row" if name == "row" else name for name in shown}
    return [Content(""), title, *(_row(names[name], q) for name, q in shown.items())]


def _row(name: str, q: Quantiles) -> Content:
    figures = f"{count(q.p50):>10}{count(q.p90):>10}{count(q.p99):>8}{count(q.max):>10}"
    return Content.assemble(Content.styled(f"{name:<{NAME}}", "$muted"), figures)


def example_rows(facts: DataFacts) -> Content:
    """Three rows, readable, and the first of those that are dropped."""
    blocks = []
    for number, row in enumerate(facts.examples, 1):
        parts = [Content.styled(f"row {number} of {len(facts.examples)}", "bold")]
        for name, value in row.items():
            side = Content.styled(f"{name}  ", "$text-primary")
            parts.append(Content.assemble(side, value.strip()))
        blocks.append(Content("\n").join(parts))
    if facts.dropped_rows:
        parts = [Content.styled("rows that are dropped", "bold")]
        for dropped in facts.dropped_rows:
            place = Content.styled(f"row {dropped.row}, {dropped.reason}  ", "$text-warning")
            parts.append(Content.assemble(place, dropped.excerpt.strip()))
        blocks.append(Content("\n").join(parts))
    return Content("\n\n").join(blocks)

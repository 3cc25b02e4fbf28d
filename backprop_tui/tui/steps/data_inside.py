"""Inside a data set: how long its rows are, what stands out, and some of the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from backprop_tui.core.facts import DataFacts, Quantiles
from backprop_tui.core.findings import findings
from backprop_tui.core.memory import memory_at
from backprop_tui.core.quality import Finding, Quality
from backprop_tui.core.text import count, percent, size
from backprop_tui.tui import words
from backprop_tui.tui.facts_table import NAME, Line
from backprop_tui.tui.panels.advice import COLOURS
from backprop_tui.tui.signs import SIGNS
from backprop_tui.tui.view import View


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


def fit_words(view: View) -> str:
    """What the chosen max_length does to the rows; "" before they are counted in tokens."""
    limit = view.effective.max_length
    fit = words.fit_of(view)
    if fit is None:
        return ""
    rows = fit.whole + fit.prompt_cut + fit.too_long
    if not rows or fit.whole == rows:
        return f"every row fits in {count(limit)} tokens"
    parts = [f"{percent(fit.whole / rows)} of the rows fit"]
    if fit.prompt_cut:
        parts.append(f"{percent(fit.prompt_cut / rows)} lose the start of their prompt")
    if fit.too_long:
        fate = "have their answer cut" if view.plan.data.cut_answers else "are dropped"
        parts.append(f"{percent(fit.too_long / rows)} {fate}")
    return ", ".join(parts)


def inside(view: View, facts: DataFacts) -> Content:
    """What stands out, what each max_length would do, three rows, and some that are dropped."""
    blocks = []
    if facts.quality is not None and (found := findings(facts)):
        blocks.append(report(facts.quality, found))
    if facts.fits:
        blocks.append(fits_table(view, facts))
    return Content("\n\n").join([*blocks, example_rows(facts)])


def report(quality: Quality, found: Sequence[Finding]) -> Content:
    """The quality report, the most serious first."""
    head = Content.styled(f"what stands out, in {count(quality.rows)} rows looked at", "bold")
    return Content("\n").join([head, *map(_finding, found)])


def _finding(item: Finding) -> Content:
    sign = Content.styled(SIGNS.level(item.level), COLOURS[item.level])
    parts = [sign, Content(f" {item.text}")]
    if item.do:
        parts.append(Content.styled(f" {SIGNS.arrow} {item.do}", "$muted"))
    parts += [Content.styled(f"\n    {example}", "$muted") for example in item.examples[:2]]
    return Content.assemble(*parts)


def fits_table(view: View, facts: DataFacts) -> Content:
    """Each max_length: rows kept whole, cut and dropped, and roughly what it takes in memory."""
    head = f"{'max length':<{NAME}}{'whole':>8}{'prompt cut':>12}{'too long':>10}{'memory':>12}"
    lines = [Content.styled(head, "$muted")]
    for fit in facts.fits:
        rows = max(1, fit.whole + fit.prompt_cut + fit.too_long)
        shares = (fit.whole, fit.prompt_cut, fit.too_long)
        cells = [
            f"{percent(n / rows):>{width}}" for n, width in zip(shares, (8, 12, 10), strict=True)
        ]
        here = fit.max_length == view.effective.max_length
        text = f"{count(fit.max_length):<{NAME}}{''.join(cells)}{_memory(view, fit.max_length):>12}"
        lines.append(Content.styled(text, "bold" if here else ""))
    return Content("\n").join(lines)


def _memory(view: View, max_length: int) -> str:
    needed = memory_at(view.plan, view.facts, view.rows, max_length)
    return "" if needed is None else f"{SIGNS.about}{size(needed)}"


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
            place = Content.styled(
                f"row {dropped.place or dropped.row}, {dropped.reason}  ", "$text-warning"
            )
            parts.append(Content.assemble(place, dropped.excerpt.strip()))
        blocks.append(Content("\n").join(parts))
    return Content("\n\n").join(blocks)

"""A comparison as lines of a terminal: side by side where there is room, else one below another."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence

from backprop_tui.core.chart import SEVERAL, Series, draw
from backprop_tui.core.chart import plain as plain_chart
from backprop_tui.core.comparison import Comparison, Group, Row
from backprop_tui.core.comparison_evals import Evals
from backprop_tui.core.comparison_figures import Point
from backprop_tui.core.metrics import METRICS
from backprop_tui.core.printable import printable
from backprop_tui.core.scores import Figure
from backprop_tui.core.symptoms import figure
from backprop_tui.core.text import count, percent, plural
from backprop_tui.core.trace import Trace
from backprop_tui.core.wrap import cells, clipped

LEAST, WIDEST = 60, 120  # columns
ROOMY, LABEL = 80, 36  # columns from which a label may have so many
CHART = 9  # lines, its axis among them
NAMED = 12  # columns from which a shortened name says more than its sign alone
GAP = 2  # columns between two values
NONE = "–"
SIGNS = "123456789abcdefghijklmnopqrstuvwxyz"


def width() -> int:
    """Columns to write in."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, LEAST), WIDEST)


def lines(told: Comparison, problems: Sequence[str], columns: int | None = None) -> list[str]:
    """The whole comparison; nothing is wider than `columns` but a path that stands alone."""
    room = columns or width()
    names = [printable(run.name) for run in told.subjects]
    found = _heads(told, names, room)
    found += ["", *_table("Figures", told.figures, names, room)]
    found += ["", *_wrapped(told.heldout.why, room)]
    for note in told.notes:
        found += _wrapped(printable(note), room)
    for one in told.evals:
        found += ["", *_evals(one, names, room)]
    found += [line for chart in _charts(told) for line in ["", *_chart(chart, names, room)]]
    groups = (
        ("Settings that differ", told.settings),
        ("Data that differ", told.data),
        ("Made with, where it differs", told.made_with),
    )
    for title, group in groups:
        found += ["", *_group(title, group, names, room)]
    for text in problems:
        found += ["", *_wrapped(f"eval: {text}.", room)]
    return found


def _heads(told: Comparison, names: Sequence[str], room: int) -> list[str]:
    """A line a run: its sign, name, state."""
    found = []
    for sign, run, name in zip(SIGNS, told.subjects, names, strict=False):
        found.append(f"{sign}  {name}  ({run.state})")
    if len(told.subjects) > len(SIGNS):
        found.append(f"The charts have the first {len(SIGNS)} runs.")
    return found


def _group(title: str, group: Group, names: Sequence[str], room: int) -> list[str]:
    same = f"{plural(group.same, 'other')} the same" if group.same else "no other"
    if not group.differ:
        return [f"{title}: none; {group.same:,} the same in every run"]
    return _table(f"{title} ({same})", group.differ, names, room)


def _table(title: str, rows: Sequence[Row], names: Sequence[str], room: int) -> list[str]:
    """Rows side by side; one with a value that has no room there goes below itself, run by run."""
    label = max((cells(row.key) for row in rows), default=0) + 2 + GAP
    label = min(label, LABEL if room >= ROOMY else room * 2 // 5)
    each = (room - label) // len(names)
    widest = max((cells(printable(v or "")) for row in rows for v in row.values), default=0)
    heads = [f"{sign} {name}" for sign, name in zip(_signs(names), names, strict=True)]
    if any(cells(head) > each - GAP for head in heads):
        heads = [_short(head, max(each - GAP, 1)) for head in heads]
        heads = heads if each - GAP >= NAMED else _signs(names)
    wanted = max([widest, *map(cells, heads)]) + GAP
    each = min(each, max(wanted, 6))
    found = []
    if each - GAP < 6:  # no room for columns at all
        found.append(title)
        for row in rows:
            found += _stacked(row, names, room)
        return found
    found.append(title)
    found.append(_line("", heads, label, each))
    for row in rows:
        values = [printable(value) if value else NONE for value in row.values]
        fits = cells(row.key) + 2 <= label - 1 and all(cells(v) <= each - GAP for v in values)
        found += [_line(row.key, values, label, each)] if fits else _stacked(row, names, room)
    return found


def _line(key: str, values: Sequence[str], label: int, each: int) -> str:
    padded = "".join(value + " " * max(0, each - cells(value)) for value in values)
    return f"{'  ' + key:<{label}}{padded}".rstrip()


def _stacked(row: Row, names: Sequence[str], room: int) -> list[str]:
    """The key, and under it each value with the signs of the runs that have it."""
    found = [f"  {printable(row.key)}"]
    shared: dict[str, list[str]] = {}
    for sign, value in zip(_signs(names), row.values, strict=True):
        shared.setdefault(printable(value) if value else NONE, []).append(sign)
    marks = {value: " ".join(signs) for value, signs in shared.items()}
    wide = max(map(len, marks.values()))
    for value, mark in marks.items():
        # A value is never cut: it may be what tells the runs apart.
        parts = textwrap.wrap(value, max(20, room - wide - 6), break_on_hyphens=False) or [""]
        found.append(f"    {mark:<{wide}}  {parts[0]}")
        found += [" " * (wide + 6) + part for part in parts[1:]]
    return found


def _evals(one: Evals, names: Sequence[str], room: int) -> list[str]:
    rows = []
    for metric, values in one.figures:
        title = METRICS[metric].title if metric in METRICS else metric
        share = metric in METRICS and METRICS[metric].unit == "share"
        examples = next(v.n for v in values if v)
        if examples != one.rows:
            title = f"{title}, of {examples:,}"
        rows.append(Row(title, tuple(_value(v, share) if v else None for v in values)))
        rows.append(
            Row("  95 % interval, tuned", tuple(_span(v, share) if v else None for v in values))
        )
    title = f"eval of {printable(one.name)}: {plural(one.rows, 'row')} of {printable(one.data)}"
    return _table(title, rows, names, room)


def _value(found: Figure, share: bool) -> str:
    base = "" if found.base is None else f"{_number(found.base, share)} → "
    return f"{base}{_number(found.tuned, share)}"


def _span(found: Figure, share: bool) -> str:
    return f"{_number(found.tuned_low, share)} to {_number(found.tuned_high, share)}"


def _number(value: float, share: bool) -> str:
    return percent(value) if share else figure(value)


Chart = tuple[str, list[tuple[Point, ...]], tuple[float, ...]]  # title, curves, values in range


def _charts(told: Comparison) -> list[Chart]:
    """Accuracy; margins held out and trained on, on one scale; without margins the loss."""
    found: list[Chart] = []
    accuracy = [tuple((x, y * 100) for x, y in one.accuracies) for one in told.measured]
    if any(accuracy):
        found.append(("Held-out accuracy, % over steps", accuracy, (50.0,)))
    apart = len({one.method for one in told.measured if one.method}) > 1
    scales = " (each method has its own scale)" if apart else ""
    held = [one.heldout_margins for one in told.measured]
    train = [one.train_margins for one in told.measured]
    values = [y for curve in (*held, *train) for _, y in curve]
    if values:
        span = (min(values), max(values))
        if any(held):
            found.append((f"Held-out margin over steps{scales}", held, span))
        found.append(("Train margin over steps, smoothed; the same scale", train, span))
    else:
        loss = [one.heldout_losses for one in told.measured]
        found += [("Held-out loss over steps", loss, ())] if any(loss) else []
    return found


def _chart(chart: Chart, names: Sequence[str], room: int) -> list[str]:
    title, curves, include = chart
    series = []
    for sign, points in zip(SIGNS, curves, strict=False):
        trace = Trace()
        for x, y in points:
            trace.add(x, y)
        series.append(Series(trace, "marks", sign))
    ascii_only = os.environ.get("BACKPROP_TUI_ASCII", "") not in ("", "0")
    drawn = draw(series, room, CHART, include=include, x_name="step", ascii_only=ascii_only)
    return [title, *_legend(names, room), *(line.rstrip() for line in plain_chart(drawn))]


def _legend(names: Sequence[str], room: int) -> list[str]:
    items = [f"{sign} {name}" for sign, name in zip(SIGNS, names, strict=False)]
    found = [""]
    for item in [*items, f"{SEVERAL} several"]:
        item = _short(item, room - 2)
        if cells(found[-1]) + cells(item) + 3 > room:
            found.append("")
        found[-1] += f"{'   ' if found[-1] else '  '}{item}"
    return found


def _signs(names: Sequence[str]) -> list[str]:
    return [SIGNS[i] if i < len(SIGNS) else count(i + 1) for i in range(len(names))]


def _short(text: str, most: int) -> str:
    """Both ends of a name: runs are mostly told apart by the last letters."""
    if cells(text) <= most:
        return text
    if most < 9:
        return clipped(text, most)
    tail = (most - 1) // 2
    return f"{clipped(text, most - tail - 1)[:-1]}…{text[-tail:]}"


def _wrapped(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)

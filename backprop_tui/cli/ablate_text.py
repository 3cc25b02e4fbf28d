"""What `ablate` prints before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backprop_tui.core.ablation_cost import Cost
from backprop_tui.core.ablation_text import (
    MEASURES,
    clean_words,
    margin_words,
    rate_words,
    right_words,
)
from backprop_tui.core.cells import BASE, Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.grid import Ablation
from backprop_tui.core.text import count, duration, plural, size
from backprop_tui.core.wrap import wrapped
from backprop_tui.runs.ablation import AblationFolder, is_ablation
from backprop_tui.runs.ablation_table import Row, Table

COLUMNS = (("right", 7), ("margin", 7), ("clean", 6), ("train", 7), ("rate", 8), ("time", 7))
LEAST_NAME = 12  # cells


def cost_lines(
    folder: AblationFolder, plan: Ablation, cost: Cost, *, paired: bool, ray: str | None
) -> Iterator[str]:
    """The plan and what it costs."""
    done = [0] * len(plan.cells)
    finished = 0
    if is_ablation(folder.path):
        rows = Table(folder, plan).rows()[1:]
        done = [row.step for row in rows]
        finished = sum(row.state in ("scored", "trained") for row in rows)
    seeds = len(plan.cells) // len(plan.settings)
    cells = plural(len(plan.cells), "cell")
    if seeds > 1:
        cells += f": {plural(len(plan.settings), 'setting')} x {seeds} seeds"
    if finished:
        cells += f"; {finished} finished already"
    steps = sorted(set(cost.steps))
    each = count(steps[0]) if len(steps) == 1 else f"{count(steps[0])} to {count(steps[-1])}"
    left = sum(max(0, n - at) for n, at in zip(cost.steps, done, strict=True))
    seconds = cost.seconds(done)
    time = "not known before the first cell has taken steps"
    if not left:
        time = "no training is left"
    elif seconds is not None:
        time = f"about {duration(seconds)} of training at the pace so far, and scoring"
    disk = "not known for this model" if cost.disk is None else f"at most {size(cost.disk)}"
    short = " (NOT ENOUGH)" if cost.disk is not None and cost.disk > cost.free else ""
    rows_held = f"{count(cost.heldout)} rows"
    yield from wrapped(
        [
            ("grid", plan.grid),
            ("cells", cells),
            ("", ", ".join(cell.name for cell in plan.cells)),
            ("rates", "; ".join(_rates(plan, cost))),
            ("steps", f"{each} a cell, {count(left)} to take"),
            ("held out", rows_held + (" (the same in every cell)" if paired else "")),
            ("time", time),
            ("disk", f"{disk}; {size(cost.free)} free{short}"),
            ("folder", str(folder.path)),
            *([("Ray", ray)] if ray else []),
            *(("note", note) for note in plan.notes),
        ]
    )


def _rates(plan: Ablation, cost: Cost) -> Iterator[str]:
    """Which learning rate each method takes, each once."""
    told = dict.fromkeys(
        (cell.run.method, _rate(cell.run.training.learning_rate, reason))
        for cell, reason in zip(plan.cells, cost.rates, strict=True)
    )
    yield from (f"{method} {words}" for method, words in told)


def _rate(given: float | None, reason: str) -> str:
    return f"{rate_words(given)} (given)" if reason == "given" else reason


def result_lines(
    folder: AblationFolder, plan: Ablation, rows: Sequence[Row], field: Field, decision: Decision
) -> Iterator[str]:
    """The table, the decision and where everything is."""
    yield from table_lines(rows)
    yield ""
    yield from wrapped([("", MEASURES)], label=0)
    yield ""
    first = [("decision", decision.sentence)]
    yield from wrapped([*first, *(("", reason) for reason in decision.reasons)])
    yield from wrapped([("note", note) for note in plan.notes])
    chosen = decision.setting
    cell = next((cell.name for cell in plan.cells if cell.setting == chosen), None)
    if cell:
        yield from wrapped([("its run", str(folder.cell(cell)))])
    yield from wrapped([("kept in", str(folder.result))])


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """A line a cell, the base first."""
    width = max(LEAST_NAME, *(len(row.name) for row in rows))
    yield _line("cell", width, [name for name, _ in COLUMNS])
    for row in rows:
        if row.state in ("scored", "trained"):
            values = [
                right_words(row.right, row.n),
                margin_words(row.margin),
                clean_words(row.clean),
                margin_words(row.train),
                rate_words(row.rate),
                "" if row.seconds is None else duration(row.seconds),
            ]
            yield _line(row.name, width, values)
            if row.state == "trained" and (own := _own(row)):
                yield f"{'':<{width}} {own}"
        elif row.name != BASE or row.why:
            why = row.why.splitlines()[0] if row.why else ""
            yield f"{row.name:<{width}} {row.state}{': ' if why else ''}{why}"


def _own(row: Row) -> str:
    """A cell that cannot be scored: its own figures, which compare within one objective alone."""
    parts = []
    if row.accuracy is not None:
        parts.append(f"its own held-out accuracy {100 * row.accuracy:.1f} %")
    if row.loss is not None:
        parts.append(f"held-out loss {row.loss:.4f}")
    return ", ".join(parts)


def _line(name: str, width: int, values: Sequence[str]) -> str:
    cells = (f"{value:>{size_}}" for value, (_, size_) in zip(values, COLUMNS, strict=True))
    return f"{name:<{width}} {' '.join(cells)}".rstrip()

"""The cells of an ablation one after the other on this machine's card, then the decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from backprop_tui.core.cells import BASE, Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.grid import Ablation, Cell
from backprop_tui.core.printable import printable
from backprop_tui.core.text import count
from backprop_tui.runs.ablation import read_scores
from backprop_tui.runs.ablation_table import Row, Table, finished
from backprop_tui.train.ablation.cells import Doing, do_base, do_cell
from backprop_tui.train.ablation.judging import judge, keep

Say = Callable[[str], None]
SCORING = "its held-out pairs are being scored"
PARTS = 4  # of a cell's steps, each told when it is over


def run_cells(
    doing: Doing, plan: Ablation, say: Say, *, steps: bool = True
) -> tuple[Field, Decision] | None:
    """Every cell that is not finished, in order, and the base once; None when it was stopped.

    steps: say now and then how far a cell is.

    A cell that fails is recorded and the others go on. Raises OSError when the ablation's own
    folder can no longer be written.
    """
    table = Table(doing.folder, plan)
    for number, cell in enumerate(plan.cells, 1):
        if doing.stopping():
            return None
        head = f"[{number}/{len(plan.cells)}] {cell.name}"
        before = table.row(cell)
        if before.state == "scored" or (before.state == "trained" and not doing.paired):
            say(f"{head}  {words(before)} (already done)")
        else:
            say(f"{head}  {'goes on' if before.step else 'begins'}")
            tick = _Telling(table, cell, head, say) if steps else doing.tick
            do_cell(replace(doing, tick=tick, scoring=partial(say, f"{head}  {SCORING}")), cell)
            say(f"{head}  {words(table.row(cell))}")
        do_base_once(doing, cell, say)
    if doing.stopping():
        return None
    return conclude(doing, plan)


def do_base_once(doing: Doing, cell: Cell, say: Say) -> None:
    """The frozen base, on the held-out pairs of the first cell that has finished."""
    wanted = doing.paired and read_scores(doing.folder.scores(BASE)) is None
    if wanted and finished(doing.folder, cell.name) and not doing.stopping():
        say(f"{BASE}  {SCORING}")
        do_base(doing, cell)


def conclude(doing: Doing, plan: Ablation) -> tuple[Field, Decision]:
    """The decision, kept in result.json."""
    field, decision = judge(doing.folder, plan, paired=doing.paired)
    keep(doing.folder, plan, field, decision)
    return field, decision


def words(row: Row) -> str:
    """A cell in a line."""
    match row.state:
        case "scored" if row.n and row.margin is not None:
            return (
                f"scored: {row.right:g} of {row.n} held-out pairs right, "
                f"margin {row.margin:+.2f} per token"
            )
        case "failed":
            reason = printable(row.why).splitlines()
            return f"failed: {reason[0] if reason else 'no reason was given'}"
        case "stopped":
            return f"stopped and saved at step {count(row.step)}"
        case _:
            return row.state


class _Telling:
    """Says when another quarter of a cell's steps is over."""

    def __init__(self, table: Table, cell: Cell, head: str, say: Say) -> None:
        self._table, self._cell, self._head, self._say = table, cell, head, say
        self._told = 0

    def __call__(self) -> None:
        row = self._table.row(self._cell)
        if not row.steps:
            return
        part = PARTS * row.step // row.steps
        if self._told < part < PARTS:
            self._say(f"{self._head}  step {count(row.step)} of {count(row.steps)}")
        self._told = max(self._told, part)

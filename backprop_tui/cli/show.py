"""`data --show`: rows as the model will see them, and what is odd about the masks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backprop_tui.cli.output import show_json
from backprop_tui.core.errors import InputError
from backprop_tui.core.mask import MaskReport, RowView
from backprop_tui.core.rows import Pair, Row, paired_as_chat, paired_as_labelled
from backprop_tui.core.runfile import DataSection, ModelSection, RunFile
from backprop_tui.core.runfile_problems import INVALID
from backprop_tui.probe.data import Loaded
from backprop_tui.probe.model import probe_model

SAMPLE = 1000  # rows the findings are looked for in: about a second


def show(
    loaded: Loaded,
    model: str,
    *,
    numbers: int | Sequence[int],
    max_length: int | None = None,
    cut_answers: bool = False,
    as_json: bool = False,
    method: str | None = None,
    seed: int = 0,
) -> None:
    """Print rows token by token.

    numbers: how many, the first one and others from all over the data; or the numbers of the
    rows, as they count in the file. max_length: tokens; None for what a run file would say,
    within the model's context. method: sft trains on one side of a pair, kto on each side apart.
    Raises InputError.
    """
    from backprop_tui.cli.show_text import draw
    from backprop_tui.train.batches import Encoder  # with transformers and torch: two seconds
    from backprop_tui.train.findings import findings
    from backprop_tui.train.model import load_tokenizer
    from backprop_tui.train.view import view_row

    rows = _as_trained(loaded.rows, method)
    if not rows:
        raise InputError(
            "No row can be trained, so there is none to show.",
            hint="backprop-tui data without --show says why",
            code="data-nothing-to-train",
        )
    chosen = spread(rows, numbers, seed) if isinstance(numbers, int) else _named(rows, numbers)
    facts = probe_model(model)
    run = RunFile(model=ModelSection(id=model))
    tokenizer = load_tokenizer(run, facts, trust_remote_code=False)
    longest = DataSection().max_length if max_length is None else max_length
    longest = min(longest, facts.context or longest)
    encoder = Encoder(tokenizer, longest, cut_answers=cut_answers)
    views = [view_row(encoder, row) for row in chosen]
    sample = random.Random(seed).sample(rows, SAMPLE) if len(rows) > SAMPLE else rows
    report = findings(encoder, sorted(sample, key=lambda row: row.number))
    if as_json:
        show_json(as_plain(model, longest, views, report))
        return
    draw(views, report)


def spread(rows: Sequence[Row], numbers: int, seed: int) -> list[Row]:
    """The first row, and others drawn from the whole, in their order."""
    others = range(1, len(rows))
    drawn = random.Random(seed).sample(others, max(0, min(numbers - 1, len(others))))
    return [rows[i] for i in sorted([0, *drawn])][: max(numbers, 0)]


def _named(rows: Sequence[Row], numbers: Sequence[int]) -> list[Row]:
    found = [row for row in rows if row.number in numbers]
    absent = [n for n in numbers if n not in {row.number for row in found}]
    if absent:
        raise InputError(
            f"row {absent[0]:,}: there is no such row among those that can be trained",
            hint=f"rows {rows[0].number:,} to {rows[-1].number:,} are there, less the dropped ones",
            code=INVALID,
        )
    return found


def as_plain(
    model: str, max_length: int, views: list[RowView], report: MaskReport
) -> dict[str, Any]:
    """All of it as JSON values; a side also has its counts."""
    rows = []
    for view in views:
        row = asdict(view)
        for side, plain in zip(view.sides, row["sides"], strict=True):
            plain |= {
                "length": side.length,
                "prompt": side.prompt,
                "trained": side.trained,
                "cut": side.cut,
                "shared": side.shared,
            }
        rows.append(row)
    return {"model": model, "max_length": max_length, "rows": rows, "report": asdict(report)}


def _as_trained(rows: Sequence[Row], method: str | None) -> list[Row]:
    """The rows as the method reads them."""
    trained: list[Row] = []
    for row in rows:
        if method == "sft" and isinstance(row, Pair):
            trained.append(paired_as_chat(row))
        elif method == "kto" and isinstance(row, Pair):
            trained += paired_as_labelled(row)
        else:
            trained.append(row)
    return trained

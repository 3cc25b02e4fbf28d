"""The rows of a survey as token ids, and the plan again for those that are really left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from backprop_tui.core.effective import effective
from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import TEMPLATE_FAILED, TOO_LONG, Row
from backprop_tui.core.rules import judge
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import plural
from backprop_tui.probe.survey import Survey, count_rows, refuse
from backprop_tui.train.batches import Encoder, Encoding


def encode(
    run: RunFile,
    found: Survey,
    tokenizer: Any,
    progress: Callable[[int], None],
    warn: Callable[..., None],
) -> tuple[Encoding, Encoding, Survey]:
    """Token ids of both sides, and the plan again for the rows that are really left.

    progress: called between batches of rows; whatever it raises ends the work. warn: told what
    was dropped and cut, and every warning. Raises InputError when no row is left.
    """
    encoder = Encoder(
        tokenizer=tokenizer,
        max_length=found.plan.max_length,
        cut_answers=run.data.cut_answers,
        train_everything=bool(run.sft and run.sft.train_on == "everything"),
    )
    train_rows = encoder.encode(found.train, progress)
    heldout_rows = encoder.encode(found.heldout, progress)
    train = still_there(found.train, train_rows)
    heldout = still_there(found.heldout, heldout_rows)
    lost = train_rows.dropped + heldout_rows.dropped
    if not train:
        raise InputError(
            f"No row is left to train on: "
            f"{', '.join(f'{n:,} {reason}' for reason, n in lost.items())}.",
            hint=nothing_left(lost),
            code="data-nothing-to-train",
        )
    counts = count_rows(train, heldout)
    advice = judge(run, found.facts, counts)
    found = Survey(
        facts=found.facts,
        train=train,
        heldout=heldout,
        counts=counts,
        plan=effective(run, found.facts, counts),
        advice=advice,
    )
    refuse(found, "run file")
    for item in advice:
        if item.level == "warning":
            warn(item.message, code=item.code, source=item.source)
    limit = f"(max_length {found.plan.max_length:,})"
    for reason, n in lost.items():
        message = f"{plural(n, 'row')} will not be trained: {reason} {limit}."
        warn(message, code="rows-dropped-by-length")
    for reason, n in (train_rows.cut + heldout_rows.cut).items():
        warn(f"{plural(n, 'row')}: {reason} {limit}.", code="rows-cut")
    if plain := train_rows.plain + heldout_rows.plain:
        text = f"{plural(plain, 'row')} spell a special token of the tokenizer in their text."
        warn(f"{text} It is read as plain words.", code="mask-special-in-text")
    return train_rows, heldout_rows, found


def still_there(rows: list[Row], encoded: Encoding) -> list[Row]:
    """The rows that were not dropped. Under kto both halves of a pair have its number."""

    def key(row: Any) -> tuple[int, bool | None]:
        return row.number, getattr(row, "label", None)

    kept = set(map(key, encoded.rows))
    return [row for row in rows if key(row) in kept]


def nothing_left(lost: Counter[str]) -> str:
    """What to do when the commonest reason took every row."""
    reason = lost.most_common(1)[0][0] if lost else ""
    if reason == TEMPLATE_FAILED:
        return (
            "the model's chat template cannot render these turns; give one in model.chat_template"
        )
    if reason == TOO_LONG:
        return "raise data.max_length, or set data.cut_answers = true"
    return "backprop-tui data shows what the rows look like"

"""Pairs as the data sets that TRL's trainers read, without their preparing them again.

ORPO's and CPO's is built from flat arrays: the same rows as Python lists take four times as long,
and the trainers' three passes over them, which would change nothing, as long again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from backprop_tui.train.encoded import IGNORE, EncodedPair


class Prepared(Dataset):  # type: ignore[misc]
    """Rows that are token ids already."""

    def map(self, *_arguments: Any, **_named: Any) -> Prepared:
        """Nothing to do: no prompt to find, no template to apply, no text to tokenise."""
        return self


def paired_dataset(rows: Sequence[EncodedPair]) -> Prepared | None:
    """The columns the collator reads: ids, mask and labels of prompt, chosen and rejected, where
    a side is prompt and answer, and its prompt's labels are IGNORE. None when there are no rows."""
    if not rows:
        return None
    prompts = [_array(row.prompt) for row in rows]
    columns = _side("prompt", prompts)
    for name in ("chosen", "rejected"):
        answers = [_array(getattr(row, name)) for row in rows]
        sides = list(zip(prompts, answers, strict=True))
        columns |= _side(name, [np.concatenate(side) for side in sides])
        labels = [np.concatenate((np.full_like(p, IGNORE), answer)) for p, answer in sides]
        columns[f"{name}_labels"] = _lists(labels)
    return Prepared(pa.table(columns))


def preference_columns(rows: Sequence[EncodedPair]) -> list[dict[str, list[int]]]:
    """The columns of TRL's DPO collator: the ids of the prompt and of each answer alone."""
    return [
        {"prompt_ids": row.prompt, "chosen_ids": row.chosen, "rejected_ids": row.rejected}
        for row in rows
    ]


def _side(name: str, rows: list[Any]) -> dict[str, Any]:
    masks = [np.ones(len(row), dtype=np.int8) for row in rows]
    return {f"{name}_input_ids": _lists(rows), f"{name}_attention_mask": _lists(masks)}


def _array(ids: list[int]) -> Any:
    return np.array(ids, dtype=np.int32)


def _lists(rows: list[Any]) -> Any:
    """Arrow's list column: [rows] of arrays of any length. 64-bit offsets: no limit in sight."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(rows)))

"""What a layout is, the same layout under other names, and signs to recognise one by."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from backprop_tui.core.facts import Shape
from backprop_tui.core.rows import Row

from .build import is_label
from .cells import Record, answer_of
from .columns import Unmapped, renamed
from .turns import ends_answered, is_turns


def _any(record: Record) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to write rows.

    name: the columns that decide, in words. needs: columns that must hold something.
    build: (row number, record) -> our row; raises Unusable with the reason to drop it.
    sign: what else must be true of a row to recognise it.
    mapped: columns that the user must have named: nothing in a file says so by itself.
    every: recognised only where every row fits, not most of them.
    stray: may also read single rows of a file that has another layout of the same shape.
    """

    name: str
    shape: Shape
    needs: tuple[str, ...]
    build: Callable[[int, Record], Row]
    sign: Callable[[Record], bool] = _any
    mapped: tuple[str, ...] = ()
    every: bool = False
    stray: bool = True

    def fits(self, record: Record) -> bool:
        for name in self.needs:
            if record.get(name) is None:
                return False
        return self.sign(record)


def under(
    layout: Layout,
    names: dict[str, str],
    sign: Callable[[Record], bool] = _any,
    *,
    every: bool = False,
) -> Layout:
    """The same layout where columns have other names, which its own name then tells.

    names: our name -> the file's. sign: what else must be true, of the record as it stands.
    """
    name = layout.name
    for ours, theirs in names.items():
        shown = theirs if ours in theirs else f"{theirs} ({ours})"
        name = re.sub(rf"\b{ours}\b", shown, name, count=1)
    needs = tuple(dict.fromkeys([*(names.get(n, n) for n in layout.needs), *names.values()]))
    return Layout(
        name,
        layout.shape,
        needs,
        lambda number, record: layout.build(number, renamed(record, names)),
        lambda record: sign(record) and layout.sign(renamed(record, names)),
        every=every,
        stray=layout.stray and not every,
    )


def has_label(record: Record) -> bool:
    return "label" in record  # a null label is still a label column


def has_true_label(record: Record) -> bool:
    """The label is one, or text that [data.labels] was asked about."""
    label = record.get("label")
    return is_label(label) or isinstance(label, Unmapped)


def one_answer_judged(record: Record) -> bool:
    return has_true_label(record) and has_one_answer(record)


def answer_then_label(column: str) -> Callable[[Record], bool]:
    return lambda record: has_label(record) and ends_answered(record[column])


def true_or_false(column: str) -> Callable[[Record], bool]:
    return lambda record: isinstance(record[column], bool)


def has_one_answer(record: Record) -> bool:
    """Alpaca's output, not a list of ranked ones."""
    answer = answer_of(record)
    return answer is not None and not isinstance(answer, list)


def repeats_prompt(record: Record) -> bool:
    """Both sides are strings that start with the prompt and go on after a break."""
    prompt, sides = record["prompt"], (record["chosen"], record["rejected"])
    if not isinstance(prompt, str) or not prompt.strip():
        return False
    return all(
        isinstance(side, str)
        and side.startswith(prompt)
        and (prompt[-1].isspace() or prompt[-1] == ":" or side[len(prompt) :][:1].isspace())
        for side in sides
    )


def is_chatml(record: Record) -> bool:
    return isinstance(record["text"], str) and "<|im_start|>" in record["text"]


def turns_in(column: str) -> Callable[[Record], bool]:
    return lambda record: is_turns(record[column])


def has_messages(record: Record) -> bool:
    """OpenAI's preference files: an object with the messages of the prompt."""
    given = record["input"]
    return isinstance(given, dict) and is_turns(given.get("messages"))


def has_one_completion(record: Record) -> bool:
    """Text or turns, not a list of several."""
    return not isinstance(record["completion"], list) or is_turns(record["completion"])

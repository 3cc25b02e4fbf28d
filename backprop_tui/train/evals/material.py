"""The rows of an evaluation: what a file or a run's held-out split holds, as token ids."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Chat, Labelled, Pair, Row, prompt_of, text_of
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.probe.data import DataSource, Loaded, describe, load
from backprop_tui.probe.survey import data_source, rows_for
from backprop_tui.train.batches import Encoder
from backprop_tui.train.encoded import Encoded, EncodedChat, EncodedPair, sequences
from backprop_tui.train.engine.layout import Group

Kind = Literal["pairs", "marked", "chats"]
KINDS: dict[type[Row], Kind] = {Pair: "pairs", Labelled: "marked", Chat: "chats"}
NO_TOKEN = "no token to score"
HELD_OUT = "heldout"


@dataclass(frozen=True, slots=True)
class Item:
    """One row: its number in the file from 1, and what the model reads.

    masks: of each answer the tokens that are scored; None for all. reference: the good answer as
    text; None for a row that has none. label: of a marked answer.
    """

    number: int
    group: Group
    masks: tuple[tuple[bool, ...] | None, ...]
    reference: str | None
    label: bool | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Rows that can be measured. name: of the folder of the results. rows: of the data, used or
    not. unused: how many are not, by reason. cut: shortened to max_length, by reason."""

    name: str
    path: str
    sha256: str
    kind: Kind
    items: tuple[Item, ...]
    rows: int
    unused: dict[str, int]
    cut: dict[str, int]
    heldout: bool = False  # the run's own
    trained_on: bool = False

    def tokens_sha256(self) -> str:
        """Of every token id that is read, so that another tokenizer, template or limit shows."""
        digest = hashlib.sha256()
        for item in self.items:
            parts = (item.group.prompt, *item.group.answers)
            digest.update(array("q", [item.number, len(parts), *map(len, parts)]).tobytes())
            for part in parts:
                digest.update(array("q", part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Read:
    """Rows before they are tokens."""

    name: str
    path: str
    sha256: str
    rows: list[Row]
    total: int
    unused: Counter[str]
    trained_on: bool = False


def read_heldout(run: RunFile, folder: Any) -> Read:
    """The rows a run held out, in its order; of paired data as pairs, whatever its method read.

    InputError: EVAL_NO_HELDOUT, EVAL_DATA_CHANGED, what `load` raises.
    """
    if not run.data.heldout:
        raise _no_heldout(folder, "data.heldout is 0 in its run file")
    loaded = load(data_source(run))
    sha256 = describe(loaded).sha256 or ""
    made = run.provenance
    if made and made.data_sha256 and made.data_sha256 != sha256:
        raise InputError(
            f"{run.data.path}: it is not the file {folder} was trained on, so its held-out rows "
            "cannot be told from the others.",
            hint="put that file back, or name rows to measure with --data FILE",
            code="EVAL_DATA_CHANGED",
        )
    _, heldout = split(rows_for(run, loaded.rows), run.data.heldout, run.data.heldout_seed)
    if not heldout:
        raise _no_heldout(folder, "with so few prompts nothing was held out")
    whole = {row.number: row for row in loaded.rows if isinstance(row, Pair)}
    numbers = dict.fromkeys(row.number for row in heldout)
    by_number = {row.number: row for row in heldout} | whole
    rows = [by_number[number] for number in numbers]
    return Read(HELD_OUT, run.data.path, sha256, rows, len(rows), Counter())


def read_file(source: DataSource, run: RunFile) -> Read:
    """The rows of any data the tool reads. InputError: EVAL_NO_ROWS, what `load` raises."""
    loaded = load(source)
    sha256 = describe(loaded).sha256 or hashlib.sha256(repr(source).encode()).hexdigest()
    if not loaded.rows:
        raise InputError(
            f"{source.path}: no row can be measured: {_reasons(loaded)}.",
            hint=f"backprop-tui data {source.path} says what it is",
            code="EVAL_NO_ROWS",
        )
    stem = "".join(
        one if one.isalnum() or one in "-_" else "-" for one in source.path.rpartition("/")[2]
    )
    stem = stem.removesuffix("-gz").rpartition("-")[0] or stem
    made = run.provenance
    return Read(
        f"{stem[:60]}-{sha256[:8]}",
        source.path,
        sha256,
        loaded.rows,
        loaded.total,
        Counter(loaded.dropped),
        trained_on=bool(made and made.data_sha256 == sha256),
    )


def _reasons(loaded: Loaded) -> str:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in loaded.dropped.items())
    return reasons or "its columns are not recognised"


def encoded(
    read: Read,
    tokenizer: Any,
    *,
    max_length: int,
    cut_answers: bool,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Material:
    """The rows as token ids, the first `limit` of them. InputError EVAL_NO_ROWS: none is left."""
    wanted = read.rows[:limit]
    kind = KINDS[type(wanted[0])]
    rows = [row for row in wanted if KINDS[type(row)] == kind]
    encoder = Encoder(tokenizer, max_length=max_length, cut_answers=cut_answers)
    found = encoder.encode(rows, progress)
    unused = read.unused + found.dropped
    if others := len(wanted) - len(rows):
        unused["another shape than the first row"] += others
    if left := len(read.rows) - len(wanted):
        unused["beyond --limit"] += left
    by_number = {row.number: row for row in rows}
    items = []
    for one in found.rows:
        item = _item(one, by_number[one.number])
        if all(_scored(item)):
            items.append(item)
        else:
            unused[NO_TOKEN] += 1
    if not items:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in unused.items())
        raise InputError(
            f"{read.path}: no row is left to measure: {reasons}.",
            hint="raise --max-length, or look at the rows: backprop-tui data FILE --model MODEL",
            code="EVAL_NO_ROWS",
        )
    name = read.name if limit is None or not left else f"{read.name}-first-{limit}"
    return Material(
        name,
        read.path,
        read.sha256,
        kind,
        tuple(items),
        read.total,
        dict(unused.most_common()),
        dict(found.cut),
        read.name == HELD_OUT,  # the name of a file has a hash behind it
        read.trained_on,
    )


def of_encoded(rows: Sequence[Encoded]) -> list[Item]:
    """Rows that are token ids already, without references."""
    return [_item(row, None) for row in rows]


def _item(row: Any, source: Row | None) -> Item:
    reference = None
    if source is not None and not (isinstance(source, Labelled) and not source.label):
        reference = _good(source)
    if isinstance(row, EncodedPair):
        group = Group(row.prompt, (row.chosen, row.rejected))
        return Item(row.number, group, (None, None), reference)
    if isinstance(row, EncodedChat):
        return _chat(row, reference)
    group = Group(row.prompt, (row.completion,))
    return Item(row.number, group, (None,), reference, row.label)


def _chat(row: EncodedChat, reference: str | None) -> Item:
    """All of the assistant's turns are scored; what stands between them is read."""
    trained = [trains for _, trains in sequences(row)[0]]
    first = trained.index(True)
    group = Group(row.input_ids[:first], (row.input_ids[first:],))
    mask = tuple(trained[len(trained) - len(group.scored(group.answers[0])) :])
    return Item(row.number, group, (mask,), reference)


def opening(item: Item) -> list[int]:
    """What the model is given to answer: the tokens before the row's last answer."""
    group, mask = item.group, item.masks[0]
    if mask is None:
        return group.prompt
    answer = group.answers[0]
    at = len(mask)
    while at and not mask[at - 1]:
        at -= 1
    while at and mask[at - 1]:
        at -= 1
    return group.prompt + answer[: len(answer) - len(mask) + at]


def _good(row: Row) -> str:
    if isinstance(row, Pair):
        return text_of(row.chosen)
    if isinstance(row, Labelled):
        return text_of(row.completion)
    return text_of(row.messages[len(prompt_of(row)) :][:1])


def _scored(item: Item) -> Iterable[int]:
    for answer, mask in zip(item.group.answers, item.masks, strict=True):
        yield len(item.group.scored(answer)) if mask is None else sum(mask)


def _no_heldout(folder: Any, why: str) -> InputError:
    return InputError(
        f"{folder}: it has no held-out rows: {why}.",
        hint="name rows to measure with --data FILE",
        code="EVAL_NO_HELDOUT",
    )

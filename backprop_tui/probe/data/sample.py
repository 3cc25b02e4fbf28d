"""The facts: counts as they were loaded, statistics over a sample of the kept rows."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import DataFacts, Fit, LengthBias, Quantiles
from backprop_tui.core.fits import fits
from backprop_tui.core.printable import printable
from backprop_tui.core.rows import Labelled, Message, Pair, Row, prompt_of, text_of

from .clean import SAMPLE, SHOWN, Loaded, as_text, sample

EXAMPLE = 2000  # characters shown of one field
TURN = 8  # tokens that a chat template writes around each further turn, about
LONGEST = 16  # rows, of all, that are measured for their length
ROW = "row"  # the tokens of a whole row

# Scripts written without spaces: Chinese, Japanese, Thai, Lao, Burmese, Khmer.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)


def words(text: str) -> int:
    """Words between spaces; for text mostly in a script without spaces, its characters."""
    parts = text.split()
    if text.isascii():
        return len(parts)
    characters = sum(map(len, parts))
    if 2 * len(_UNSPACED.findall(text)) > characters:
        return characters
    return len(parts)


def fields(row: Row) -> dict[str, tuple[Message, ...]]:
    """The parts whose lengths are told apart; of a chat, its last answer and all before it."""
    prompt = prompt_of(row)
    if isinstance(row, Pair):
        return {"prompt": prompt, "chosen": row.chosen, "rejected": row.rejected}
    if isinstance(row, Labelled):
        return {"prompt": prompt, "completion": row.completion}
    return {"prompt": prompt, "completion": row.messages[len(prompt) :]}


def describe(loaded: Loaded, *, seed: int = 0) -> DataFacts:
    """Facts of what was loaded. The sample is the same for the same seed, on every machine."""
    rows, table = loaded.rows, loaded.table
    sampled = sample(rows, seed)
    lengths = _lengths(sampled, lambda texts: [words(text) for text in texts])
    return DataFacts(
        name=table.name,
        path=table.path,
        format=table.format,
        shape=loaded.shape,
        layout=loaded.layout,
        columns=tuple(map(printable, loaded.columns)),
        rows=loaded.total,
        kept=loaded.kept,
        exact=loaded.exact,
        files=table.files,
        left_out=table.left_out,
        size=table.size,
        dropped=loaded.dropped,
        dropped_rows=loaded.dropped_rows,
        sampled=len(sampled),
        words={name: quantiles(values) for name, values in lengths.items()},
        length_bias=_length_bias(lengths) if loaded.shape == "paired" and sampled else None,
        labels=loaded.labels,
        duplicate_rows=loaded.duplicate_rows,
        duplicate_prompts=loaded.duplicate_prompts,
        examples=_examples(sampled) if sampled else _raw_examples(loaded),
        sha256=table.sha256,
        advice=printable(loaded.decision.advice),
        offers=loaded.decision.offers,
    )


def with_tokens(
    facts: DataFacts, loaded: Loaded, tokenizer_file: Path, *, seed: int = 0, rows: int = SAMPLE
) -> DataFacts:
    """The facts with token quantiles of a sample, without the chat template's markup.

    Besides the fields of `words` there is "row": the prompt and the longest answer of each row.
    tokenizer_file: a tokenizer.json. Raises InputError when it cannot be read.
    rows: how many rows are measured at most; for the default, the same as by `describe`. `max`
    is also of the rows with most characters of all: memory has to hold the longest one.
    """
    from tokenizers import Tokenizer  # 0.1 s

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise InputError(
            f"{tokenizer_file}: not a tokenizer that can be read ({error})",
            code="TOKENIZER_UNREADABLE",
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def tokens(texts: list[str]) -> list[int]:
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    lengths = _lengths(sample(loaded.rows, seed, rows), tokens)
    would: tuple[Fit, ...] = ()
    if lengths:
        answers = [values for name, values in lengths.items() if name != "prompt"]
        longest = list(map(max, zip(*answers, strict=True)))
        would = fits(lengths["prompt"], longest)
        lengths[ROW] = [a + b for a, b in zip(lengths["prompt"], longest, strict=True)]
    measured = {name: quantiles(values) for name, values in lengths.items()}
    if lengths:
        for name, most in _longest(loaded.rows, tokens).items():
            measured[name] = replace(measured[name], max=max(measured[name].max, most))
    return replace(facts, tokens=measured, fits=would)


def _longest(rows: Sequence[Row], count: Callable[[list[str]], list[int]]) -> dict[str, int]:
    """Field -> the most tokens it has in the rows with most text, "row" among them, with what a
    template writes around the turns of a conversation."""

    def characters(row: Row) -> int:
        return sum(len(text_of(messages)) for messages in fields(row).values())

    def in_bytes(row: Row) -> int:  # scripts with more bytes a character have more tokens too
        return sum(len(text_of(messages).encode()) for messages in fields(row).values())

    longest = [row for key in (characters, in_bytes) for row in heapq.nlargest(LONGEST, rows, key)]
    found = _lengths(longest, count)
    for name, values in found.items():
        turns = (len(fields(row)[name]) for row in longest)
        found[name] = [n + TURN * (turn - 1) for n, turn in zip(values, turns, strict=True)]
    answers = [values for name, values in found.items() if name != "prompt"]
    whole = [a + max(b) for a, b in zip(found["prompt"], zip(*answers, strict=True), strict=True)]
    return {name: max(values) for name, values in found.items()} | {ROW: max(whole)}


def _lengths(rows: Sequence[Row], count: Callable[[list[str]], list[int]]) -> dict[str, list[int]]:
    """Field -> the length of each row's, in the unit of `count`."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        for name, messages in fields(row).items():
            texts.setdefault(name, []).append(text_of(messages))
    return {name: count(each) for name, each in texts.items()}


def quantiles(values: Sequence[int]) -> Quantiles:
    """By nearest rank: p90 is the smallest value that at least 90 % do not exceed."""
    ordered = sorted(values)

    def rank(percent: int) -> int:
        return ordered[-(-percent * len(ordered) // 100) - 1]

    return Quantiles(
        p50=rank(50),
        p90=rank(90),
        p99=rank(99),
        max=ordered[-1],
        mean=sum(ordered) / len(ordered),
    )


def _length_bias(lengths: dict[str, list[int]]) -> LengthBias:
    chosen, rejected = lengths["chosen"], lengths["rejected"]
    pairs = list(zip(chosen, rejected, strict=True))
    longer = sum(1 for a, b in pairs if a > b)
    shorter = sum(1 for a, b in pairs if a < b)
    return LengthBias(
        pairs=len(pairs),
        chosen_longer=longer,
        chosen_shorter=shorter,
        equal=len(pairs) - longer - shorter,
        ratio=sum(rejected) / sum(chosen),
        p_value=sign_test(longer, shorter),
    )


def sign_test(more: int, fewer: int) -> float:
    """Two-sided exact sign test: how likely a split this uneven is when both are as likely.

    Python's integers are exact at any size, so no approximation is needed for a sample.
    """
    n, tail, term = more + fewer, 0, 1
    for k in range(min(more, fewer) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << n))


def _spread(n: int) -> list[int]:
    """Places of the rows to look at: first, middle, last."""
    return sorted({i * (n - 1) // max(SHOWN - 1, 1) for i in range(SHOWN)}) if n else []


def _examples(rows: Sequence[Row]) -> tuple[dict[str, str], ...]:
    shown = []
    for row in (rows[i] for i in _spread(len(rows))):
        example = {name: _shown(messages) for name, messages in fields(row).items()}
        if isinstance(row, Labelled):
            example["label"] = str(row.label).lower()
        shown.append(example)
    return tuple(shown)


def _shown(messages: tuple[Message, ...]) -> str:
    """One turn as its text, several with their roles."""
    if len(messages) == 1:
        return as_text(messages[0].content, EXAMPLE)
    return as_text("\n".join(f"{turn.role}: {turn.content}" for turn in messages), EXAMPLE)


def _raw_examples(loaded: Loaded) -> tuple[dict[str, str], ...]:
    """Where no row can be trained, rows as they stand in the file."""
    records = [value for _, value in loaded.table.records if isinstance(value, dict)]
    return tuple(
        {as_text(name, EXAMPLE): as_text(value, EXAMPLE) for name, value in records[i].items()}
        for i in _spread(len(records))
    )

"""Greedy answers, in batches: the likeliest token each time, so the same text every time.

Prompts are padded on the left, so that every answer begins at the end of its row. What the model's
own generation settings ask for (sampling, penalties) is not used: figures of two models are only
alike when both write the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.errors import RunError
from backprop_tui.train.evals.material import Item, opening

MAX_NEW = 256  # tokens of an answer


@dataclass(frozen=True, slots=True)
class Text:
    """What the model wrote to one row. tokens: the end of the turn among them. ended: by itself,
    not by the limit."""

    number: int
    text: str
    tokens: int
    ended: bool


def askable(items: Sequence[Item], context: int | None, max_new: int) -> tuple[list[Item], int]:
    """The rows that can be answered, and how many cannot. Of marked rows the good ones are asked,
    where there are some: they have something to be compared with."""
    wanted = [item for item in items if item.reference is not None] or list(items)
    found = [item for item in wanted if 0 < len(opening(item)) <= (context or 1 << 60) - max_new]
    return found, len(wanted) - len(found)


def stops_of(model: Any, tokenizer: Any, items: Sequence[Item]) -> list[int]:
    """Tokens that end an answer: the tokenizer's EOS, those the model names, and the special
    tokens that end the given answers."""
    from backprop_tui.train.tokens import Words

    found = {tokenizer.eos_token_id}
    named = getattr(model.generation_config, "eos_token_id", None)
    found.update([named] if isinstance(named, int) else named or [])
    special = Words(tokenizer).special_ids
    found.update(item.group.answers[0][-1] for item in items if item.group.answers[0])
    return sorted(token for token in found if token in special or token == tokenizer.eos_token_id)


def batches(items: Sequence[Item], most: int, max_new: int) -> list[list[int]]:
    """Places of the items in batches of prompts of like length, none of more than `most` tokens
    with padding and answers; the longest come first."""
    lengths = [len(opening(item)) for item in items]
    found: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(items)), key=lambda at: (-lengths[at], at)):
        if not found or (len(found[-1]) + 1) * (longest + max_new) > most:
            found.append([])
            longest = lengths[place]
        found[-1].append(place)
    return found


def write(
    model: Any, tokenizer: Any, items: Sequence[Item], stops: Sequence[int], max_new: int
) -> list[Text]:
    """The model's answers to these rows, written together. RunError: out of memory."""
    import torch

    prompts = [opening(item) for item in items]
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    device = next(model.parameters()).device
    try:
        with torch.no_grad(), _greedy(model, stops, pad, max_new) as settings:
            found = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=settings,
            )
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"The card ran out of memory while {len(prompts)} answers were written at once.",
            hint="what was written is kept; go on with a smaller --batch-tokens",
            code="RUN_OUT_OF_MEMORY",
        ) from error
    return [
        _text(item, row, tokenizer, set(stops))
        for item, row in zip(items, found[:, width:].tolist(), strict=True)
    ]


def _text(item: Item, ids: list[int], tokenizer: Any, stops: set[int]) -> Text:
    end = next((at for at, token in enumerate(ids) if token in stops), None)
    ids = ids if end is None else ids[: end + 1]
    words = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return Text(item.number, words, len(ids), end is not None)


@contextmanager
def _greedy(model: Any, stops: Sequence[int], pad: int, max_new: int) -> Iterator[Any]:
    """Settings without anything of the model's own, which the library would mix in."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new,
        eos_token_id=list(stops),
        pad_token_id=pad,
        use_cache=True,
    )
    before = model.generation_config
    model.generation_config = settings
    try:
        yield settings
    finally:
        model.generation_config = before


def write_all(
    items: Sequence[Item],
    most: int,
    max_new: int,
    done: Callable[[int], bool],
    write_batch: Callable[[Sequence[Item]], Sequence[Text]],
    keep: Callable[[Sequence[Text]], None],
    progress: Callable[[int], None],
) -> None:
    """Write what is not there yet, batch by batch; as score_all."""
    for places in batches(items, most, max_new):
        batch = [items[place] for place in places]
        missing = {item.number for item in batch if not done(item.number)}
        if missing:
            progress(0)
            keep([one for one in write_batch(batch) if one.number in missing])
            progress(len(missing))

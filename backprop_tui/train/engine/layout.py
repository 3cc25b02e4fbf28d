"""Rows of token ids -> what the model reads, and where each answer stands in it.

Two layouts of the same answers:

    packed   one row, no padding; a prompt is read once, whatever the number of its answers
             [prompt 1 | chosen 1 | rejected 1 | prompt 2 | chosen 2 | rejected 2 | ...]
    padded   a row an answer, as every model reads it
             [prompt 1 | chosen 1], [prompt 1 | rejected 1], [prompt 2 | chosen 2], ...

Positions restart after the prompt, so each answer stands where it would stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and its answers, token ids.

    With an empty prompt nothing predicts the first token of an answer: it is read, not scored.
    """

    prompt: list[int]
    answers: tuple[list[int], ...]

    def scored(self, answer: list[int]) -> list[int]:
        """The tokens of an answer that have a probability."""
        return answer if self.prompt else answer[1:]

    @property
    def packed_tokens(self) -> int:
        """Tokens of the group in the packed layout."""
        return len(self.prompt) + sum(map(len, self.answers))

    @property
    def padded_tokens(self) -> int:
        """Tokens of the group when every answer brings its prompt, padding left out."""
        return self.packed_tokens + (len(self.answers) - 1) * len(self.prompt)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a group stands in a packed row, in tokens."""

    start: int
    prompt: int
    answers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the model reads, and the positions whose next token is scored.

    input_ids [rows, tokens]; position_ids the same or None; attention_mask the same or None.
    positions [scored]: of the flattened input, each followed by its target. targets [scored].
    lengths: scored tokens of each answer, in the order of the groups and their answers.
    spans: of the packed layout; empty for the padded one. cache: what attention made for them.
    """

    input_ids: Tensor
    position_ids: Tensor | None
    attention_mask: Tensor | None
    positions: Tensor
    targets: Tensor
    lengths: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    cache: dict[Any, Any] = field(default_factory=dict, compare=False)

    @property
    def tokens(self) -> int:
        """Tokens the model reads, padding left out."""
        if self.attention_mask is None:
            return int(self.input_ids.numel())
        return int(self.attention_mask.sum())

    def to(self, device: Any, **_options: Any) -> Layout:
        """The same on another device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("input_ids", "position_ids", "attention_mask", "positions", "targets")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved, cache={})


def packed(groups: Sequence[Group]) -> Layout:
    """All groups as one row [1, tokens]."""
    import torch

    ids: list[int] = []
    at: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    spans: list[Span] = []
    for group in groups:
        start, prompt = len(ids), len(group.prompt)
        ids += group.prompt
        at += range(prompt)
        for answer in group.answers:
            scored = group.scored(answer)
            # The last prompt token predicts the first token of every answer.
            first = [start + prompt - 1] if group.prompt else []
            positions += [*first, *range(len(ids), len(ids) + len(answer) - 1)][: len(scored)]
            targets += scored
            ids += answer
            at += range(prompt, prompt + len(answer))
        spans.append(Span(start, prompt, tuple(map(len, group.answers))))
    return Layout(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([at]),
        attention_mask=None,
        positions=torch.tensor(positions, dtype=torch.long),  # there may be none
        targets=torch.tensor(targets, dtype=torch.long),
        lengths=_lengths(groups),
        spans=tuple(spans),
    )


def padded(groups: Sequence[Group], pad: int) -> Layout:
    """A row an answer [answers, longest], padded on the right."""
    import torch

    sequences = [(group, answer) for group in groups for answer in group.answers]
    width = max(len(group.prompt) + len(answer) for group, answer in sequences)
    ids = torch.full((len(sequences), width), pad)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    for number, (group, answer) in enumerate(sequences):
        sequence = group.prompt + answer
        ids[number, : len(sequence)] = torch.tensor(sequence)
        mask[number, : len(sequence)] = 1
        scored = group.scored(answer)
        end = number * width + len(sequence) - 1  # the last token predicts nothing
        positions += range(end - len(scored), end)
        targets += scored
    return Layout(
        input_ids=ids,
        position_ids=None,
        attention_mask=mask,
        positions=torch.tensor(positions, dtype=torch.long),  # there may be none
        targets=torch.tensor(targets, dtype=torch.long),
        lengths=_lengths(groups),
    )


def _lengths(groups: Sequence[Group]) -> tuple[int, ...]:
    return tuple(len(group.scored(answer)) for group in groups for answer in group.answers)


def divided(groups: Sequence[Group], most: int | None, *, shared: bool) -> list[list[Group]]:
    """Groups in their order, in runs of at most `most` tokens; one group may be longer alone."""
    if most is None:
        return [list(groups)]
    parts: list[list[Group]] = []
    tokens = most + 1
    for group in groups:
        size = group.packed_tokens if shared else group.padded_tokens
        if tokens + size > most:
            parts.append([])
            tokens = 0
        parts[-1].append(group)
        tokens += size
    return parts

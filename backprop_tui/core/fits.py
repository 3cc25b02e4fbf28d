"""What each max_length would do to rows of known length."""

from __future__ import annotations

from collections.abc import Sequence

from backprop_tui.core.facts import Fit

SHORTEST = 128  # tokens


def fits(
    prompt_lengths: Sequence[int], answer_lengths: Sequence[int], context: int | None = None
) -> tuple[Fit, ...]:
    """For 128, 256, 512, ... up to one that takes every row whole, or the model's context.

    prompt_lengths, answer_lengths: tokens of each row's prompt, and of its longest answer.
    context: the longest sequence the model allows; it stands last where it is too short.
    """
    rows = list(zip(prompt_lengths, answer_lengths, strict=True))
    if not rows:
        return ()
    longest = max(prompt + answer for prompt, answer in rows)
    steps = [SHORTEST]
    while steps[-1] < longest:
        steps.append(steps[-1] * 2)
    if context is not None and context < steps[-1]:
        steps = [step for step in steps if step < context] + [context]
    return tuple(_fit(rows, step) for step in steps)


def _fit(rows: list[tuple[int, int]], max_length: int) -> Fit:
    whole = sum(prompt + answer <= max_length for prompt, answer in rows)
    # The rule of the length guard: an answer that leaves no room for the prompt is too long.
    too_long = sum(answer >= max_length and prompt + answer > max_length for prompt, answer in rows)
    return Fit(
        max_length=max_length,
        whole=whole,
        prompt_cut=len(rows) - whole - too_long,
        too_long=too_long,
    )

"""How a record with two answers becomes our row. Raises Unusable with the reason to drop it."""

from __future__ import annotations

from collections.abc import Callable

from backprop_tui.core.rows import (
    DIFFERENT_PROMPTS,
    EMPTY,
    IDENTICAL,
    NO_ANSWER,
    PART_EARLY,
    Pair,
    text_of,
)

from .cells import Record, cell, check_answer, check_filled, instruction, number_of, opening
from .overlap import Turns, after, same, shared_text, shared_turns
from .turns import ASSISTANT, SYSTEM, USER, Unusable, prompt_turns, transcript, turns

# Columns with the scores of both sides, in the file or in one of its META columns.
SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
META = ("metadata", "meta")


def pair(column: str) -> Callable[[int, Record], Pair]:
    """Pairs whose prompt stands in `column`, as a string or turns."""

    def build(number: int, record: Record) -> Pair:
        return _pair(number, record, opening(record, prompt_turns(cell(record, column))))

    return build


def pair_after_instruction(number: int, record: Record) -> Pair:
    return _pair(number, record, opening(record, prompt_turns(instruction(record))))


def pair_prompt_repeated(number: int, record: Record) -> Pair:
    """Strings that start with the prompt: it is taken off both (transcripts go by turns)."""
    prompt, *sides = (record.get(name) for name in ("prompt", "chosen", "rejected"))
    if isinstance(prompt, str) and prompt:
        rest = [
            side[len(prompt) :].lstrip()
            for side in sides
            if isinstance(side, str) and side.startswith(prompt) and not transcript(side)
        ]
        if len(rest) == 2:
            record = {**record, "chosen": rest[0], "rejected": rest[1]}
    return pair("prompt")(number, record)


def pair_shared_start(number: int, record: Record) -> Pair:
    """No prompt column: the turns, or the text, that both sides start with are the prompt."""
    chosen, rejected = cell(record, "chosen"), cell(record, "rejected")
    plain = isinstance(chosen, str) and isinstance(rejected, str)
    if not plain or transcript(chosen) or transcript(rejected):
        return _pair(number, record, opening(record, ()))
    end = shared_text(chosen, rejected)
    prompt = prompt_turns(chosen[:end].strip()) if end else ()
    rest = {"chosen": chosen[end:].lstrip(), "rejected": rejected[end:].lstrip()}
    return _pair(number, {**record, **rest}, opening(record, prompt))


def pair_openai(number: int, record: Record) -> Pair:
    """OpenAI's and Azure's preference files: input.messages and two lists of turns."""
    given = cell(record, "input")
    messages = given.get("messages") if isinstance(given, dict) else given
    chosen, rejected = cell(record, "preferred_output"), cell(record, "non_preferred_output")
    sides = {"input": messages, "chosen": chosen, "rejected": rejected}
    return pair("input")(number, {**record, **sides})


def _pair(number: int, record: Record, prompt: Turns) -> Pair:
    chosen = turns(cell(record, "chosen"), ASSISTANT)
    rejected = turns(cell(record, "rejected"), ASSISTANT)
    if not text_of(chosen).strip() or not text_of(rejected).strip():
        raise Unusable(EMPTY)
    shared = shared_turns(chosen, rejected)
    if shared and prompt and same(shared[-len(prompt) :], prompt):
        # Full conversations of which the prompt column repeats only the last turns.
        prompt, chosen, rejected = shared, chosen[len(shared) :], rejected[len(shared) :]
    else:
        prompt, chosen = after(prompt, chosen)
        prompt, rejected = after(prompt, rejected)
        shared = shared_turns(chosen, rejected)
        prompt, chosen, rejected = (
            prompt + shared,
            chosen[len(shared) :],
            rejected[len(shared) :],
        )
    if not chosen or not rejected:
        raise Unusable(NO_ANSWER)
    if {chosen[0].role, rejected[0].role} & {USER, SYSTEM}:
        raise Unusable(DIFFERENT_PROMPTS)
    chosen, rejected = _answers_only(chosen), _answers_only(rejected)
    check_filled(prompt + chosen + rejected)
    if text_of(chosen).strip() == text_of(rejected).strip():
        raise Unusable(IDENTICAL)
    return Pair(number, prompt, chosen, rejected, _scores(record))


def _answers_only(side: Turns) -> Turns:
    """A side without turns at its end that nobody answered.

    Where a user or a tool speaks between its answers, the sides part before the last turn.
    Such a pair is dropped: all that follows the prompt would be trained, so others' words
    too; and to cut each side after its first answer would train that answer on a judgement
    of everything that came after it.
    """
    if len(side) == 1 and side[0].role == ASSISTANT:
        return side
    check_answer(side)
    while side[-1].role != ASSISTANT:
        side = side[:-1]
    if any(turn.role != ASSISTANT for turn in side):
        raise Unusable(PART_EARLY)
    return side


def _scores(record: Record) -> tuple[float, float] | None:
    """The scores of chosen and rejected, where the file holds both as numbers."""
    found = _scores_in(record)
    for name in META:
        if found is None and isinstance(inner := record.get(name), dict):
            found = _scores_in(inner)
    return found


def _scores_in(record: Record) -> tuple[float, float] | None:
    for chosen, rejected in SCORES:
        if chosen in record and rejected in record:
            better, worse = _score(record[chosen]), _score(record[rejected])
            return None if better is None or worse is None else (better, worse)
    return None


def _score(value: object) -> float | None:
    """A number, also as text: a CSV holds no other."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return number_of(value)

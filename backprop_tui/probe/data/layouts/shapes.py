"""The layouts we read: one table of how each is recognised and how a row becomes our row.

To add one, write an entry in LAYOUTS and an example in tests/probe/layout_examples.py.
"""

from __future__ import annotations

from itertools import product

from backprop_tui.core.rows import SIDE_MISSING, Pair

from . import answers
from .build import (
    alpaca,
    chat,
    chatml_text,
    completion_alone,
    labelled_instruction,
    labelled_prompt,
    labelled_turns,
    prompt_completion,
)
from .cells import Record
from .columns import VERDICTS
from .layout import (
    Layout,
    answer_then_label,
    has_label,
    has_messages,
    has_one_answer,
    has_one_completion,
    has_true_label,
    is_chatml,
    one_answer_judged,
    repeats_prompt,
    true_or_false,
    turns_in,
    under,
)
from .pairs import (
    pair,
    pair_after_instruction,
    pair_openai,
    pair_prompt_repeated,
    pair_shared_start,
)
from .turns import Unusable, is_turns

# What people call a prompt and its answer where they do not say prompt and completion.
ASKED = (
    {"prompt": "query", "completion": "response"},  # ms-swift
    {"completion": "response"},
)
# What they call the better and the worse answer. StackExchange's j is the better one.
SIDES = (
    {"chosen": "chosen_messages", "rejected": "rejected_messages"},  # LLaMA-Factory
    {"chosen": "chosen_response", "rejected": "rejected_response"},
    {"chosen": "response", "rejected": "rejected_response"},  # ms-swift
    {"chosen": "response_j", "rejected": "response_k"},
)

PROMPT_LABEL = Layout(
    "prompt, completion, label", "unpaired", ("prompt", "completion"), labelled_prompt, has_label
)
UNPAIRED = (
    PROMPT_LABEL,
    *(under(PROMPT_LABEL, names, has_true_label) for names in ASKED),
    Layout(
        "instruction, input, output, label",
        "unpaired",
        ("instruction",),
        labelled_instruction,
        one_answer_judged,
    ),
    *(
        Layout(
            f"{column}, label",
            "unpaired",
            (column,),
            labelled_turns(column),
            answer_then_label(column),
        )
        for column in ("messages", "conversations")
    ),
)
# Feedback that true or false stands for in all rows, in a column of another name.
VERDICT = tuple(
    under(layout, {"label": name}, true_or_false(name), every=True)
    for layout, name in product(UNPAIRED, VERDICTS)
)

PAIRED = (
    Layout(
        "prompt, chosen, rejected (the prompt repeated in both)",
        "paired",
        ("prompt", "chosen", "rejected"),
        pair_prompt_repeated,
        repeats_prompt,
    ),
    Layout("prompt, chosen, rejected", "paired", ("prompt", "chosen", "rejected"), pair("prompt")),
    Layout(
        "instruction, input, chosen, rejected",
        "paired",
        ("instruction", "chosen", "rejected"),
        pair_after_instruction,
    ),
    *(
        Layout(
            f"{column}, chosen, rejected", "paired", (column, "chosen", "rejected"), pair(column)
        )
        for column in ("question", "query", "input")
    ),
    *(
        Layout(
            f"{column}, chosen, rejected",
            "paired",
            (column, "chosen", "rejected"),
            pair(column),
            turns_in(column),
        )
        for column in ("conversations", "messages")
    ),
)
# Not for a stray row: where other rows have a prompt column, one without has lost its prompt.
SHARED_START = Layout(
    "chosen, rejected", "paired", ("chosen", "rejected"), pair_shared_start, stray=False
)
OPENAI = Layout(
    "input, preferred_output, non_preferred_output (OpenAI)",
    "paired",
    ("input", "preferred_output", "non_preferred_output"),
    pair_openai,
    has_messages,
)


def _as_pair(number: int, record: Record) -> Pair:
    """A record that was given its two sides, by the first layout of pairs that it fits."""
    fitting = next((layout for layout in PAIRED if layout.fits(record)), None)
    if fitting is None and not is_turns(record["chosen"]):
        raise Unusable(SIDE_MISSING)
    row = (fitting or SHARED_START).build(number, record)
    assert isinstance(row, Pair)
    return row


def _mapped(name: str, columns: tuple[str, ...], build: answers.Build) -> Layout:
    """Pairs out of several answers, where [data.columns] says which."""
    return Layout(name, "paired", columns, build, mapped=columns, stray=False)


def _each_scored(record: Record) -> bool:
    listed = record["answers"]
    return isinstance(listed, list) and bool(listed) and bool(answers.score_name(listed[0]))


BEST_AND_WORST = (
    _mapped("answers, ranks", ("answers", "ranks"), answers.scored(_as_pair, "ranks")),
    _mapped("answers, scores", ("answers", "scores"), answers.scored(_as_pair, "scores")),
    Layout(
        "answers (each with its score)",
        "paired",
        ("answers",),
        answers.scored(_as_pair, ""),
        _each_scored,
        mapped=("answers",),
        stray=False,
    ),
    _mapped("answers (best first)", ("answers",), answers.ranked(_as_pair)),
    _mapped("first, second, winner", ("first", "second", "winner"), answers.compared(_as_pair)),
)

ALPACA = Layout(
    "instruction, input, output (Alpaca)", "sft", ("instruction",), alpaca, has_one_answer
)
PROMPT = Layout(
    "prompt, completion", "sft", ("prompt", "completion"), prompt_completion, has_one_completion
)
SFT = (
    *(
        Layout(name, "sft", (column,), chat(column), turns_in(column))
        for column, name in (
            ("conversations", "conversations (ShareGPT)"),
            ("messages", "messages (OpenAI)"),
            ("conversation", "conversation"),
        )
    ),
    under(ALPACA, {"input": "context", "output": "response"}),  # Dolly
    ALPACA,
    Layout("text (ChatML)", "sft", ("text",), chatml_text, is_chatml),
    PROMPT,
    *(under(PROMPT, names) for names in ASKED),
    Layout(
        "completion alone",
        "sft",
        ("completion",),
        completion_alone,
        mapped=("completion",),
        stray=False,
    ),
)

# In order of precedence: the first layout that most rows fit is the file's.
LAYOUTS = (
    *BEST_AND_WORST,
    *UNPAIRED,
    *PAIRED,
    OPENAI,
    *(under(layout, names) for names, layout in product(SIDES, PAIRED[1:])),
    *(under(SHARED_START, names) for names in SIDES[:2]),
    SHARED_START,
    *VERDICT,
    *SFT,
)

# The names [data.columns] may give to a file's columns.
COLUMNS = (
    "prompt", "chosen", "rejected", "completion", "label", "messages", "conversations",
    "instruction", "input", "output", "response", "text", "question", "query", "system", "history",
    "answers", "scores", "ranks", "first", "second", "winner",
)  # fmt: skip

"""Each layout: a row as people write it, and the row it becomes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from backprop_tui.core.rows import Chat, Labelled, Pair
from backprop_tui.probe.data.layouts.columns import VERDICTS
from backprop_tui.probe.data.layouts.shapes import LAYOUTS, SIDES
from tests.probe.layout_examples import EXAMPLES
from tests.probe.reading import A, B, Q, oai, read, sharegpt

# Layouts that a mapping asks for, which no file has by itself.
RANKED = {"prompt": "q", "replies": ["good", "so so", "bad"]}
SCORED = [{"text": "so so", "score": 2}, {"text": "bad", "score": 1}, {"text": "good", "score": 3}]
MAPPED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("answers (best first)", RANKED, {"columns": {"answers": "replies"}}),
    (
        "answers (each with its score)",
        {"instruction": "q", "replies": SCORED},
        {"columns": {"answers": "replies"}},
    ),
    (
        "answers, scores",
        {"prompt": "q", "replies": ["so so", "bad", "good"], "marks": [4, 1.5, 5]},
        {"columns": {"answers": "replies", "scores": "marks"}},
    ),
    (
        "answers, ranks",
        {"prompt": "q", "replies": ["so so", "bad", "good"], "places": [2, 3, 1]},
        {"columns": {"answers": "replies", "ranks": "places"}},
    ),
    (
        "first, second, winner",
        {"prompt": "q", "a": "bad", "b": "good", "won": "model_b"},
        {
            "columns": {"first": "a", "second": "b", "winner": "won"},
            "labels": {"model_a": True, "model_b": False},
        },
    ),
]


@pytest.mark.parametrize(("layout", "record", "expected"), EXAMPLES)
def test_a_layout_becomes_our_row(
    layout: str, record: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    found = read([record])
    assert found.layout == layout
    assert found.parts == [expected]
    kind = {Pair: "paired", Labelled: "unpaired", Chat: "sft"}[type(found.rows[0])]
    assert found.shape == kind


@pytest.mark.parametrize(("layout", "record", "asked"), MAPPED)
def test_several_answers_become_the_best_against_the_worst(
    layout: str, record: dict[str, Any], asked: dict[str, Any]
) -> None:
    found = read([record], **asked)
    assert (found.layout, found.parts) == (layout, [(Q, A, B)])
    assert read([record]).rows == []  # never without being asked


def test_raw_text_is_an_answer_to_nothing_once_asked() -> None:
    found = read([{"text": "good"}], columns={"completion": "text"})
    assert (found.layout, found.parts) == ("completion alone", [(A,)])


# Where the prompt of a pair may stand.
ASKED_IN = ("prompt", "instruction", "question", "query", "input", "conversations", "messages")


@pytest.mark.parametrize(("names", "column"), list(product(SIDES, ASKED_IN)))
def test_sides_under_other_names(names: dict[str, str], column: str) -> None:
    asked = oai(("user", "q")) if column in ("conversations", "messages") else "q"
    found = read([{column: asked, names["chosen"]: "good", names["rejected"]: "bad"}])
    assert (found.shape, found.parts) == ("paired", [(Q, A, B)])
    assert names["chosen"] in found.layout
    assert names["rejected"] in found.layout


@pytest.mark.parametrize("names", SIDES[:2])
def test_whole_conversations_under_other_names(names: dict[str, str]) -> None:
    good, bad = (oai(("user", "q"), ("assistant", said)) for said in ("good", "bad"))
    found = read([{names["chosen"]: good, names["rejected"]: bad}])
    assert (found.layout, found.parts) == (", ".join(names.values()), [(Q, A, B)])


def test_stack_exchange_says_which_answer_it_takes_as_the_better_one() -> None:
    found = read([{"question": "q", "response_j": "good", "response_k": "bad"}])
    assert found.layout == "question, response_j (chosen), response_k (rejected)"
    assert found.parts == [(Q, A, B)]


JUDGED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prompt, completion, {} (label)", {"prompt": "q", "completion": "good"}),
    ("query (prompt), response (completion), {} (label)", {"query": "q", "response": "good"}),
    ("prompt, response (completion), {} (label)", {"prompt": "q", "response": "good"}),
    ("instruction, input, output, {} (label)", {"instruction": "q", "output": "good"}),
    ("messages, {} (label)", {"messages": oai(("user", "q"), ("assistant", "good"))}),
    (
        "conversations, {} (label)",
        {"conversations": sharegpt(("human", "q"), ("gpt", "good"))},
    ),
)


@pytest.mark.parametrize(("judged", "verdict"), list(product(JUDGED, VERDICTS)))
def test_a_verdict_under_a_known_name(judged: tuple[str, dict[str, Any]], verdict: str) -> None:
    layout, record = judged
    found = read([record | {verdict: True}, record | {verdict: False}])
    assert found.layout == layout.format(verdict)
    assert found.parts == [(Q, A, True), (Q, A, False)]
    assert found.how.advice == ""


def test_every_layout_has_an_example() -> None:
    shown = {name for name, _, _ in EXAMPLES} | {name for name, _, _ in MAPPED}
    shown |= {layout.format(verdict) for (layout, _), verdict in product(JUDGED, VERDICTS)}
    for names, column in product(SIDES, ASKED_IN):
        asked = oai(("user", "q")) if column in ("conversations", "messages") else "q"
        shown.add(read([{column: asked, names["chosen"]: "a", names["rejected"]: "b"}]).layout)
    shown |= {", ".join(names.values()) for names in SIDES[:2]} | {"completion alone"}
    assert {layout.name for layout in LAYOUTS} == shown


def test_layouts_are_told_apart_by_name() -> None:
    """A decision is made again in another process from the name of its layout."""
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)


def test_precedence() -> None:
    everything = {
        "prompt": "q",
        "completion": "c",
        "label": True,
        "chosen": "good",
        "rejected": "bad",
        "tag": True,
        "conversations": sharegpt(("human", "q"), ("gpt", "c")),
        "messages": oai(("user", "q"), ("assistant", "c")),
        "instruction": "q",
        "output": "c",
        "text": "<|im_start|>user\nq<|im_end|><|im_start|>assistant\nc<|im_end|>",
    }
    found = []
    gone = ("label", "chosen", "tag", "conversations", "messages", "instruction", "text", None)
    for name in gone:
        found.append(read([everything], shape=None).layout)
        everything.pop(name or "prompt")
        everything.pop("rejected" if name == "chosen" else "", None)
    assert found == [
        "prompt, completion, label",
        "prompt, chosen, rejected",
        "prompt, completion, tag (label)",
        "conversations (ShareGPT)",
        "messages (OpenAI)",
        "instruction, input, output (Alpaca)",
        "text (ChatML)",
        "prompt, completion",
    ]


def test_the_first_row_does_not_decide() -> None:
    odd: list[Any] = [{"text": "x"}, {"prompt": "q", "completion": "c"}]
    rows = [{"prompt": f"q{i}", "chosen": "good", "rejected": "bad"} for i in range(8)]
    found = read(odd + rows)
    assert (found.shape, len(found.rows)) == ("paired", 8)
    assert found.dropped == {"one side missing": 2}


def test_rows_of_one_shape_may_have_different_columns() -> None:
    rows = [
        {"messages": oai(("user", "q"), ("assistant", "good"))},
        {"messages": oai(("user", "q"), ("assistant", "good"))},
        {"conversations": sharegpt(("human", "q"), ("gpt", "good"))},
        {"instruction": "q", "output": "good"},
        {"query": "q", "response": "good"},
        {"something": "else"},
    ]
    found = read(rows)
    assert found.parts == [((*Q, *A),)] * 5
    assert found.dropped == {"no answer to train on": 1}


def test_a_row_is_read_by_no_layout_that_must_hold_for_the_whole_file() -> None:
    good = {"prompt": "q", "completion": "good", "label": True}
    stray = {"prompt": "q", "completion": "good", "tag": True}
    assert read([good, good, stray]).dropped == {"label unusable": 1}
    pair = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert read([pair, pair, {"chosen": "good", "rejected": "bad"}]).dropped == {
        "one side missing": 1
    }

"""Each layout: a row as people write it, and the row it becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backprop_tui.core.rows import Chat, Labelled, Message, Pair, Row
from backprop_tui.probe.data import DataSource, load
from backprop_tui.probe.data.shapes import LAYOUTS

Write = Callable[..., str]

Turns = tuple[tuple[str, str], ...]


def plain(messages: tuple[Message, ...]) -> Turns:
    return tuple((message.role[0], message.content) for message in messages)


def parts(row: Row) -> tuple[Any, ...]:
    """A row as short tuples, roles by their first letter."""
    if isinstance(row, Pair):
        return plain(row.prompt), plain(row.chosen), plain(row.rejected)
    if isinstance(row, Labelled):
        return plain(row.prompt), plain(row.completion), row.label
    return (plain(row.messages),)


def oai(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def sharegpt(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": role, "value": content} for role, content in turns]


Q, A, B = (("u", "q"),), (("a", "good"),), (("a", "bad"),)
HH = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: q\n\nAssistant:"
HH_PROMPT = (("u", "hi"), ("a", "yo"), ("u", "q"))
PROMPT_AS_TURNS = (("s", "be kind"), *Q)

EXAMPLES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    # Unpaired
    ("prompt, completion, label", {"prompt": "q", "completion": "good", "label": 1}, (Q, A, True)),
    (
        "prompt, completion, label",
        {"prompt": oai(("user", "q")), "completion": oai(("assistant", "bad")), "label": False},
        (Q, B, False),
    ),
    (
        "prompt, completion, label",  # the conversation repeated
        {
            "prompt": "q",
            "completion": oai(("user", "q"), ("assistant", "good")),
            "label": True,
        },
        (Q, A, True),
    ),
    (
        "instruction, input, output, label",
        {"instruction": "q", "input": "", "output": "good", "label": True},
        (Q, A, True),
    ),
    (
        "messages, label",
        {"messages": oai(("system", "be kind"), ("user", "q"), ("assistant", "bad")), "label": 0},
        (PROMPT_AS_TURNS, B, False),
    ),
    # Paired
    ("prompt, chosen, rejected", {"prompt": "q", "chosen": "good", "rejected": "bad"}, (Q, A, B)),
    (
        "prompt, chosen, rejected",
        {
            "prompt": oai(("system", "be kind"), ("user", "q")),
            "chosen": {"role": "assistant", "content": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "prompt, chosen, rejected",  # UltraFeedback: a string and full conversations
        {
            "prompt": "q",
            "chosen": oai(("user", "q"), ("assistant", "good")),
            "rejected": oai(("user", "q"), ("assistant", "bad")),
        },
        (Q, A, B),
    ),
    (
        "prompt, chosen, rejected",  # only the conversations have the system turn
        {
            "prompt": "q",
            "chosen": oai(("system", "be kind"), ("user", "q"), ("assistant", "good")),
            "rejected": oai(("system", "be kind"), ("user", "q"), ("assistant", "bad")),
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "prompt, chosen, rejected",  # the prompt is the first turn of several shared ones
        {
            "prompt": "hi",
            "chosen": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "good")),
            "rejected": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "bad")),
        },
        (HH_PROMPT, A, B),
    ),
    (
        "prompt, chosen, rejected",  # the prompt is the last of the shared turns
        {
            "prompt": "q",
            "chosen": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "good")),
            "rejected": oai(*[("user", "hi"), ("assistant", "yo"), ("user", "q")], ("gpt", "bad")),
        },
        (HH_PROMPT, A, B),
    ),
    (
        "prompt, chosen, rejected",  # an HH transcript with the answers apart
        {"prompt": HH, "chosen": " good", "rejected": "bad"},
        (HH_PROMPT, (("a", " good"),), B),
    ),
    (
        "prompt, chosen, rejected",  # typed blocks
        {
            "prompt": [{"type": "text", "text": "q"}],
            "chosen": oai(
                ("assistant", [{"type": "text", "value": "go"}, {"type": "text", "text": "od"}])
            ),
            "rejected": "bad",
        },
        (Q, A, B),
    ),
    (
        "prompt, chosen, rejected",  # one starts like the prompt: not a repetition
        {"prompt": "Hi", "chosen": "Hi there", "rejected": "bad"},
        ((("u", "Hi"),), (("a", "Hi there"),), B),
    ),
    (
        "prompt, chosen, rejected (the prompt repeated in both)",
        {"prompt": "q?", "chosen": "q? good", "rejected": "q?\nbad"},
        ((("u", "q?"),), A, B),
    ),
    (
        "prompt, chosen, rejected (the prompt repeated in both)",
        {"prompt": HH, "chosen": HH + " good", "rejected": HH + " bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "instruction, input, chosen, rejected",  # Alpaca with a preference
        {"instruction": "q", "input": "in", "output": "good", "chosen": "good", "rejected": "bad"},
        ((("u", "q\n\nin"),), A, B),
    ),
    (
        "question, chosen, rejected",
        {"system": "be kind", "question": "q", "chosen": "good", "rejected": "bad"},
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "query, chosen, rejected",
        {"query": "q", "history": [["hi", "yo"]], "chosen": "good", "rejected": "bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "conversations, chosen, rejected",
        {
            "conversations": sharegpt(("system", "be kind"), ("human", "q")),
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        (PROMPT_AS_TURNS, A, B),
    ),
    (
        "messages, chosen, rejected",
        {"messages": oai(("user", "q")), "chosen": "good", "rejected": "bad"},
        (Q, A, B),
    ),
    (
        "chosen, rejected",  # HH
        {"chosen": HH + " good", "rejected": HH + " bad"},
        (HH_PROMPT, A, B),
    ),
    (
        "chosen, rejected",  # they part before the last turn
        {"chosen": HH + " good\n\nHuman: more\n\nAssistant: ok", "rejected": HH + " bad"},
        (HH_PROMPT, (("a", "good"), ("u", "more"), ("a", "ok")), B),
    ),
    (
        "chosen, rejected",
        {
            "chosen": oai(("user", "q"), ("assistant", "good")),
            "rejected": oai(("user", "q"), ("assistant", "bad")),
        },
        (Q, A, B),
    ),
    (
        "chosen, rejected",
        {"chosen": "Say: 2+2?\nIt is 4", "rejected": "Say: 2+2?\nIt is 5"},
        ((("u", "Say: 2+2?"),), (("a", "It is 4"),), (("a", "It is 5"),)),
    ),
    (
        "chosen, rejected",  # a shared word is no prompt
        {"chosen": "The cat", "rejected": "The dog"},
        ((), (("a", "The cat"),), (("a", "The dog"),)),
    ),
    # Chat and instruction
    (
        "conversations (ShareGPT)",
        {
            "conversations": sharegpt(
                ("human", "q"),
                ("function_call", "f()"),
                ("observation", "1"),
                ("GPT", "good"),
            )
        },
        ((*Q, ("a", "f()"), ("t", "1"), *A),),
    ),
    (
        "messages (OpenAI)",
        {"messages": oai(("system", ""), ("User", "q"), ("Assistant", "good"))},
        ((("s", ""), *Q, *A),),
    ),
    (
        "instruction, input, output (Alpaca)",
        {"instruction": "q", "input": "in", "output": "good"},
        ((("u", "q\n\nin"), *A),),
    ),
    (
        "instruction, input, output (Alpaca)",
        {"instruction": "q", "input": " ", "response": "good", "system": "be kind"},
        ((*PROMPT_AS_TURNS, *A),),
    ),
    (
        "text (ChatML)",
        {
            "text": "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
            "<|im_start|>assistant\ngood<|im_end|>\n"
        },
        ((*PROMPT_AS_TURNS, *A),),
    ),
    ("prompt, completion", {"prompt": "q", "completion": "good"}, ((*Q, *A),)),
    (
        "prompt, completion",
        {"prompt": oai(("user", "q")), "completion": oai(("assistant", "good"))},
        ((*Q, *A),),
    ),
]


@pytest.mark.parametrize(("layout", "record", "expected"), EXAMPLES)
def test_a_layout_becomes_our_row(
    write: Write, layout: str, record: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    loaded = load(DataSource(write("a.jsonl", [record])))
    assert loaded.layout == layout
    assert [parts(row) for row in loaded.rows] == [expected]
    kind = {Pair: "paired", Labelled: "unpaired", Chat: "sft"}[type(loaded.rows[0])]
    assert loaded.shape == kind


def test_every_layout_has_an_example() -> None:
    assert {layout.name for layout in LAYOUTS} == {name for name, _, _ in EXAMPLES}


def test_precedence(write: Write) -> None:
    everything = {
        "prompt": "q",
        "completion": "c",
        "label": True,
        "chosen": "good",
        "rejected": "bad",
        "conversations": sharegpt(("human", "q"), ("gpt", "c")),
        "messages": oai(("user", "q"), ("assistant", "c")),
        "instruction": "q",
        "output": "c",
        "text": "<|im_start|>user\nq<|im_end|><|im_start|>assistant\nc<|im_end|>",
    }
    found = []
    for gone in ("label", "chosen", "conversations", "messages", "instruction", "text", None):
        found.append(load(DataSource(write("a.jsonl", [everything]))).layout)
        everything.pop(gone or "prompt")
    assert found == [
        "prompt, completion, label",
        "prompt, chosen, rejected",
        "conversations (ShareGPT)",
        "messages (OpenAI)",
        "instruction, input, output (Alpaca)",
        "text (ChatML)",
        "prompt, completion",
    ]


def test_the_first_row_does_not_decide(write: Write) -> None:
    odd: list[Any] = [{"text": "x"}, {"prompt": "q", "completion": "c"}]
    rows = [{"prompt": f"q{i}", "chosen": "good", "rejected": "bad"} for i in range(8)]
    loaded = load(DataSource(write("a.jsonl", odd + rows)))
    assert (loaded.shape, len(loaded.rows)) == ("paired", 8)
    assert loaded.dropped == {"one side missing": 2}


def test_rows_of_one_shape_may_have_different_columns(write: Write) -> None:
    rows = [
        {"messages": oai(("user", "q"), ("assistant", "good"))},
        {"messages": oai(("user", "q"), ("assistant", "good"))},
        {"conversations": sharegpt(("human", "q"), ("gpt", "good"))},
        {"instruction": "q", "output": "good"},
        {"something": "else"},
    ]
    loaded = load(DataSource(write("a.jsonl", rows)))
    assert [parts(row) for row in loaded.rows] == [((*Q, *A),)] * 4
    assert loaded.dropped == {"no answer to train on": 1}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": oai(("user", "q"))}, "no answer to train on"),
        ({"messages": oai(("user", "q"), ("assistant", ""))}, "empty text"),
        ({"messages": oai(("user", "q"), ("assistant", None))}, "not text"),
        ({"messages": "q"}, "no answer to train on"),
        ({"instruction": "q", "output": ["a", "b"]}, "no answer to train on"),
        ({"instruction": "q", "output": 3}, "not text"),
        ({"instruction": "q", "output": "a", "history": ["b"]}, "not text"),
        ({"instruction": " ", "input": "", "output": "a"}, "empty text"),
    ],
)
def test_a_chat_that_teaches_nothing(write: Write, record: Any, reason: str) -> None:
    good = {"messages": oai(("user", "q"), ("assistant", "good"))}
    loaded = load(DataSource(write("a.jsonl", [good, good, record])))
    assert loaded.dropped == {reason: 1}


def test_transcripts_that_answer_different_questions(write: Write) -> None:
    rows = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
        {"chosen": HH + " good", "rejected": HH + " bad"},
    ]
    loaded = load(DataSource(write("a.jsonl", rows)))
    assert loaded.dropped == {"sides answer different prompts": 1}


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"text": "Once upon a time."}, "raw text for pre-training"),
    (
        {"question": "q", "response_j": "a", "response_k": "b"},
        "nothing says which one is better. If 'response_j' is the better one, map them: "
        '[data.columns] prompt = "question", chosen = "response_j", rejected = "response_k"',
    ),
    (
        {"chosen_messages": oai(("user", "q")), "rejected_messages": oai(("user", "q"))},
        'chosen = "chosen_messages", rejected = "rejected_messages"',
    ),
    (
        {"prompt": "q", "worse_answer": "a", "better_answer": "b"},
        'chosen = "better_answer", rejected = "worse_answer"',
    ),
    ({"query": "q", "response": "a"}, 'prompt = "query", completion = "response"'),
    ({"instruction": "q", "output": ["best", "worst"]}, "several answers per row, a list in 'ou"),
    ({"dialogue": sharegpt(("human", "q"), ("gpt", "a"))}, 'messages = "dialogue"'),
    ({"prompt": "q", "chosen": "a"}, "'chosen' but no 'rejected'"),
    ({"prompt": "q", "rejected": "a"}, "'rejected' but no 'chosen'"),
    ({"response": "a"}, "one column only, 'response'"),
    ({"x": 1, "y": 2}, "fit no known layout: x, y"),
    ({}, "fit no known layout: none"),
    ({"instruction": "q", "output": "a", "tag": True}, 'label = "tag"'),
    ({"prompt": "q", "completion": "a", "gpt_label": "2_refusal"}, "(its values: 2_refusal)"),
    ({"messages": oai(("user", "q"), ("assistant", "a")), "is_correct": 0}, 'label = "is_correct"'),
]


@pytest.mark.parametrize(("record", "said"), OTHER)
def test_what_is_not_clear_is_not_guessed(write: Write, record: Any, said: str) -> None:
    loaded = load(DataSource(write("a.jsonl", [record] * 3)))
    assert (loaded.shape, loaded.rows) == ("other", [])
    assert loaded.dropped == {"columns not recognised": 3}
    assert said in loaded.decision.advice


def test_a_file_without_objects(write: Write) -> None:
    loaded = load(DataSource(write("a.json", '["a", "b", 3]')))
    assert (loaded.shape, loaded.dropped) == ("other", {"not a JSON object": 3})
    assert "no JSON object" in loaded.decision.advice


def test_the_offered_mapping_makes_it_usable(write: Write) -> None:
    path = write("a.jsonl", [{"question": "q", "response_j": "good", "response_k": "bad"}])
    columns = {"prompt": "question", "chosen": "response_j", "rejected": "response_k"}
    loaded = load(DataSource(path, columns=columns))
    assert [parts(row) for row in loaded.rows] == [(Q, A, B)]
    assert loaded.columns == ("question", "response_j", "response_k")


def test_a_mapping_wins_over_a_column_of_the_same_name(write: Write) -> None:
    path = write("a.jsonl", [{"prompt": "old", "q2": "q", "chosen": "good", "rejected": "bad"}])
    loaded = load(DataSource(path, columns={"prompt": "q2"}))
    assert [parts(row) for row in loaded.rows] == [(Q, A, B)]


def test_a_mapped_csv_label_is_read_as_one(write: Write) -> None:
    path = write("a.csv", "prompt,completion,tag\nq,good,true\nq,bad,False\n")
    loaded = load(DataSource(path, columns={"label": "tag"}))
    assert [parts(row) for row in loaded.rows] == [(Q, A, True), (Q, B, False)]


def test_a_shape_can_be_forced(write: Write) -> None:
    path = write("a.jsonl", [{"instruction": "q", "output": "c", "chosen": "c", "rejected": "d"}])
    assert load(DataSource(path)).shape == "paired"
    forced = load(DataSource(path, shape="sft"))
    assert [parts(row) for row in forced.rows] == [((*Q, ("a", "c")),)]
    judged = write("b.jsonl", [{"instruction": "q", "output": "good", "tag": True}])
    assert [parts(row) for row in load(DataSource(judged, shape="sft")).rows] == [((*Q, *A),)]


def test_a_shape_forced_in_vain_says_so(write: Write) -> None:
    path = write("a.jsonl", [{"prompt": "q", "completion": "c"}])
    loaded = load(DataSource(path, shape="paired"))
    assert (loaded.shape, loaded.dropped) == ("paired", {"one side missing": 1})
    assert "paired was asked for, but no row has its columns" in loaded.decision.advice

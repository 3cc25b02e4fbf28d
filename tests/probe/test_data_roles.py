"""Turns as people write them, where the prompt ends, and what else a row may hold."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_tui.core.rows import Pair
from tests.probe.reading import HH, HH_PROMPT, A, B, Q, oai, parts, read, sharegpt


@pytest.mark.parametrize(
    "turns",
    [
        oai(("User", "q"), ("Assistant", "good")),
        sharegpt(("human", "q"), ("gpt", "good")),
        sharegpt(("prompter", "q"), ("model", "good")),
        [{"role": "prompter", "text": "q"}, {"role": "assistant", "text": "good"}],
        [{"human": "q", "assistant": "good"}],
        [{"user": "q", "assistant": "good"}],
        oai(("user", [{"type": "text", "text": "q"}]), ("assistant", "good")),
        oai(
            ("user", [{"type": "input_text", "text": "q"}]),
            ("assistant", [{"type": "output_text", "text": "good"}]),
        ),
    ],
)
def test_ways_to_write_a_question_and_its_answer(turns: list[Any]) -> None:
    assert read([{"messages": turns}]).parts == [((*Q, *A),)]


def test_exchanges_are_taken_in_order() -> None:
    record = {
        "conversation": [{"human": "hi", "assistant": "yo"}, {"human": "q", "assistant": "good"}]
    }
    assert read([record]).parts == [((*HH_PROMPT, *A),)]
    broken = {"conversation": [record["conversation"][0], {"human": "q", "assistant": None}]}
    assert read([record, broken]).dropped == {"not text": 1}


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, "tool call not"),
        ({"role": "assistant", "content": "Wait.", "tool_calls": [{"id": 1}]}, "tool call not"),
        ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, "tool call not"),
        ({"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}, "needs an i"),
        ({"role": "assistant", "content": [{"type": "input_audio"}]}, "needs an image"),
        ({"role": "assistant", "content": [{"type": "refusal"}]}, "not text"),
        ({"role": "assistant", "content": [{"type": 3}]}, "not text"),
    ],
)
def test_a_turn_that_is_more_than_text(turn: dict[str, Any], reason: str) -> None:
    good = {"messages": oai(("user", "q"), ("assistant", "good"))}
    found = read([good, {"messages": [*oai(("user", "q")), turn, *oai(("assistant", "good"))]}])
    assert [why for why in found.dropped if why.startswith(reason)]
    assert len(found.rows) == 1


def test_tools_that_were_not_called_are_no_loss() -> None:
    turns = [dict(turn, tool_calls=None) for turn in oai(("user", "q"), ("assistant", "good"))]
    assert read([{"messages": turns}]).parts == [((*Q, *A),)]


@pytest.mark.parametrize("column", ["image", "images", "video", "videos", "audio", "audios"])
def test_an_answer_to_an_image_is_not_trained_without_it(column: str) -> None:
    rows = [
        {"query": "q", "response": "good", column: ["a.png"]},
        {"query": "q", "response": "good", column: []},
        {"query": "q", "response": "good", column: None},
        {"query": "q", "response": "good"},
    ]
    found = read(rows)
    assert (found.shape, len(found.rows)) == ("sft", 3)
    assert found.dropped == {"needs an image, sound or video": 1}


def test_an_image_written_into_the_question() -> None:
    rows = [
        {"query": "<img>http://a/b.png</img>q", "response": "good"},
        {"query": "what is <img> in HTML?", "response": "good"},
    ]
    assert read(rows).dropped == {"needs an image, sound or video": 1}


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
def test_a_chat_that_teaches_nothing(record: Any, reason: str) -> None:
    good = {"messages": oai(("user", "q"), ("assistant", "good"))}
    assert read([good, good, record]).dropped == {reason: 1}


def test_a_system_prompt_and_a_history_stand_before_the_question() -> None:
    record = {"system_prompt": "be kind", "prompt": "q", "completion": "good"}
    record_with_turns = record | {"history": oai(("user", "hi"), ("assistant", "yo"))}
    assert read([record]).parts == [((("s", "be kind"), *Q, *A),)]
    assert read([record_with_turns]).parts == [((("s", "be kind"), *HH_PROMPT, *A),)]


# Pairs that part before their last turn: others speak between the answers of one side.
PART_EARLY = [
    {"chosen": HH + " good\n\nHuman: more\n\nAssistant: ok", "rejected": HH + " bad"},
    {"chosen": HH + " good", "rejected": HH + " bad\n\nHuman: why\n\nAssistant: so"},
    {
        "chosen": HH + " good\n\nHuman: more\n\nAssistant: ok",
        "rejected": HH + " bad\n\nHuman: why\n\nAssistant: so",
    },
    {
        "prompt": "q",
        "chosen": oai(("assistant", "f()"), ("tool", "1"), ("assistant", "good")),
        "rejected": "bad",
    },
]


@pytest.mark.parametrize("record", PART_EARLY)
def test_a_pair_that_parts_early_is_dropped_and_counted(record: dict[str, Any]) -> None:
    prompt = {"prompt": HH} if "prompt" in record else {}
    good = {"chosen": HH + " good", "rejected": HH + " bad"} | prompt
    found = read([good, good, record])
    assert found.dropped == {"sides part before their last turn": 1}
    assert found.parts == [(HH_PROMPT, A, B)] * 2


def test_a_question_nobody_answered_is_left_off() -> None:
    record = {"chosen": HH + " good\n\nHuman: thanks", "rejected": HH + " bad"}
    assert read([record]).parts == [(HH_PROMPT, A, B)]


def test_an_answer_in_two_turns_stays_whole() -> None:
    sides = {"chosen": oai(("assistant", "go"), ("assistant", "od")), "rejected": "bad"}
    assert read([{"prompt": "q", **sides}]).parts == [(Q, (("a", "go"), ("a", "od")), B)]


def test_of_several_judged_answers_the_last_is_the_one() -> None:
    turns = oai(("assistant", "yo"), ("user", "q"), ("assistant", "good"))
    record = {"prompt": "hi", "completion": turns, "label": True}
    unanswered = {"prompt": "hi", "completion": turns[:2], "label": True}
    found = read([record, unanswered])
    assert found.parts == [(HH_PROMPT, A, True)]
    assert found.dropped == {"no answer to train on": 1}


def test_transcripts_that_answer_different_questions() -> None:
    rows = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
        {"chosen": HH + " good", "rejected": HH + " bad"},
    ]
    assert read(rows).dropped == {"sides answer different prompts": 1}


PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}


@pytest.mark.parametrize(
    ("more", "scores"),
    [
        ({}, None),
        ({"score_chosen": 9, "score_rejected": 8.5}, (9.0, 8.5)),
        ({"chosen_score": 1, "rejected_score": 2}, (1.0, 2.0)),
        ({"rating_chosen": 1, "rating_rejected": 2}, (1.0, 2.0)),
        ({"chosen-rating": 4.5, "rejected-rating": 0}, (4.5, 0.0)),
        ({"metadata": {"score_chosen": 9.0, "score_rejected": 8.0}}, (9.0, 8.0)),
        ({"meta": {"chosen_rating": 2, "rejected_rating": 1}}, (2.0, 1.0)),
        ({"metadata": "x", "meta": None}, None),
        ({"score_chosen": 9}, None),
        ({"score_chosen": "9", "score_rejected": " 8.5"}, (9.0, 8.5)),  # as in CSV
        ({"score_chosen": "nine", "score_rejected": 8}, None),
        ({"score_chosen": "nan", "score_rejected": 8}, None),
        ({"score_chosen": True, "score_rejected": False}, None),
        ({"score_chosen": float("nan"), "score_rejected": 8}, None),
        ({"score_chosen": 10**400, "score_rejected": 8}, None),
    ],
)
def test_scores_of_a_pair(more: dict[str, Any], scores: tuple[float, float] | None) -> None:
    (row,) = read([PAIR | more]).rows
    assert isinstance(row, Pair)
    assert (parts(row), row.scores) == ((Q, A, B), scores)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "z", "chosen": oai(("user", "q"), ("assistant", "good")),
         "rejected": oai(("user", "q"), ("assistant", "bad"))},
        {"prompt": "z", "completion": oai(("user", "q"), ("assistant", "good"))},
        {"prompt": "z", "completion": oai(("user", "q"), ("assistant", "good")), "label": True},
    ],
    ids=["paired", "sft", "unpaired"],
)  # fmt: skip
def test_an_answer_to_another_question_is_not_put_behind_the_prompt(record: dict[str, Any]) -> None:
    assert read([record]).dropped == {"sides answer different prompts": 1}
    assert len(read([record | {"prompt": " q\n"}]).rows) == 1

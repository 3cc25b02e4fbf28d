"""What is not clear is not guessed: it is told, and offered."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_tui.core.facts import Offer
from backprop_tui.probe.data.layouts import other
from backprop_tui.probe.data.layouts.choose import decide
from tests.probe.reading import HH, A, B, Q, oai, read, sharegpt, taken

CHAT = sharegpt(("human", "q"), ("gpt", "good"))
ASKED: dict[str, Any] = {"prompt": "q"}

# rows, what is said of them, and what the first offer makes of them.
OFFERED: list[tuple[Any, str, list[tuple[Any, ...]]]] = [
    ([{"text": "good"}], "raw text for pre-training", [(A,)]),
    ([{"response": "good"}], "one column only, 'response'", [(A,)]),
    ([{"completion": "good"}], "one column only, 'completion'", [(A,)]),
    ([{"dialogue": CHAT}], "conversations in a column 'dialogue'", [((*Q, *A),)]),
    (
        [{"question": "q", "answer": "good"}],
        'prompt = "question", completion = "answer"',
        [((*Q, *A),)],
    ),
    ([{"instruction": "q", "answer": "good"}], '[data.columns] output = "answer"', [((*Q, *A),)]),
    (ASKED | {"chosen": "good"}, "'chosen' but no 'rejected'", [((*Q, *A),)]),
    # Columns inside a column
    (
        [{"instruction": "q", "instances": [{"input": "", "output": "good"}]}],
        'output = "instances.0.output"',
        [((*Q, *A),)],
    ),
    (
        [{"id": 1, "data": {"prompt": "q", "chosen": "good", "rejected": "bad"}}],
        'chosen = "data.chosen"',
        [(Q, A, B)],
    ),
    # Several answers
    (
        [{"instruction": "q", "output": ["good", "so so", "bad"], "history": []}],
        "If they stand best first",
        [(Q, A, B)],
    ),
    (
        ASKED | {"responses": ["bad", "good"], "scores": [1, 2]},
        "by 'scores', where more is better",
        [(Q, A, B)],
    ),
    (
        ASKED | {"completions": ["bad", "good"], "ranks": [2, 1]},
        "by 'ranks', where 1 is the best",
        [(Q, A, B)],
    ),
    (
        [{"instruction": "q", "completions": [{"response": "bad", "overall_score": 1.0},
                                              {"response": "good", "overall_score": 9.5}]}],
        "by 'overall_score', where more is better",
        [(Q, A, B)],
    ),
    (
        ASKED | {"answers": [{"answer": "good", "rank": 1.0}, {"answer": "bad", "rank": 7.0}]},
        "by 'rank', where 1 is the best",
        [(Q, A, B)],
    ),
    # Two answers
    (
        ASKED | {"worse_answer": "bad", "better_answer": "good"},
        'chosen = "better_answer", rejected = "worse_answer"',
        [(Q, A, B)],
    ),
    (
        ASKED | {"answer_1": "good", "answer_2": "bad"},
        "nothing says which one is better. If 'answer_1' is the better one in every row: ",
        [(Q, A, B)],
    ),
    (
        [ASKED | {"response_0": "good", "response_1": "bad", "better_response_id": 0},
         ASKED | {"response_0": "bad", "response_1": "good", "better_response_id": 1}],
        "'better_response_id' may say which one is better",
        [(Q, A, B)] * 2,
    ),
    (
        [{"conversation_a": oai(("user", "q"), ("assistant", "bad")),
          "conversation_b": oai(("user", "q"), ("assistant", "good")), "winner": winner}
         for winner in ("model_b", "model_b", "model_a", "tie")],
        "'winner' may say which one is better",
        [(Q, A, B), (Q, A, B), (Q, B, A)],
    ),
    (
        [{"problem": "q", "option_a": "bad", "option_b": "good", "preference": said}
         for said in ("B", "A")],
        'prompt = "problem"',
        [(Q, A, B), (Q, B, A)],
    ),
    # Pairs without a prompt, and a column that may be it
    (
        [{"task": f"add {i} to it", "chosen": "good", "rejected": "bad"} for i in range(2)],
        "a column 'task' that may be their prompt",
        [((("u", f"add {i} to it"),), A, B) for i in range(2)],
    ),
    # Columns that may judge
    (
        ASKED | {"completion": "good", "is_correct": 0},
        'label = "is_correct"',
        [(Q, A, False)],
    ),
    (
        [ASKED | {"completion": "good", "thumbs_down": value} for value in (True, False)],
        "'thumbs_down' that may say whether the answer is good (its values: true, false)",
        [(Q, A, True), (Q, A, False)],
    ),
    (
        [ASKED | {"completion": "good", "gpt_label": label} for label in ("ok", "ok", "no")],
        "(its values: ok, no)",
        [(Q, A, True), (Q, A, True), (Q, A, False)],
    ),
    (
        [ASKED | {"response": "good", "label": label} for label in ("ok", "ok", "no")],
        "If 'ok' in 'label' is good and the rest bad (kto): [data.labels] ok = true, no = false",
        [(Q, A, True), (Q, A, True), (Q, A, False)],
    ),
    (
        ASKED | {"completion": "good", "rejected": "bad"},
        "a column 'rejected' that looks like worse answers",
        [(Q, A, B)],
    ),
]  # fmt: skip


def as_list(records: Any) -> list[dict[str, Any]]:
    return records if isinstance(records, list) else [records]


@pytest.mark.parametrize(("records", "said", "expected"), OFFERED)
def test_what_is_not_clear_is_not_guessed_but_offered(
    records: Any, said: str, expected: list[tuple[Any, ...]]
) -> None:
    records = as_list(records)
    found = read(records)
    assert (found.shape, found.rows) == ("other", [])
    assert found.dropped == {"columns not recognised": len(records)}
    assert said in found.how.advice
    assert read(records, **taken(found.how.offers[0])).parts == expected


@pytest.mark.parametrize("records", [records for records, _, _ in OFFERED])
def test_every_offer_makes_rows(records: Any) -> None:
    """None names a column that is not there, and none is in vain."""
    for offer in read(as_list(records)).how.offers:
        found = read(as_list(records), **taken(offer))
        assert found.shape != "other"
        assert found.rows


UNCLEAR: list[tuple[Any, str]] = [
    (ASKED | {"rejected": "a"}, "'rejected' but no 'chosen'"),
    ({"x": 1, "y": 2}, "fit no known layout: x, y"),
    ({}, "fit no known layout: none"),
    ({"question": "q", "choices": ["a", "b"], "x": 2}, "fit no known layout"),
    # 0 and 1 name neither a nor b.
    (
        [ASKED | {"answer_a": "x", "answer_b": "y", "winner": i} for i in (0, 1)],
        "but not which of its values means which",
    ),
]


@pytest.mark.parametrize(("records", "said"), UNCLEAR)
def test_where_nothing_can_be_offered_words_say_why(records: Any, said: str) -> None:
    found = read(as_list(records))
    assert (found.shape, found.how.offers) == ("other", ())
    assert said in found.how.advice


def offer_texts(offers: tuple[Offer, ...]) -> list[str]:
    return [offer.text for offer in offers]


def test_two_answers_are_offered_either_way() -> None:
    found = read([ASKED | {"answer_1": "good", "answer_2": "bad"}])
    first, second = (read([ASKED | {"answer_1": "good", "answer_2": "bad"}], **taken(offer))
                     for offer in found.how.offers)  # fmt: skip
    assert (first.parts, second.parts) == ([(Q, A, B)], [(Q, B, A)])


def test_a_column_with_many_values_names_no_winner() -> None:
    rows = [ASKED | {"answer_1": "a", "answer_2": "b", "best_score": i / 10} for i in range(10)]
    assert "nothing says which one is better" in read(rows).how.advice


def test_what_names_the_better_answer_is_no_answer() -> None:
    rows = [{"response_winner": said, "response_a": "good", "response_b": "bad"} for said in "ab"]
    (taken_offer,) = read(rows).how.offers
    assert dict(taken_offer.changes)["data.columns"]["winner"] == "response_winner"
    labels = {"question": "q", "final_label": "ok", "other_label": "no"}
    assert "two answers" not in read([labels]).how.advice


def test_the_value_that_is_good_is_asked_for() -> None:
    rows = [ASKED | {"completion": "good", "final_label": label} for label in "aab"]
    assert offer_texts(read(rows).how.offers) == [
        "If 'a' in 'final_label' is good and the rest bad (kto)",
        "If 'b' in 'final_label' is good and the rest bad (kto)",
        "To imitate every answer (sft)",
    ]


def test_true_may_mean_bad() -> None:
    rows = [ASKED | {"completion": "x", "thumbs_down": value} for value in (True, False)]
    meant = [read(rows, **taken(offer)) for offer in read(rows).how.offers]
    labels = [[row[2] for row in found.parts if len(row) == 3] for found in meant]
    assert labels == [[True, False], [False, True], []]


def test_labels_that_are_no_labels_are_told_and_offered() -> None:
    rows = [ASKED | {"completion": "good", "label": label} for label in ("yes", "no", "yes")]
    found = read(rows)
    assert (found.shape, found.dropped) == ("unpaired", {"label unusable": 3})
    assert "None of its labels is true, false, 0 or 1 (there are: yes, no)" in found.how.advice
    meant = read(rows, **taken(found.how.offers[0]))
    assert [row[2] for row in meant.parts] == [True, False, True]
    some = read([*rows, ASKED | {"completion": "good", "label": True}])
    assert (some.how.advice, some.dropped) == ("", {"label unusable": 3})


def test_ratings_are_imitated_and_offered_as_feedback() -> None:
    rows = [ASKED | {"completion": "good", "rating": n} for n in (1, 3, 5, 5)]
    found = read(rows)
    assert (found.shape, len(found.rows), found.how.advice) == ("sft", 4, "")
    assert offer_texts(found.how.offers) == [
        "'rating' of 3 or more is good, less is bad (kto)",
        "'rating' of 5 or more is good, less is bad (kto)",
    ]
    cut = read(rows, **taken(found.how.offers[1]))
    assert [row[2] for row in cut.parts] == [False, False, True, True]
    assert (
        read([ASKED | {"completion": "good", "rating": n / 7} for n in range(9)]).how.offers == ()
    )


def test_pairs_may_have_no_prompt() -> None:
    rows = [{"task": f"add {i} to it", "chosen": "good", "rejected": "bad"} for i in range(2)]
    *_, last = read(rows).how.offers
    assert last.changes == (("data.shape", "paired"),)
    assert read(rows, **taken(last)).parts == [((), A, B)] * 2
    transcripts = [row | {"chosen": HH + "x", "rejected": HH + "y"} for row in rows]
    assert read(transcripts).layout == "chosen, rejected"
    ids = [{"source": "the same forum", "chosen": "good", "rejected": "bad"}] * 2
    assert read(ids).layout == "chosen, rejected"


def test_an_offer_keeps_what_was_mapped_before() -> None:
    rows = [{"q2": "q", "reply": "good", "tag2_label": label} for label in ("y", "n")]
    found = read(rows, columns={"prompt": "q2", "completion": "reply"})
    first = found.how.offers[0]
    assert dict(first.changes)["data.columns"] == {
        "prompt": "q2",
        "completion": "reply",
        "label": "tag2_label",
    }
    assert [row[2] for row in read(rows, **taken(first)).parts] == [True, False]


def test_names_that_cannot_stand_in_a_run_file_are_not_offered() -> None:
    found = read([{"\ud800dialogue": CHAT}])
    assert (found.shape, found.how.offers) == ("other", ())
    found.how.advice.encode()


def test_a_file_without_objects() -> None:
    found = read(["a", "b", 3])
    assert (found.shape, found.dropped) == ("other", {"not a JSON object": 3})
    assert "no JSON object" in found.how.advice


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("verdict", ("good", "bad")),
        ("sentiment", ("Positive", "Negative")),
        ("vote_of_user", ("thumbs up", "thumbs-down")),
        ("helpful", (True, False)),
        ("score", (True, False)),
        ("reward", (0, 1)),
    ],
)
def test_answers_that_something_judges_are_not_imitated_unasked(
    column: str, values: tuple[Any, Any]
) -> None:
    found = read([{"prompt": "q", "completion": "good", column: value} for value in values])
    assert found.shape == "other"
    assert repr(column) in found.how.advice
    assert found.how.offers[-1].changes == (("data.shape", "sft"),)


@pytest.mark.parametrize("values", [("science", "art"), ("good", "good"), ("a long remark", "b")])
def test_other_texts_beside_an_answer_judge_nothing(values: tuple[str, str]) -> None:
    found = read([{"prompt": "q", "completion": "good", "topic": value} for value in values])
    assert found.shape == "sft"


@pytest.mark.parametrize("labels", [["science"] * 9, [f"topic {i}" for i in range(9)]])
def test_labels_that_are_topics_can_be_passed_over(labels: list[str]) -> None:
    records = [{"messages": CHAT, "label": label} for label in labels]
    found = read(records)
    assert found.dropped == {"label unusable": 9}
    assert found.how.offers[-1].changes == (("data.shape", "sft"),)
    assert read(records, **taken(found.how.offers[-1])).parts == [((*Q, *A),)] * 9


def test_columns_of_objects_are_looked_into_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def counted(records: Any, *more: Any) -> Any:
        looked_at.append(len(records))
        return decide(records, *more)

    monkeypatch.setattr(other, "decide", counted)
    assert read([{f"c{i}": {"a": 1} for i in range(50)}] * 1000).shape == "other"
    assert len(looked_at) == 50
    assert max(looked_at) <= other.FEW

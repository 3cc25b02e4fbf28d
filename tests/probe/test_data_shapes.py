"""What the user says of the columns: other names, paths into them, meanings of labels, a shape."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Chat, Labelled, Pair, prompt_of, text_of
from backprop_tui.probe.data.layouts.decision import Asked, Decision, decision
from backprop_tui.probe.data.layouts.shapes import COLUMNS, LAYOUTS, SIDES
from backprop_tui.probe.data.layouts.turns import Unusable
from tests.probe.reading import A, B, Q, oai, read

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}


def test_a_mapping_makes_it_usable() -> None:
    found = read(
        [{"ask": "q", "yes": "good", "no": "bad"}],
        columns={"prompt": "ask", "chosen": "yes", "rejected": "no"},
    )
    assert found.parts == [(Q, A, B)]


def test_a_mapping_wins_over_a_column_of_the_same_name() -> None:
    record = {"prompt": "old", "q2": "q", "chosen": "good", "rejected": "bad"}
    assert read([record], columns={"prompt": "q2"}).parts == [(Q, A, B)]


def test_a_mapped_column_is_not_read_under_its_own_name_too() -> None:
    record = {"prompt": "q", "completion": "good", "label": "x", "system": "not this"}
    assert read([record], columns={"text": "system"}, shape="sft").parts == [((*Q, *A),)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"completion": "data.best.0"}, [((*Q, *A),)]),
        ({"chosen": "data.best.0", "rejected": "data.worst.text"}, [(Q, A, B)]),
        ({"completion": "data.best"}, []),  # a list of two
        ({"prompt": "a.b", "completion": "data.best.0"}, [((("u", "dotted"), *A),)]),
    ],
)
def test_a_path_into_a_column(columns: dict[str, str], expected: list[Any]) -> None:
    record = {
        "prompt": "q",
        "data": {"best": ["good", 1], "worst": {"text": "bad"}},
        "a.b": "dotted",  # a column of that very name comes first
        "a": {"b": "inner"},
    }
    assert read([record], columns=columns).parts == expected


def test_a_path_that_ends_early_leaves_the_column_out() -> None:
    rows: list[Any] = [{"prompt": "q", "data": {"best": [answer]}} for answer in ("good", "good")]
    early: list[Any] = [{"best": []}, {}, [], None, "best", 3]
    rows += [{"prompt": "q", "data": value} for value in early]
    found = read(rows, columns={"completion": "data.best.0"})
    assert found.parts == [((*Q, *A),)] * 2
    assert found.dropped == {"no answer to train on": 6}


@pytest.mark.parametrize("wrong", ["data.worst", "data.best.1", "data.best.x", "nothing", "."])
def test_a_path_that_leads_nowhere_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"the data has no column") as error:
        read([{"prompt": "q", "data": {"best": ["good"]}}], columns={"completion": wrong})
    assert error.value.code == "DATA_COLUMN"


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        (["ok", "no", "?"], {"ok": True, "no": False}, [True, False]),
        ([" ok ", "OK", "no"], {"ok": True, "no": False}, [True, True, False]),
        ([5, 1, 3], {"5": True, "1": False}, [True, False]),
        ([5.0, 0.5, 2.5], {"5": True, "0.5": False}, [True, False]),
        ([5.0], {"5.0": True}, [True]),
        ([True, False], {"true": False, "false": True}, [False, True]),
        ([True, 1], {"1": True}, [True]),
        ([["ok"], {"a": 1}], {"ok": True}, []),
    ],
)
def test_labels_mean_what_they_are_said_to(
    values: list[Any], labels: dict[str, bool], expected: list[bool]
) -> None:
    rows = [{"prompt": "q", "completion": "x", "mark": value} for value in values]
    found = read(rows, columns={"label": "mark"}, labels=labels)
    assert found.shape == "unpaired"
    assert [row[2] for row in found.parts] == expected
    lost = len(values) - len(expected)
    assert found.dropped == ({"label not named in data.labels": lost} if lost else {})


def test_labels_that_most_rows_do_not_have_still_decide() -> None:
    rows = [{"instruction": "q", "output": "x", "mark": f"{i}"} for i in range(9)]
    found = read(rows, columns={"label": "mark"}, labels={"3": True})
    assert (found.shape, len(found.rows)) == ("unpaired", 1)
    assert found.dropped == {"label not named in data.labels": 8}


def test_a_missing_label_is_no_label() -> None:
    rows = [{"prompt": "q", "completion": "x", "label": value} for value in ("ok", None)]
    assert read(rows, labels={"ok": True}).dropped == {"label unusable": 1}


def test_text_cells_are_read_as_labels() -> None:
    rows = [{"prompt": "q", "completion": "x", "tag": text} for text in ("true", "False")]
    mapped = read(rows, columns={"label": "tag"}, text_cells=True)
    assert [row[2] for row in mapped.parts] == [True, False]
    known = read(rows, text_cells=True)
    assert known.layout == "prompt, completion, tag (label)"
    assert [row[2] for row in known.parts] == [True, False]
    assert read(rows).shape == "other"  # outside CSV a text is no verdict
    digits = [row | {"tag": digit} for row, digit in zip(rows, "10", strict=True)]
    assert read(digits, text_cells=True).shape == "other"  # nor is a number


def test_a_verdict_must_be_one_in_every_row() -> None:
    rows = [{"prompt": "q", "completion": "x", "tag": value} for value in (True, False, None)]
    assert read(rows).shape == "other"
    assert read(rows[:2]).shape == "unpaired"


def test_a_shape_can_be_forced() -> None:
    both = {"instruction": "q", "output": "good", "chosen": "c", "rejected": "d"}
    assert read([both]).shape == "paired"
    assert read([both], shape="sft").parts == [((*Q, *A),)]
    judged = {"instruction": "q", "output": "good", "tag": True}
    assert read([judged]).shape == "unpaired"
    assert read([judged], shape="sft").parts == [((*Q, *A),)]
    labelled = {"prompt": "q", "completion": "good", "label": True}
    assert read([labelled], shape="sft").parts == [((*Q, *A),)]


def test_a_shape_forced_in_vain_says_so() -> None:
    found = read([{"prompt": "q", "completion": "c"}], shape="paired")
    assert (found.shape, found.dropped) == ("paired", {"one side missing": 1})
    assert "paired was asked for, but no row has its columns" in found.how.advice


# What becomes of rows of several answers that make no pair.
@pytest.mark.parametrize(
    ("record", "columns", "reason"),
    [
        ({"l": ["x", "x"]}, {"answers": "l"}, "identical sides"),
        ({"l": ["x"]}, {"answers": "l"}, "one side missing"),
        ({"l": []}, {"answers": "l"}, "one side missing"),
        ({"l": None}, {"answers": "l"}, "one side missing"),
        ({"l": "x"}, {"answers": "l"}, "not text"),
        ({"l": ["x", 3]}, {"answers": "l"}, "not text"),
        ({"l": [{"model": "m"}, "y"]}, {"answers": "l"}, "one side missing"),
        (
            {"l": ["x", "y"], "s": [2, 2]},
            {"answers": "l", "scores": "s"},
            "no answer scored better",
        ),
        ({"l": ["x", "y"], "s": [2]}, {"answers": "l", "scores": "s"}, "scores unusable"),
        ({"l": ["x", "y"], "s": [2, None]}, {"answers": "l", "scores": "s"}, "scores unusable"),
        ({"l": ["x", "y"], "s": "2, 1"}, {"answers": "l", "ranks": "s"}, "scores unusable"),
        ({"l": ["x", "y"], "s": None}, {"answers": "l", "ranks": "s"}, "scores unusable"),
    ],
)
def test_several_answers_that_make_no_pair(
    record: dict[str, Any], columns: dict[str, str], reason: str
) -> None:
    good = {"prompt": "q", "l": ["good", "bad"], "s": [1, 2] if "ranks" in columns else [2, 1]}
    found = read([good, good, {"prompt": "q"} | record], columns=columns)
    assert found.parts == [(Q, A, B)] * 2
    assert found.dropped == {reason: 1}


def test_scored_answers_that_make_no_pair() -> None:
    def scored(*scores: Any) -> dict[str, Any]:
        said = ("good", "so so", "bad")
        return {
            "prompt": "q",
            "l": [{"text": t, "score": s} for t, s in zip(said, scores, strict=True)],
        }

    rows = [scored(3, 2, 1), scored(3, 3, 1), scored(3, 1, 1), scored(2, 2, 2), scored(3, "N/A", 1)]
    found = read(rows, columns={"answers": "l"})
    assert [row.scores for row in found.rows if isinstance(row, Pair)] == [(3, 1)] * 3
    assert [row[1] for row in found.parts] == [A] * 3
    assert [row[2] for row in found.parts] == [B, B, B]
    assert found.dropped == {"no answer scored better": 1, "scores unusable": 1}


def test_answers_without_a_prompt_make_no_pair() -> None:
    texts = read([{"l": ["x", "y"]}], columns={"answers": "l"})
    assert texts.dropped == {"one side missing": 1}
    whole = [oai(("user", "q"), ("assistant", said)) for said in ("good", "bad")]
    assert read([{"l": whole}], columns={"answers": "l"}).parts == [(Q, A, B)]


@pytest.mark.parametrize(
    ("winner", "labels", "dropped"),
    [
        (True, None, {}),
        ("a", {"a": True, "b": False}, {}),
        ("tie", {"a": True, "b": False}, {"label not named in data.labels": 1}),
        (1, None, {"label unusable": 1}),  # of 0 and 1, or of 1 and 2
        (None, None, {"one side missing": 1}),
    ],
)
def test_a_winner_is_only_what_is_said_to_be_one(
    winner: Any, labels: dict[str, bool] | None, dropped: dict[str, int]
) -> None:
    columns = {"first": "x", "second": "y", "winner": "w"}
    sure = {"prompt": "q", "x": "good", "y": "bad", "w": "a" if labels else True}
    found = read([sure, sure | {"w": winner}], columns=columns, labels=labels)
    assert found.parts == [(Q, A, B)] * (2 - len(dropped))
    assert found.dropped == dropped


KEYS = ["role", "content", "from", "value", "type", "text", "score", "rank", "human", "assistant",
        "messages", "score_chosen", "score_rejected", "tool_calls"]  # fmt: skip
STRINGS = ["user", "assistant", "\n\nHuman: a\n\nAssistant: b", "<|im_start|>user\n", "q", "\ud800"]
cells = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(STRINGS)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
NAMES = sorted({*COLUMNS, *(name for names in SIDES for name in names.values()), "tag", "context",
                "preferred_output", "non_preferred_output", "metadata", "images", "score_chosen",
                "score_rejected", "conversation", "system_prompt"})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    record=st.dictionaries(st.sampled_from(NAMES), cells, max_size=8),
    needed=st.lists(cells, min_size=3, max_size=3),
    labels=st.none() | st.just({"true": True, "q": False}),
    text_cells=st.booleans(),
)
@example(LAYOUTS[0], {}, [[1, 2], [10**400, 1], "q"], None, False)
def test_any_value_in_any_cell_is_a_row_or_a_reason(
    layout: Any, record: dict[str, Any], needed: list[Any], labels: Any, text_cells: bool
) -> None:
    record = dict(zip(layout.needs, needed, strict=False)) | record
    asked = Asked(columns={name: name for name in layout.mapped} or None, labels=labels)
    how = Decision(layout=layout, asked=asked, text_cells=text_cells)
    check(how, record)
    check(
        decision("data", [record], tuple(record), Asked(labels=labels), text_cells=text_cells),
        record,
    )


def check(how: Decision, record: dict[str, Any]) -> None:
    with suppress(Unusable):
        row = how.row(1, record)
        assert {Pair: "paired", Labelled: "unpaired", Chat: "sft"}[type(row)] == how.shape
        text_of(prompt_of(row)).encode()
    how.advice.encode()

"""Which method the data calls for: each branch, and the figures its reasons rest on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.facts import DataFacts, Facts, GpuFacts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.recommend import (
    LENGTH_P_VALUE,
    LENGTH_SHARE,
    TIGHT_HEADROOM,
    Recommendation,
    recommend,
)
from tests.core.worlds import (
    CHATS,
    LLAMA_8B,
    MARKS,
    NO_CARD,
    ONE_CARD,
    PAIRS,
    UNKNOWN,
    bias,
)


def advise(data: DataFacts | None, headroom: float | None = None) -> Recommendation:
    return recommend(Facts(data=data), headroom)


def said(recommendation: Recommendation) -> str:
    return " ".join(reason.text for reason in recommendation.reasons)


def test_no_preference_signal_is_sft() -> None:
    found = advise(CHATS)
    assert (found.method, found.runner_up) == ("sft", None)
    assert "640 rows of messages" in said(found)


def test_single_judged_answers_are_kto() -> None:
    found = advise(MARKS)
    assert found.method == "kto"
    assert "340 good, 300 bad" in said(found)
    assert found.reasons[0].source == METHODS["kto"].source


def test_pairs_are_orpo_with_simpo_as_the_runner_up() -> None:
    found = advise(replace(PAIRS, length_bias=bias(310, 320)))
    assert (found.method, found.runner_up) == ("orpo", "simpo")
    assert "640 pairs" in said(found)
    assert "longer in 310 and shorter in 320 of 630 unequal pairs (sign test p 0.500)" in said(
        found
    )
    assert "memory is tight" in found.runner_up_when


def test_pairs_whose_lengths_are_unknown_are_orpo() -> None:
    found = advise(PAIRS)
    assert found.method == "orpo"
    assert "unequal" not in said(found)


@pytest.mark.parametrize(
    ("longer", "shorter", "p_value", "method"),
    [
        (600, 400, 0.0099, "simpo"),  # both exactly far enough
        (400, 600, 0.0099, "simpo"),
        (599, 401, 1e-9, "orpo"),  # significant, and too near one half to matter
        (600, 400, 0.01, "orpo"),  # far from one half, and perhaps by chance
        (1000, 0, 1e-300, "simpo"),
        (0, 0, 1.0, "orpo"),
    ],
)
def test_lengths_that_separate_the_sides_are_simpo(
    longer: int, shorter: int, p_value: float, method: str
) -> None:
    assert (LENGTH_SHARE, LENGTH_P_VALUE) == (0.6, 0.01)
    assert advise(replace(PAIRS, length_bias=bias(longer, shorter, p_value=p_value))).method == (
        method
    )


def test_the_length_reason_has_the_side_the_counts_and_the_p_value() -> None:
    found = advise(replace(PAIRS, length_bias=bias(90, 480, p_value=1e-12)))
    assert (
        "Chosen answers are shorter in 480 of 570 unequal pairs (84 %, sign test p under 0.001)"
        in said(found)
    )
    assert found.runner_up == "orpo"
    assert "never saw supervised fine-tuning" in found.runner_up_when
    longer = advise(replace(PAIRS, length_bias=bias(480, 90, p_value=0.002)))
    assert "Chosen answers are longer in 480 of 570" in said(longer)
    assert "p 0.002" in said(longer)


@pytest.mark.parametrize(
    ("headroom", "method"), [(None, "orpo"), (TIGHT_HEADROOM, "orpo"), (0.149, "simpo")]
)
def test_tight_memory_is_simpo(headroom: float | None, method: str) -> None:
    assert advise(PAIRS, headroom).method == method


def test_the_memory_reason_has_the_share_that_is_left() -> None:
    assert "leaves 9 % of the card" in said(advise(PAIRS, 0.09))


def test_a_plan_that_does_not_fit_is_not_said_to_leave_less_than_nothing() -> None:
    found = advise(PAIRS, -0.2)
    assert found.method == "simpo"
    assert "-20" not in said(found)
    assert "needs 20 % of the card more than is free" in said(found)


def test_both_reasons_are_given() -> None:
    found = advise(replace(PAIRS, length_bias=bias(90, 480, p_value=1e-12)), 0.05)
    assert [("pairs" in r.text, "Memory" in r.text) for r in found.reasons] == [
        (True, False),
        (False, True),
    ]


def test_orpo_claims_nothing_about_the_model() -> None:
    text = said(advise(PAIRS))
    assert "640 pairs: ORPO carries the imitation term itself" in text
    assert "needs no SFT stage before it" in text
    assert "no stage of imitation before" not in text


SEPARATED = replace(PAIRS, length_bias=bias(90, 480, p_value=1e-12))
BASE = replace(LLAMA_8B, name="meta-llama/Llama-3.1-8B", chat_template=False)


def test_a_base_model_is_orpo_with_its_name_in_the_reason() -> None:
    found = recommend(Facts(data=PAIRS, model=BASE))
    assert (found.method, found.runner_up) == ("orpo", "simpo")
    assert "meta-llama/Llama-3.1-8B has no chat template" in found.reasons[0].text
    assert "before simpo, supervised fine-tuning (sft) should come first" in found.reasons[0].text
    assert "instruction-tuned" not in found.runner_up_when


@pytest.mark.parametrize(
    ("data", "headroom", "told"),
    [(SEPARATED, None, "480 of 570"), (PAIRS, 0.05, "leaves 5 %")],
)
def test_a_base_model_is_orpo_whatever_speaks_for_simpo(
    data: DataFacts, headroom: float | None, told: str
) -> None:
    found = recommend(Facts(data=data, model=BASE), headroom)
    assert (found.method, found.runner_up) == ("orpo", "simpo")
    assert "Llama-3.1-8B" in said(found)
    assert told not in said(found)  # it is no reason for orpo
    assert told in found.runner_up_when
    assert recommend(Facts(data=data, model=LLAMA_8B), headroom).method == "simpo"


@pytest.mark.parametrize(
    ("gpu", "place"), [(NO_CARD, "memory"), (ONE_CARD, "card"), (None, "card")]
)
def test_tight_memory_is_the_card_s_only_where_there_is_one(
    gpu: GpuFacts | None, place: str
) -> None:
    assert f"leaves 9 % of the {place}" in said(recommend(Facts(data=PAIRS, gpu=gpu), 0.09))


@pytest.mark.parametrize(
    ("labels", "present", "runner_up"),
    [({True: 640}, "good", "sft"), ({True: 0, False: 640}, "bad", None), ({}, "bad", None)],
)
def test_one_label_only_trains_nothing(
    labels: dict[bool, int], present: str, runner_up: str | None
) -> None:
    found = advise(replace(MARKS, labels=labels))
    assert (found.method, found.runner_up) == (None, runner_up)
    assert f"All 640 answers are marked {present}" in said(found)


def test_no_data_yet() -> None:
    assert advise(None) == recommend(Facts())
    assert advise(None).method is None
    assert said(advise(None)) == "No data has been chosen yet."


@pytest.mark.parametrize("data", [CHATS, PAIRS, MARKS])
def test_nothing_to_train_says_why(data: DataFacts) -> None:
    empty = replace(
        data, rows=12, kept=0, dropped={"one side missing": 7, "empty text": 5}, labels=None
    )
    found = advise(empty)
    assert found.method is None
    assert said(found) == ("None of 12 rows can be trained: 7 one side missing, 5 empty text.")


@pytest.mark.parametrize("kept", [640, 0])
def test_columns_nobody_knows(kept: int) -> None:
    found = advise(replace(UNKNOWN, kept=kept))
    assert (found.method, said(found)) == (None, "Columns a, b: no text to train on.")


@pytest.mark.parametrize("data", [CHATS, PAIRS, MARKS])
def test_few_rows_are_said(data: DataFacts) -> None:
    few, enough = advise(replace(data, kept=99)), advise(replace(data, kept=100))
    assert few.method == enough.method is not None
    assert "Only 99 rows" in said(few)
    assert "Only" not in said(enough)
    assert "Only 1 row:" in said(advise(replace(data, kept=1)))

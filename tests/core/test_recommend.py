"""Which method the data calls for: each branch, and the figures its reasons rest on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_tui.core.facts import DataFacts, Facts, GpuFacts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.quality import Finding, Level, Quality
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
    assert (found.method, found.runner_up) == ("sft", "orpo")
    assert "640 rows of messages" in said(found)
    assert "a worse answer, in a column rejected (or kto, if" in found.runner_up_when
    assert found.confidence == "clear: no other method learns from answers alone"


def test_single_judged_answers_are_kto() -> None:
    found = advise(MARKS)
    assert found.method == "kto"
    assert "340 good, 300 bad" in said(found)
    assert found.reasons[0].source == METHODS["kto"].source
    assert "Good to bad is 1.13 to 1, inside the 1 to 1.33" in said(found)
    assert found.confidence == "clear: no other method reads single marks"
    assert (found.runner_up, "good answers alone" in found.runner_up_when) == ("sft", True)


def test_marks_out_of_balance_are_said_with_what_is_done_about_it() -> None:
    found = advise(replace(MARKS, labels={True: 540, False: 100}))
    assert "5.40 to 1, outside" in said(found)
    assert "one weight will be raised" in said(found)


@pytest.mark.parametrize(("repeated", "runner_up"), [(287, "sft"), (288, "orpo")])
def test_marks_that_were_pairs_once_could_be_pairs_again(repeated: int, runner_up: str) -> None:
    found = advise(replace(MARKS, duplicate_prompts=repeated))
    assert (found.method, found.runner_up) == ("kto", runner_up)
    assert ("a close call between kto and orpo" in found.confidence) == (runner_up == "orpo")
    assert ("45 % of them repeat" in found.runner_up_when) == (runner_up == "orpo")


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


# How sure it is


def measured(*found: Finding, noise: float | None = None) -> DataFacts:
    """Pairs with nothing odd about their lengths, and a quality report."""
    quality = Quality(rows=640, findings=found, noise=noise)
    return replace(PAIRS, length_bias=bias(310, 320), quality=quality)


def one(code: str, n: int, of: int = 640, level: Level = "warning") -> Finding:
    return Finding(code=code, level=level, count=n, of=of, text=f"{n} of {of}: {code}.")


@pytest.mark.parametrize(
    ("data", "headroom", "words"),
    [
        (PAIRS, None, "a close call between orpo and simpo: the lengths say nothing"),
        (replace(PAIRS, length_bias=bias(310, 320)), None, "likely: nothing measured speaks for"),
        (replace(PAIRS, length_bias=bias(549, 451, p_value=0.002)), None, "likely: nothing"),
        (
            replace(PAIRS, length_bias=bias(550, 450, p_value=0.002)),
            None,
            "a close call between orpo and simpo: length leans to one side (55 %; 60 % would",
        ),
        (replace(PAIRS, length_bias=bias(550, 450, p_value=0.01)), None, "likely: nothing"),
        (replace(PAIRS, length_bias=bias(749, 251, p_value=0.0)), None, "likely: length speaks"),
        (replace(PAIRS, length_bias=bias(750, 250, p_value=0.0)), None, "clear: length alone"),
        (replace(PAIRS, length_bias=bias(310, 320)), 0.1, "likely: memory speaks for simpo"),
        (replace(PAIRS, length_bias=bias(600, 400, p_value=0.0)), 0.1, "clear: length and memory"),
    ],
)
def test_confidence_is_said_in_words(data: DataFacts, headroom: float | None, words: str) -> None:
    assert advise(data, headroom).confidence.startswith(words)


def test_few_rows_make_any_choice_less_sure() -> None:
    found = advise(replace(MARKS, kept=99))
    assert found.confidence.endswith("; but 99 rows can settle little")


def test_nothing_to_recommend_has_no_confidence() -> None:
    found = advise(replace(PAIRS, kept=0))
    assert (found.method, found.confidence) == (None, "")


# Noise


@pytest.mark.parametrize(
    ("share", "runner_up"), [(0.0999, "simpo"), (0.10, "kto")], ids=["below", "at"]
)
def test_noisy_scores_bring_kto_near(share: float, runner_up: str) -> None:
    found = advise(measured(one("data-label-noise", round(share * 600), 600), noise=share))
    assert (found.method, found.runner_up) == ("orpo", runner_up)
    assert "of 600: data-label-noise." in said(found)
    assert ("kto on the same rows may do better" in said(found)) == (runner_up == "kto")
    assert found.confidence.startswith("a close call between orpo and kto") == (runner_up == "kto")
    assert "paired" in METHODS["kto"].shapes  # so it is there to be chosen


@pytest.mark.parametrize("code", ["data-contradictions", "data-cycles"])
def test_rankings_at_odds_bring_kto_near(code: str) -> None:
    found = advise(measured(one(code, 30)))
    assert found.runner_up == "kto"
    assert f"30 of 640: {code}." in said(found)
    assert any(METHODS["kto"].source == reason.source for reason in found.reasons)
    assert advise(measured(one(code, 3, level="note"))).runner_up == "simpo"


def test_scores_that_agree_are_evidence_too() -> None:
    found = advise(measured(one("data-label-noise", 0, level="note"), noise=0.0))
    assert "0 of 640: data-label-noise." in said(found)
    assert found.runner_up == "simpo"


def test_noise_beside_simpo_names_simpo() -> None:
    data = replace(measured(one("data-label-noise", 200), noise=0.3), length_bias=bias(90, 480,
                   p_value=1e-12))  # fmt: skip
    found = advise(data)
    assert (found.method, found.runner_up) == ("simpo", "kto")
    assert "between simpo and kto" in found.confidence


def test_copies_are_a_reason_from_one_row_in_twenty() -> None:
    many = advise(measured(one("data-duplicates", 20), one("data-near-duplicates", 12)))
    assert "20 of 640: data-duplicates. 12 of 640: data-near-duplicates. There is less" in said(
        many
    )
    assert "There is less" not in said(advise(measured(one("data-duplicates", 31))))


# Not yet


@pytest.mark.parametrize("data", [CHATS, PAIRS, MARKS])
def test_under_ten_rows_training_should_wait(data: DataFacts) -> None:
    found = advise(replace(data, kept=9, rows=9))
    assert found.method is not None  # the user may go on knowingly
    assert found.wait.startswith("Do not train yet, because 9 rows can be learned by heart")
    assert advise(replace(data, kept=10, rows=10)).wait == ""


def test_a_few_rows_over_and_over_should_wait() -> None:
    found = advise(replace(PAIRS, kept=500, rows=500, duplicate_rows=491))
    assert "because 9 different rows among 500 can be learned by heart" in found.wait
    assert advise(replace(PAIRS, kept=500, rows=500, duplicate_rows=490)).wait == ""


def test_a_set_of_which_nothing_is_left_should_wait() -> None:
    lost = replace(PAIRS, kept=0, rows=50, dropped={"identical sides": 50})
    assert advise(lost).wait.startswith("Do not train yet, because 50 of 50 rows cannot be trained")


def test_when_most_rows_are_lost_training_should_wait() -> None:
    lost = {"empty text": 300, "one side missing": 341}
    found = advise(replace(PAIRS, rows=1281, kept=640, dropped=lost))
    assert found.wait == (
        "Do not train yet, because 641 of 1,281 rows cannot be trained (most often: "
        "one side missing, 341): the columns may be read wrongly."
    )
    half = replace(PAIRS, rows=1280, kept=640, dropped={"empty text": 640})
    assert advise(half).wait == ""


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (239, ""),
        (240, "in 40 % of 600 scored pairs, which is close to a coin toss."),
        (360, "in 60 % of 600 scored pairs, which is close to a coin toss."),
        (361, "in 60 % of 600 scored pairs: chosen and rejected are most likely swapped."),
    ],
)
def test_choices_no_better_than_a_coin_should_wait(n: int, words: str) -> None:
    found = advise(measured(one("data-label-noise", n, 600), noise=n / 600))
    assert found.wait.endswith(words)
    assert bool(found.wait) == bool(words)


def test_rows_that_contradict_each_other_should_wait() -> None:
    assert "40 % of the rows contradict" in advise(measured(one("data-contradictions", 256))).wait
    assert advise(measured(one("data-contradictions", 255))).wait == ""

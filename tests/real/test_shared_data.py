"""Files written by nobody on the team: each gets its shape, and every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.rows import Chat, Labelled, Pair
from backprop_tui.probe.data import DataSource, load, probe_data

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is absent")

ALPACA = "instruction, input, output (Alpaca)"
SHAREGPT = "conversations (ShareGPT)"
MESSAGES = "messages (OpenAI)"

QUERY = "query (prompt), response (completion)"
MEDIA = {"needs an image, sound or video": 3}
UNKNOWN = "columns not recognised"

# file: shape, layout, kept, dropped by reason. The shapes are those its README names, or
# "other" with an offer, see OFFERED.
EXPECTED: dict[str, tuple[str, str, int, dict[str, int]]] = {
    "anthropic_evals_corrigible_more_hhh.jsonl": ("other", "", 0, {UNKNOWN: 1000}),
    "anthropic_evals_interest_in_science.jsonl": ("other", "", 0, {UNKNOWN: 1000}),
    "axolotl_conversation.json": ("sft", SHAREGPT, 1, {}),
    # Its first answer is empty: a broken conversation.
    "axolotl_conversation_missingturns.json": ("sft", SHAREGPT, 0, {"empty text": 1}),
    "fastchat_dummy_sharegpt.json": ("sft", SHAREGPT, 500, {}),
    "gpteacher_codegen.json": ("sft", ALPACA, 4535, {}),
    "gpteacher_roleplay.json": ("sft", ALPACA, 1923, {}),
    "lf_c4_demo.jsonl": ("other", "", 0, {UNKNOWN: 300}),
    "lf_dpo_en_demo.json": ("paired", "conversations, chosen, rejected", 300, {}),
    "lf_dpo_zh_demo.json": ("paired", "conversations, chosen, rejected", 300, {}),
    "lf_glaive_toolcall_en_demo.json": ("sft", SHAREGPT, 300, {}),
    "lf_kto_en_demo.json": ("unpaired", "messages, label", 300, {}),
    "lf_kto_mix_test.json": ("unpaired", "instruction, input, output, tag (label)", 1092, {}),
    "lf_oaast_rm_zh.json": ("other", "", 0, {UNKNOWN: 775}),
    "lf_v1_dpo_demo.jsonl": ("paired", "chosen_messages, rejected_messages", 10, {}),
    "lf_v1_sft_demo.jsonl": ("sft", MESSAGES, 500, {}),
    "ms_swift_fixtures/alpaca.csv": ("sft", ALPACA, 3, {}),
    "ms_swift_fixtures/alpaca.jsonl": ("sft", ALPACA, 3, {}),
    "ms_swift_fixtures/alpaca2.csv": ("sft", ALPACA, 3, {}),
    "ms_swift_fixtures/chatml.jsonl": ("sft", MESSAGES, 3, {}),
    "ms_swift_fixtures/conversations.jsonl": ("sft", SHAREGPT, 3, {}),
    # Two of its rows have an image written into the question.
    "ms_swift_fixtures/multi_modal_1.jsonl": ("sft", QUERY, 1, dict.fromkeys(MEDIA, 2)),
    "ms_swift_fixtures/multi_modal_2.jsonl": ("sft", QUERY, 0, MEDIA),
    "ms_swift_fixtures/multi_modal_3.jsonl": ("sft", QUERY, 0, MEDIA),
    "ms_swift_fixtures/sharegpt.jsonl": ("sft", "conversation", 3, {}),
    "ms_swift_fixtures/swift_multi.json": ("sft", QUERY, 3, {}),
    "ms_swift_fixtures/swift_multi.jsonl": ("sft", QUERY, 3, {}),
    "ms_swift_fixtures/swift_pre.csv": ("other", "", 0, {UNKNOWN: 3}),
    "ms_swift_fixtures/swift_pre.jsonl": ("other", "", 0, {UNKNOWN: 3}),
    "ms_swift_fixtures/swift_single.csv": ("sft", QUERY, 3, {}),
    "ms_swift_fixtures/swift_single.jsonl": ("sft", QUERY, 3, {}),
    "rasbt_instruction_data.json": ("sft", ALPACA, 1100, {}),
    "rasbt_instruction_with_preference.json": (
        "paired",
        "instruction, input, chosen, rejected",
        1094,
        {"identical sides": 6},
    ),
    "selfinstruct_seed_tasks.jsonl": ("other", "", 0, {UNKNOWN: 175}),
    # j is the better one, as the name of the layout says.
    "torchtune_stackexchange_paired_tiny.json": (
        "paired",
        "question, response_j (chosen), response_k (rejected)",
        25,
        {},
    ),
    "ultrafeedback_str_eval.jsonl": (
        "paired",
        "prompt, chosen, rejected",
        199,
        {"identical sides": 1},
    ),
    "ultrafeedback_str_labelflip30.jsonl": (
        "paired",
        "prompt, chosen, rejected",
        994,
        {"identical sides": 4, "empty text": 2},
    ),
    "ultrafeedback_str_train.jsonl": (
        "paired",
        "prompt, chosen, rejected",
        994,
        {"identical sides": 4, "empty text": 2},
    ),
    "xstest_gpt4_labels.csv": ("other", "", 0, {UNKNOWN: 450}),
}

# An offer's changes; the shape, kept and dropped once it is taken.
Taken = tuple[dict[str, Any], str, int, dict[str, int]]

MATCHING, NOT_MATCHING = "answer_matching_behavior", "answer_not_matching_behavior"
EVALS: list[Taken] = [
    ({"data.columns": {"chosen": MATCHING, "rejected": NOT_MATCHING}}, "paired", 1000, {}),
    ({"data.columns": {"chosen": NOT_MATCHING, "rejected": MATCHING}}, "paired", 1000, {}),
]
RESPONSES: list[Taken] = [({"data.columns": {"completion": "response"}}, "sft", 3, {})]
COMPLIANCE = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")

# Each file that is "other", and all it is offered.
OFFERED: dict[str, list[Taken]] = {
    "anthropic_evals_corrigible_more_hhh.jsonl": EVALS,
    "anthropic_evals_interest_in_science.jsonl": EVALS,
    "lf_c4_demo.jsonl": [({"data.columns": {"completion": "text"}}, "sft", 300, {})],
    # Three of its lists hold one answer twice, as the best and as the worst.
    "lf_oaast_rm_zh.json": [
        ({"data.columns": {"answers": "output"}}, "paired", 772, {"identical sides": 3})
    ],
    "ms_swift_fixtures/swift_pre.csv": RESPONSES,
    "ms_swift_fixtures/swift_pre.jsonl": RESPONSES,
    "selfinstruct_seed_tasks.jsonl": [
        (
            {"data.columns": {"input": "instances.0.input", "output": "instances.0.output"}},
            "sft",
            175,
            {},
        )
    ],
    "xstest_gpt4_labels.csv": [
        *(
            (
                {
                    "data.columns": {"label": column},
                    "data.labels": {value: value == good for value in values},
                },
                "unpaired",
                450,
                {},
            )
            for column, values in (("final_label", COMPLIANCE), ("gpt4_label", COMPLIANCE[:2]))
            for good in values
        ),
        ({"data.shape": "sft"}, "sft", 450, {}),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_gets_its_shape_and_its_counts(name: str) -> None:
    facts = probe_data(DataSource(str(DATA / name)))
    assert (facts.shape, facts.layout, facts.kept, facts.dropped) == EXPECTED[name]
    assert facts.kept + sum(facts.dropped.values()) == facts.rows
    assert (facts.advice != "") == (facts.shape == "other")


@pytest.mark.parametrize("name", [name for name, found in EXPECTED.items() if found[0] == "other"])
def test_what_is_other_has_offers_that_hold(name: str) -> None:
    taken = []
    for offer in probe_data(DataSource(str(DATA / name))).offers:
        changes = dict(offer.changes)
        source = DataSource(
            str(DATA / name),
            columns=changes.get("data.columns"),
            labels=changes.get("data.labels"),
            shape=changes.get("data.shape"),
        )
        facts = probe_data(source)
        assert facts.kept + sum(facts.dropped.values()) == facts.rows
        taken.append((changes, facts.shape, facts.kept, facts.dropped))
    assert taken == OFFERED[name]


def test_no_file_is_left_out() -> None:
    found = {
        str(path.relative_to(DATA))
        for path in DATA.rglob("*")
        if path.suffix in (".json", ".jsonl", ".csv", ".parquet")
    }
    assert found == set(EXPECTED)


def test_scores_of_real_pairs() -> None:
    loaded = load(DataSource(str(DATA / "ultrafeedback_str_train.jsonl")))
    scores = [row.scores for row in loaded.rows if isinstance(row, Pair)]
    assert None not in scores
    # Its README counts 111 ties and 267 pairs against the scores; one of each was dropped.
    assert sum(better == worse for better, worse in filter(None, scores)) == 110
    assert all(better >= worse for better, worse in filter(None, scores))
    flipped = load(DataSource(str(DATA / "ultrafeedback_str_labelflip30.jsonl")))
    against = [row.scores for row in flipped.rows if isinstance(row, Pair) and row.scores]
    assert sum(better < worse for better, worse in against) == 266


def test_a_ranked_list_becomes_its_best_against_its_worst() -> None:
    path = DATA / "lf_oaast_rm_zh.json"
    loaded = load(DataSource(str(path), columns={"answers": "output"}))
    row = loaded.rows[0]
    assert isinstance(row, Pair)
    listed = json.loads(path.read_text())[row.number - 1]["output"]
    assert (row.chosen[0].content, row.rejected[0].content) == (listed[0], listed[-1])


def test_ultrafeedback_in_full() -> None:
    loaded = load(DataSource(str(DATA / "ultrafeedback_str_train.jsonl")))
    facts = probe_data(DataSource(str(DATA / "ultrafeedback_str_train.jsonl")))
    assert facts.dropped == {"identical sides": 4, "empty text": 2}
    assert (facts.duplicate_rows, facts.duplicate_prompts) == (0, 0)
    assert all(isinstance(row, Pair) and len(row.prompt) == 1 for row in loaded.rows)
    bias = facts.length_bias
    assert bias is not None
    assert (bias.chosen_longer, bias.chosen_shorter, bias.equal) == (536, 446, 12)


def test_mean_words_agree_with_the_folders_own_figures() -> None:
    words = probe_data(DataSource(str(DATA / "lf_dpo_en_demo.json"))).words
    assert round(words["chosen"].mean, 1) == 222.8
    assert round(words["rejected"].mean, 1) == 242.8


def test_kto_demo_in_full() -> None:
    loaded = load(DataSource(str(DATA / "lf_kto_en_demo.json")))
    facts = probe_data(DataSource(str(DATA / "lf_kto_en_demo.json")))
    assert facts.dropped == {}
    assert facts.labels == {True: 150, False: 150}
    assert facts.duplicate_prompts == 3
    rows = [row for row in loaded.rows if isinstance(row, Labelled)]
    # 77 conversations of several turns, as its README says: two or more questions.
    several = [r for r in rows if sum(1 for turn in r.prompt if turn.role == "user") > 1]
    assert len(several) == 77


def test_instruction_data_in_full() -> None:
    loaded = load(DataSource(str(DATA / "rasbt_instruction_data.json")))
    facts = probe_data(DataSource(str(DATA / "rasbt_instruction_data.json")))
    assert facts.dropped == {}
    assert facts.sampled == 1100
    first = loaded.rows[0]
    assert isinstance(first, Chat)
    assert first.messages[0].content == (
        "Evaluate the following phrase by transforming it into the spelling given.\n\n"
        "freind --> friend"
    )

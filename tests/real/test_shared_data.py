"""Files written by nobody on the team: each gets its shape, and every row is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_tui.core.rows import Chat, Labelled, Pair
from backprop_tui.probe.data import DataSource, load, probe_data

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is absent")

ALPACA = "instruction, input, output (Alpaca)"
SHAREGPT = "conversations (ShareGPT)"
MESSAGES = "messages (OpenAI)"

# file: shape, layout, rows, kept. "other" where no canonical columns are named in the file.
EXPECTED = {
    "anthropic_evals_corrigible_more_hhh.jsonl": ("other", "", 1000, 0),
    "anthropic_evals_interest_in_science.jsonl": ("other", "", 1000, 0),
    "axolotl_conversation.json": ("sft", SHAREGPT, 1, 1),
    "axolotl_conversation_missingturns.json": ("sft", SHAREGPT, 1, 0),
    "fastchat_dummy_sharegpt.json": ("sft", SHAREGPT, 500, 500),
    "gpteacher_codegen.json": ("sft", ALPACA, 4535, 4535),
    "gpteacher_roleplay.json": ("sft", ALPACA, 1923, 1923),
    "lf_c4_demo.jsonl": ("other", "", 300, 0),
    "lf_dpo_en_demo.json": ("paired", "conversations, chosen, rejected", 300, 300),
    "lf_dpo_zh_demo.json": ("paired", "conversations, chosen, rejected", 300, 300),
    "lf_glaive_toolcall_en_demo.json": ("sft", SHAREGPT, 300, 300),
    "lf_kto_en_demo.json": ("unpaired", "messages, label", 300, 300),
    "lf_kto_mix_test.json": ("other", "", 1092, 0),
    "lf_oaast_rm_zh.json": ("other", "", 775, 0),
    "lf_v1_dpo_demo.jsonl": ("other", "", 10, 0),
    "lf_v1_sft_demo.jsonl": ("sft", MESSAGES, 500, 500),
    "ms_swift_fixtures/alpaca.csv": ("sft", ALPACA, 3, 3),
    "ms_swift_fixtures/alpaca.jsonl": ("sft", ALPACA, 3, 3),
    "ms_swift_fixtures/alpaca2.csv": ("sft", ALPACA, 3, 3),
    "ms_swift_fixtures/chatml.jsonl": ("sft", MESSAGES, 3, 3),
    "ms_swift_fixtures/conversations.jsonl": ("sft", SHAREGPT, 3, 3),
    "ms_swift_fixtures/multi_modal_1.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/multi_modal_2.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/multi_modal_3.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/sharegpt.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_multi.json": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_multi.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_pre.csv": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_pre.jsonl": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_single.csv": ("other", "", 3, 0),
    "ms_swift_fixtures/swift_single.jsonl": ("other", "", 3, 0),
    "rasbt_instruction_data.json": ("sft", ALPACA, 1100, 1100),
    "rasbt_instruction_with_preference.json": (
        "paired",
        "instruction, input, chosen, rejected",
        1100,
        1094,
    ),
    "selfinstruct_seed_tasks.jsonl": ("other", "", 175, 0),
    "torchtune_stackexchange_paired_tiny.json": ("other", "", 25, 0),
    "ultrafeedback_str_eval.jsonl": ("paired", "prompt, chosen, rejected", 200, 199),
    "ultrafeedback_str_labelflip30.jsonl": ("paired", "prompt, chosen, rejected", 1000, 994),
    "ultrafeedback_str_train.jsonl": ("paired", "prompt, chosen, rejected", 1000, 994),
    "xstest_gpt4_labels.csv": ("other", "", 450, 0),
}

# What is "other" for want of names becomes usable with the names its README row gives.
MAPPED = {
    "anthropic_evals_interest_in_science.jsonl": (
        "paired",
        {
            "prompt": "question",
            "chosen": "answer_matching_behavior",
            "rejected": "answer_not_matching_behavior",
        },
        1000,
    ),
    "lf_kto_mix_test.json": ("unpaired", {"label": "tag"}, 1092),
    "lf_v1_dpo_demo.jsonl": (
        "paired",
        {"chosen": "chosen_messages", "rejected": "rejected_messages"},
        10,
    ),
    "torchtune_stackexchange_paired_tiny.json": (
        "paired",
        {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        25,
    ),
    "ms_swift_fixtures/swift_multi.json": (
        "sft",
        {"prompt": "query", "completion": "response"},
        3,
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_gets_its_shape_and_its_counts(name: str) -> None:
    facts = probe_data(DataSource(str(DATA / name)))
    assert (facts.shape, facts.layout, facts.rows, facts.kept) == EXPECTED[name]
    assert facts.kept + sum(facts.dropped.values()) == facts.rows
    assert (facts.advice != "") == (facts.shape == "other")


def test_no_file_is_left_out() -> None:
    found = {
        str(path.relative_to(DATA))
        for path in DATA.rglob("*")
        if path.suffix in (".json", ".jsonl", ".csv", ".parquet")
    }
    assert found == set(EXPECTED)


@pytest.mark.parametrize("name", MAPPED)
def test_a_mapping_makes_other_files_usable(name: str) -> None:
    shape, columns, kept = MAPPED[name]
    facts = probe_data(DataSource(str(DATA / name), columns=columns))
    assert (facts.shape, facts.kept) == (shape, kept)


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

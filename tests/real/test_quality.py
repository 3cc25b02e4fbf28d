"""The quality report on files nobody here wrote, held against what their README states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backprop_tui.core.quality import Quality
from backprop_tui.core.rows import Pair
from backprop_tui.probe.data import DataSource, load
from backprop_tui.probe.data.quality import report
from backprop_tui.probe.data.quality.near import THRESHOLD, jaccard, shingles

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is absent")


def quality(name: str, columns: dict[str, str] | None = None) -> Quality:
    return report(load(DataSource(str(DATA / name), columns=columns)).rows)


def warnings(found: Quality) -> set[str]:
    return {finding.code for finding in found.findings if finding.level == "warning"}


def test_swapped_labels_show_as_noise() -> None:
    """300 of the 1,000 pairs were swapped on purpose; of 266 of those that can be trained the
    scores differ. Ties say nothing, so the estimate is 30 points higher: the true share of swaps.
    """
    clean, flipped = (
        quality(f"ultrafeedback_str_{name}.jsonl") for name in ("train", "labelflip30")
    )
    assert clean.noise == 0.0
    assert flipped.noise == pytest.approx(0.30, abs=0.005)
    found = flipped.find("data-label-noise")
    assert found is not None
    assert (found.count, found.level) == (266, "warning")
    assert found.text.startswith("The scores say the opposite of the choice in 266 of 884")
    assert warnings(clean) == set()
    assert warnings(flipped) == {"data-label-noise"}


def test_unfilled_placeholders_of_the_sft_demo_are_found() -> None:
    found = quality("lf_v1_sft_demo.jsonl").find("data-placeholders")
    assert found is not None
    assert (found.count, found.of, found.level) == (50, 500, "warning")
    assert found.examples[0].endswith("{{name}}")


def test_scripts_of_an_english_and_a_chinese_file() -> None:
    english, chinese = quality("lf_dpo_en_demo.json"), quality("lf_dpo_zh_demo.json")
    assert next(iter(english.scripts)) == "Latin"
    assert chinese.scripts["Han"] > 0.95
    mixed = quality("lf_v1_sft_demo.jsonl").scripts
    assert 0.05 < mixed["Han"] < 0.10


def test_pairs_taken_apart_are_no_copies_of_each_other() -> None:
    """Every prompt of the KTO mix comes twice, with a good and a bad answer."""
    found = quality("lf_kto_mix_test.json", {"label": "tag"})
    assert found.find("data-duplicates") is None
    copies = found.find("data-near-duplicates")
    assert copies is not None
    assert copies.share < 0.01
    contradictions = found.find("data-contradictions")
    assert contradictions is not None
    assert (contradictions.count, contradictions.level) == (2, "note")
    assert contradictions.examples[0].startswith("row 309 against row 310")


def test_near_copies_of_held_out_prompts_are_near_copies() -> None:
    columns = {
        "prompt": "question",
        "chosen": "answer_matching_behavior",
        "rejected": "answer_not_matching_behavior",
    }
    source = DataSource(str(DATA / "anthropic_evals_interest_in_science.jsonl"), columns=columns)
    rows = load(source).rows
    found = report(rows).find("data-near-leak")
    assert found is not None
    assert (found.count, found.of, found.level) == (12, 100, "warning")
    prompts = {row.number: row.prompt[0].content for row in rows if isinstance(row, Pair)}
    for example in found.examples:
        first, second = map(int, re.findall(r"row (\d+)", example)[:2])
        assert prompts[first] != prompts[second]
        assert jaccard(shingles(prompts[first]), shingles(prompts[second])) >= THRESHOLD


@pytest.mark.parametrize(
    "name",
    [
        "gpteacher_roleplay.json",
        "lf_dpo_en_demo.json",
        "lf_kto_en_demo.json",
        "rasbt_instruction_data.json",
        "rasbt_instruction_with_preference.json",
        "ultrafeedback_str_eval.jsonl",
        "ultrafeedback_str_train.jsonl",
    ],
)
def test_clean_public_files_stay_without_warnings(name: str) -> None:
    assert warnings(quality(name)) == set()

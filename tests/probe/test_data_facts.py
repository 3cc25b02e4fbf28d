"""Counts over the whole file, statistics over the sample, computed another way."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_tui.core.errors import InputError
from backprop_tui.core.facts import DataFacts, to_json
from backprop_tui.probe.data import DataSource, describe, load, probe_data, with_tokens
from backprop_tui.probe.data.sample import quantiles, sign_test, words

Write = Callable[..., str]


def pairs(lengths: list[tuple[int, int]]) -> list[dict[str, str]]:
    return [
        {"prompt": f"p{i} and more", "chosen": "c " * a, "rejected": "r " * b}
        for i, (a, b) in enumerate(lengths)
    ]


def test_lengths_and_bias(write: Write) -> None:
    facts = probe_data(DataSource(write("a.jsonl", pairs([(9, 3), (8, 2), (5, 5), (2, 4)]))))
    assert set(facts.words) == {"prompt", "chosen", "rejected"}
    assert (facts.words["prompt"].p50, facts.words["prompt"].max) == (3, 3)
    assert (facts.words["chosen"].max, facts.words["chosen"].mean) == (9, 6.0)
    bias = facts.length_bias
    assert bias is not None
    assert (bias.pairs, bias.chosen_longer, bias.chosen_shorter, bias.equal) == (4, 2, 1, 1)
    assert bias.ratio == pytest.approx(14 / 24)
    assert bias.p_value == 1.0


@pytest.mark.parametrize(
    ("more", "fewer", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 0.0625), (0, 10, 0.001953125), (15, 5, 0.04138947)],
)
def test_the_sign_test(more: int, fewer: int, p: float) -> None:
    assert sign_test(more, fewer) == pytest.approx(p, rel=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_counts_the_splits_at_least_as_uneven(more: int, fewer: int) -> None:
    n, uneven = more + fewer, abs(more - fewer)
    extreme = sum(comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= uneven)
    assert sign_test(more, fewer) == pytest.approx(extreme / 2**n)


def test_the_sign_test_of_a_whole_sample_is_a_number() -> None:
    assert 0 <= sign_test(2000, 0) < 1e-300
    assert sign_test(1000, 1000) == 1.0


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_quantiles_are_values_that_occur(values: list[int]) -> None:
    found = quantiles(values)
    for share, value in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        assert value in values
        assert sum(1 for v in values if v <= value) >= share * len(values) - 1e-9
        assert sum(1 for v in values if v < value) < share * len(values)
    assert found.max == max(values)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("  two\n words ", 2),
        ("naïve café", 2),
        ("Привет мир", 2),
        ("布洛芬和对乙酰氨基酚的区别是？", 15),
        ("こんにちは 世界", 7),
        ("the word 世界 in English", 5),
        ("안녕 세상", 2),
    ],
)
def test_words_of_scripts_with_and_without_spaces(text: str, count: int) -> None:
    assert words(text) == count


def test_labels_duplicates_and_reasons_are_counted_over_the_whole_file(write: Write) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"p{i}", "completion": "c", "label": i % 3 == 0} for i in range(3000)
    ]
    rows += [rows[0]] * 5 + [rows[1] | {"completion": "d"}] * 2 + [{"prompt": "p"}] * 4
    facts = probe_data(DataSource(write("a.jsonl", rows)))
    assert (facts.rows, facts.kept, facts.sampled) == (3011, 3007, 2000)
    assert facts.labels == {True: 1005, False: 2002}
    assert (facts.duplicate_rows, facts.duplicate_prompts) == (6, 7)
    assert facts.dropped == {"one side missing": 4}
    assert [lost.row for lost in facts.dropped_rows] == [3008, 3009, 3010]
    assert facts.dropped_rows[0].excerpt == '{"prompt": "p"}'
    assert to_json(facts)["labels"] == {"true": 1005, "false": 2002}


def test_the_sample_comes_from_the_whole_file_and_from_the_seed(write: Write) -> None:
    short, long = [(1, 2)] * 3000, [(50, 2)] * 3000
    loaded = load(DataSource(write("a.jsonl", pairs(short + long))))
    facts = describe(loaded)
    assert facts.length_bias is not None
    assert facts.length_bias.pairs == facts.sampled == 2000
    assert facts.length_bias.chosen_longer == pytest.approx(1000, abs=100)
    assert describe(loaded) == facts
    other = describe(loaded, seed=1).length_bias
    assert other is not None
    assert other.chosen_longer != facts.length_bias.chosen_longer


def test_three_rows_to_look_at(write: Write) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2
    rows = [{"messages": turns, "label": True} for _ in range(9)]
    rows[4] = {"messages": [turns[0], {"role": "assistant", "content": "x" * 9000}], "label": False}
    facts = probe_data(DataSource(write("a.jsonl", rows)))
    first, middle, last = facts.examples
    assert first == last
    assert first == {"prompt": "user: q\nassistant: a\nuser: q", "completion": "a", "label": "true"}
    assert (middle["prompt"], middle["label"], len(middle["completion"])) == ("q", "false", 2000)


def test_an_unknown_shape_shows_its_rows_as_they_are(write: Write) -> None:
    facts = probe_data(DataSource(write("a.jsonl", [{"x": 1, "y": ["z"]}])))
    assert facts.examples == ({"x": "1", "y": '["z"]'},)
    assert (facts.shape, facts.sampled, facts.words) == ("other", 0, {})
    assert (facts.length_bias, facts.labels) == (None, None)


def test_columns_are_those_of_every_row(write: Write) -> None:
    facts = probe_data(DataSource(write("a.jsonl", [{"a": 1}, {"b": 1}, {"a": 1, "c": 1}])))
    assert facts.columns == ("a", "b", "c")


def test_a_chat_is_measured_at_its_last_answer(write: Write) -> None:
    turns = [("user", "a b"), ("assistant", "c d e"), ("user", "f"), ("assistant", "g h i j")]
    messages = [{"role": role, "content": content} for role, content in turns]
    facts = probe_data(DataSource(write("a.jsonl", [{"messages": messages}])))
    assert (facts.words["prompt"].max, facts.words["completion"].max) == (6, 4)


@pytest.fixture
def word_tokenizer(tmp_path: Path) -> Path:
    """One token per word, with a start token and a length limit that must not count."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"?": 0, "<s>": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_tokens_are_counted_over_the_same_sample(write: Write, word_tokenizer: Path) -> None:
    loaded = load(DataSource(write("a.jsonl", pairs([(9, 3), (8, 2), (5, 5), (2, 4)]))))
    facts = describe(loaded)
    counted = with_tokens(facts, loaded, word_tokenizer)
    assert counted.tokens is not None
    row = counted.tokens.pop("row")
    assert counted.tokens == facts.words
    assert facts.tokens is None
    prompt = facts.words["prompt"].max
    # The longest answer of each row: 9, 8, 5 and 4 words.
    assert (row.p50, row.max, row.mean) == (prompt + 5, prompt + 9, prompt + 6.5)


def test_a_row_is_its_own_prompt_and_its_own_answer(write: Write, word_tokenizer: Path) -> None:
    """A long prompt and a long answer of different rows do not make a long row."""
    rows = [
        {"prompt": "a " * 100, "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "b " * 100, "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": "c " * 90},
    ]
    loaded = load(DataSource(write("a.jsonl", rows)))
    counted = with_tokens(describe(loaded), loaded, word_tokenizer).tokens
    assert counted is not None
    assert counted["row"].max == 101
    assert counted["row"].p50 == 101


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a b", "completion": "c d e", "label": True},
        {
            "messages": [
                {"role": "user", "content": "a b"},
                {"role": "assistant", "content": "c d e"},
            ]
        },
    ],
)
def test_a_row_with_one_answer(row: dict[str, Any], write: Write, word_tokenizer: Path) -> None:
    loaded = load(DataSource(write("a.jsonl", [row])))
    counted = with_tokens(describe(loaded), loaded, word_tokenizer).tokens
    assert counted is not None
    assert counted["row"].max == 5


def test_only_so_many_rows_are_made_tokens(
    write: Write, word_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backprop_tui.probe.data import sample as module

    measured: list[int] = []

    def quantiles(values: list[int]) -> Any:
        measured.append(len(values))
        return real(values)

    real = module.quantiles
    monkeypatch.setattr(module, "quantiles", quantiles)
    loaded = load(DataSource(write("a.jsonl", pairs([(9, 3)] * 50))))
    facts = describe(loaded)
    measured.clear()
    with_tokens(facts, loaded, word_tokenizer, rows=7)
    assert set(measured) == {7}
    measured.clear()
    with_tokens(facts, loaded, word_tokenizer)
    assert set(measured) == {50}


def test_nothing_to_train_has_no_tokens(write: Write, word_tokenizer: Path) -> None:
    loaded = load(DataSource(write("a.jsonl", [{"x": "1"}])))
    assert with_tokens(describe(loaded), loaded, word_tokenizer).tokens == {}


def test_a_tokenizer_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    loaded = load(DataSource(write("a.jsonl", pairs([(1, 2)]))))
    with pytest.raises(InputError, match=r"absent\.json") as caught:
        with_tokens(describe(loaded), loaded, tmp_path / "absent.json")
    assert caught.value.code == "TOKENIZER_UNREADABLE"


def test_facts_are_plain_json(write: Write) -> None:
    facts: DataFacts = probe_data(DataSource(write("a.jsonl", pairs([(1, 2)]))))
    assert json.loads(json.dumps(to_json(facts)))["length_bias"]["chosen_shorter"] == 1


def test_the_longest_row_is_known_though_the_sample_missed_it(
    tmp_path: Path, word_tokenizer: Path
) -> None:
    rows = [{"prompt": "Is it?", "completion": "Yes.", "label": True}] * 400
    rows.insert(200, {"prompt": "Is it? " * 50, "completion": "Yes. " * 300, "label": False})
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    loaded = load(DataSource(str(path)))
    facts = with_tokens(describe(loaded), loaded, word_tokenizer, rows=32)
    assert facts.tokens is not None
    assert facts.tokens["completion"].p99 < 10
    assert facts.tokens["completion"].max >= 300
    assert facts.tokens["row"].max >= facts.tokens["completion"].max + 50

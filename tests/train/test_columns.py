"""The data set of pairs: the columns the trainers' collator reads, left alone by TRL."""

from __future__ import annotations

from backprop_tui.train.columns import paired_dataset
from backprop_tui.train.encoded import EncodedPair

ROWS = [EncodedPair(1, [5, 6], [7, 8, 9], [7]), EncodedPair(2, [], [1], [2, 3])]


def test_a_side_is_prompt_and_answer_and_its_prompt_is_not_trained() -> None:
    found = paired_dataset(ROWS)
    assert found is not None
    first, second = found
    assert first == {
        "prompt_input_ids": [5, 6],
        "prompt_attention_mask": [1, 1],
        "chosen_input_ids": [5, 6, 7, 8, 9],
        "chosen_attention_mask": [1, 1, 1, 1, 1],
        "chosen_labels": [-100, -100, 7, 8, 9],
        "rejected_input_ids": [5, 6, 7],
        "rejected_attention_mask": [1, 1, 1],
        "rejected_labels": [-100, -100, 7],
    }
    assert (second["prompt_input_ids"], second["chosen_labels"]) == ([], [1])
    assert second["rejected_input_ids"] == second["rejected_labels"] == [2, 3]


def test_trainers_passes_change_nothing() -> None:
    found = paired_dataset(ROWS)
    assert found is not None
    assert found.map(lambda row: 1 / 0, num_proc=2) is found


def test_no_rows_are_no_data_set() -> None:
    assert paired_dataset([]) is None

"""Files nobody here wrote: the tokens marked trained are the answer's, as the trainer gets them.

A file is taken up here as soon as it is read as paired or unpaired.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.effective import Effective, effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.rows import Chat, Labelled, Pair, Row, paired_as_chat, paired_as_labelled
from backprop_tui.core.runfile import RunFile
from backprop_tui.probe.data import DataSource, Loaded, load
from backprop_tui.probe.model import probe_model
from backprop_tui.probe.survey import count_rows
from backprop_tui.train.batches import IGNORE, Encoder
from backprop_tui.train.columns import paired_dataset
from backprop_tui.train.trainers import chat_columns, labelled_columns

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
# Files of pairs and of marked answers, with the columns the user names where the file does not.
PAIRED: dict[str, dict[str, str] | None] = {
    "ultrafeedback_str_train.jsonl": None,
    "ultrafeedback_str_eval.jsonl": None,
    "ultrafeedback_str_labelflip30.jsonl": None,
    "lf_dpo_en_demo.json": None,
    "lf_dpo_zh_demo.json": None,
    "lf_v1_dpo_demo.jsonl": None,
    "rasbt_instruction_with_preference.json": None,
    "torchtune_stackexchange_paired_tiny.json": None,
    "lf_oaast_rm_zh.json": {"answers": "output"},
    "anthropic_evals_corrigible_more_hhh.jsonl": {
        "prompt": "question",
        "chosen": "answer_matching_behavior",
        "rejected": "answer_not_matching_behavior",
    },
}
UNPAIRED: dict[str, dict[str, str] | None] = {
    "lf_kto_en_demo.json": None,
    "lf_kto_mix_test.json": None,
    "xstest_gpt4_labels.csv": {"label": "final_label"},
}
FILES = PAIRED | UNPAIRED
LABELS = {
    "xstest_gpt4_labels.csv": {
        "1_full_compliance": True,
        "2_full_refusal": False,
        "3_partial_refusal": False,
    }
}
STEPS = [
    *((name, method) for name in PAIRED for method in ("sft", "orpo", "simpo", "kto")),
    *((name, "kto") for name in UNPAIRED),
]
LONG = 100_000  # tokens: nothing is cut
END = "<|im_end|>"


@cache
def loaded(name: str) -> Loaded:
    return load(DataSource(path=str(DATA / name), columns=FILES[name], labels=LABELS.get(name)))


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(probe_model("pocket").path)


def three(name: str) -> list[Row]:
    """The first row, one from the middle, and the last."""
    rows = loaded(name).rows
    return [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})]


def as_read(method: str, rows: list[Row]) -> list[Row]:
    """A pair under sft is its chosen side, under kto a good and a bad row."""
    read: list[Row] = []
    for row in rows:
        if method == "sft" and isinstance(row, Pair):
            read.append(paired_as_chat(row))
        elif method == "kto" and isinstance(row, Pair):
            read += paired_as_labelled(row)
        else:
            read.append(row)
    return read


def columns(method: str, rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as the method's trainer takes them."""
    encoding = Encoder(tokenizer(), LONG).encode(as_read(method, rows))
    assert not encoding.dropped
    if method == "sft":
        return [chat_columns(row) for row in encoding.rows]
    if method == "kto":
        return labelled_columns(encoding.rows, 0)
    return list(paired_dataset(encoding.rows) or ())


def written(answer: tuple[Any, ...]) -> str:
    """The answer's words, and the end of the turn."""
    assert len(answer) == 1
    return str(answer[0].content) + END


def trained(ids: list[int], labels: list[int]) -> str:
    assert len(ids) == len(labels)
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))
    return decoded([label for label in labels if label != IGNORE])


def decoded(ids: list[int]) -> str:
    return str(tokenizer().decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("name", FILES)
def test_tokens_marked_trained_are_the_answers(name: str) -> None:
    assert loaded(name).shape == ("paired" if name in PAIRED else "unpaired")
    rows = three(name)
    assert len(rows) == 3
    for row in rows:
        if isinstance(row, Pair):
            (asked,) = columns("sft", [row])
            answers = [m.content + END for m in row.prompt if m.role == "assistant"]
            assert trained(asked["input_ids"], asked["labels"]) == "".join(
                (*answers, written(row.chosen))
            )
            for method in ("orpo", "simpo"):
                (both,) = columns(method, [row])
                for side, answer in (("chosen", row.chosen), ("rejected", row.rejected)):
                    ids, labels = both[f"{side}_input_ids"], both[f"{side}_labels"]
                    assert trained(ids, labels) == written(answer)
                    assert ids[: len(both["prompt_input_ids"])] == both["prompt_input_ids"]
            good, bad = columns("kto", [row])
            assert decoded(good["completion_ids"]) == written(row.chosen)
            assert decoded(bad["completion_ids"]) == written(row.rejected)
            assert (good["label"], bad["label"]) == (True, False)
        else:
            assert isinstance(row, Labelled)
            (judged,) = columns("kto", [row])
            assert decoded(judged["completion_ids"]) == written(row.completion)
            assert judged["label"] == row.label
            assert decoded(judged["prompt_ids"]).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(("name", "method"), STEPS)
def test_three_rows_train_one_step_and_the_trainer_sees_the_same_tokens(
    name: str, method: str, tmp_path: Path
) -> None:
    from backprop_tui.train.model import load_model, load_tokenizer
    from backprop_tui.train.trainers import TrainerInput, build_trainer

    model = probe_model("pocket")
    run = RunFile.model_validate(
        {
            "method": method,
            "model": {"id": "pocket"},
            "data": {"path": str(DATA / name), "max_length": 1024, "heldout": 0},
            "training": {"max_steps": 1, "batch_size": 3, "accumulation": 1},
            "machine": {"device": "cpu"},
        }
    )
    rows = short(name, method)
    plan: Effective = effective(run, Facts(model=model), count_rows(rows, []))
    words = load_tokenizer(run, model, trust_remote_code=False)
    encoding = Encoder(words, plan.max_length).encode(rows)
    assert not encoding.dropped
    trainer = build_trainer(
        TrainerInput(
            run=run,
            plan=plan,
            model=load_model(run, plan, model, trust_remote_code=False),
            tokenizer=words,
            train=encoding.rows,
            heldout=[],
            checkpoints=tmp_path,
            callback=silent(),
        )
    )
    batch = next(iter(trainer.get_train_dataloader()))
    seen = sorted(answers_in(method, batch))
    assert seen == sorted(text for row in rows for text in expected(row))
    if method == "kto":
        trainer.prepare()
    trainer.train()
    assert trainer.state.global_step == 1


def silent() -> Any:
    """A callback that looks at nothing."""
    from transformers import TrainerCallback

    class Silent(TrainerCallback):  # type: ignore[misc]
        def count_tokens(self, inputs: Any) -> None:
            pass

        def count(self, tokens: int, rows: int) -> None:
            pass

    return Silent()


def short(name: str, method: str) -> list[Row]:
    """Three rows, as the method reads them, that the pocket model takes whole."""
    rows = as_read(method, list(loaded(name).rows[:60]))
    outcomes = Encoder(tokenizer(), 600).outcomes(rows)
    whole = [outcome.encoded is not None and not outcome.cut for outcome in outcomes]
    return [row for row, fits in zip(rows, whole, strict=True) if fits][:3]


def expected(row: Row) -> list[str]:
    """What each side of the row trains, as text."""
    if isinstance(row, Chat):
        answers = [message for message in row.messages if message.role == "assistant"]
        return ["".join(message.content + END for message in answers)]
    if isinstance(row, Labelled):
        return [written(row.completion)]
    return [written(row.chosen), written(row.rejected)]


def answers_in(method: str, batch: Any) -> list[str]:
    """What each side of a batch trains, as text: padding and borrowed answers left out."""
    if method == "sft":
        return [decoded(row[row != IGNORE].tolist()) for row in batch["labels"]]
    lean = batch["batch"]
    (layout,) = lean.parts
    # Where an answer's tokens are predicted, the next token is its own.
    ids = layout.input_ids.flatten().tolist()
    answers = []
    for start, length in starts_and_lengths(layout):
        targets = layout.targets[start : start + length].tolist()
        after_first = layout.positions[start + 1 : start + length].tolist()
        assert [ids[position] for position in after_first] == targets[:-1]
        answers.append(decoded(targets))
    return answers[:: lean.answers] if method == "kto" else answers


def starts_and_lengths(layout: Any) -> list[tuple[int, int]]:
    """Where each answer's targets stand, and how many there are."""
    ends = list(accumulate(layout.lengths))
    return [(end - length, length) for end, length in zip(ends, layout.lengths, strict=True)]

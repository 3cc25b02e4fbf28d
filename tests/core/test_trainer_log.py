"""Logs of TRL and transformers: their names, their gaps, and what is no log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.trainer_log import read_log
from backprop_tui.core.verdict import verdict


def objects(prefix: str = "", *, learns: bool = True, steps: int = 30) -> list[dict[str, Any]]:
    """What TRL's DPOTrainer logs."""
    found: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        x = step / steps
        found.append(
            {
                "loss": 0.69 - x / 4,
                "grad_norm": 1.5,
                "learning_rate": 5e-6,
                f"{prefix}rewards/chosen": 0.1 * x,
                f"{prefix}rewards/rejected": -0.9 * x,
                f"{prefix}rewards/margins": x,
                f"{prefix}rewards/accuracies": 0.5 + x / 2,
                "logps/chosen": -120.0,
                "epoch": x,
                "step": step,
            }
        )
        if step % 10 == 0:
            gain = x if learns else 0.0
            found.append(
                {
                    "eval_loss": 0.6,
                    "eval_runtime": 2.0,
                    "eval_samples_per_second": 40.01,
                    "eval_rewards/chosen": 0.0,
                    "eval_rewards/margins": gain / 2,
                    "eval_rewards/accuracies": 0.5 + 0.4 * gain,
                    "epoch": x,
                    "step": step,
                }
            )
    return [*found, {"train_runtime": 9.0, "train_loss": 0.6, "epoch": 1.0, "step": steps}]


def lines(found: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(item) + "\n" for item in found]


def test_json_lines_and_a_trainer_state_are_the_same_history() -> None:
    found = objects()
    state = json.dumps({"best_metric": None, "log_history": found, "max_steps": 30}, indent=2)
    by_line = read_log(lines(found), "log")
    assert by_line == read_log(state.splitlines(keepends=True), "trainer_state.json")
    assert (len(by_line.steps), len(by_line.evaluations)) == (30, 3)
    first, held = by_line.steps[0], by_line.evaluations[-1]
    assert (first.margin, first.accuracy) == pytest.approx((1 / 30, 0.5 + 1 / 60))
    assert (held.step, held.rows, held.margin, held.accuracy) == (30, 80, 0.5, 0.9)
    assert first.logp_chosen_sum is None


@pytest.mark.parametrize("prefix", ["", "train_", "train/"])
@pytest.mark.parametrize(("learns", "kind"), [(True, "learned"), (False, "margin-inflation")])
def test_the_verdict_on_it(prefix: str, learns: bool, kind: str) -> None:
    assert verdict(read_log(lines(objects(prefix, learns=learns)), "log")).kind == kind


def test_other_names_text_numbers_and_lines_without_a_step() -> None:
    rows = [
        {"train_rewards/margins": str(k / 30), "eval_accuracy": 0.9, "eval/rewards/margins": k}
        for k in range(1, 31)
    ]
    history = read_log(lines(rows), "log", heldout_rows=200)
    assert [step.step for step in history.steps] == list(range(1, 31))
    assert history.evaluations[-1].rows == 200
    found = verdict(history)  # no loss anywhere is not a loss that is no number
    assert (found.kind, "(95 % interval: 85 % to 93 %" in found.sentence) == ("learned", True)


def test_without_a_count_of_heldout_rows_nothing_is_proven() -> None:
    rows = [{key: v for key, v in one.items() if key != "eval_runtime"} for one in objects()]
    found = verdict(read_log(lines(rows), "log"))
    assert (found.kind, "of how many rows is not known" in found.sentence) == ("unproven", True)


@pytest.mark.parametrize("broken", [{"loss": "nan"}, {"loss": 0.0, "grad_norm": float("nan")}])
def test_a_log_that_ends_in_no_number_diverged(broken: dict[str, Any]) -> None:
    assert verdict(read_log([*lines(objects()), *lines([broken])], "log")).kind == "diverged"


def test_a_torn_line_is_passed_over() -> None:
    torn = [*lines(objects()), '{"loss": 0.5, "rewards/marg']
    assert len(read_log(torn, "log").steps) == 30


@pytest.mark.parametrize(
    "text", ["", "hello\n", '{"prompt": "a"}\n', "[1, 2]\n", '{"loss": true}\n']
)
def test_what_is_no_log_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"notes\.txt is no log of a training") as refused:
        read_log(text.splitlines(keepends=True), "notes.txt")
    assert refused.value.code == "RUN_LOG_UNUSABLE"

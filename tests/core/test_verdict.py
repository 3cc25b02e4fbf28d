"""Verdicts on hand-made event streams: each rule and its border, and that all three agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from backprop_tui.core.events import Evaluated, Failed, Step
from backprop_tui.core.guards import Guards
from backprop_tui.core.history import History
from backprop_tui.core.reading import read_run
from backprop_tui.core.runfile import LoraSection, RunFile
from backprop_tui.core.runfile_guards import GuardsSection
from backprop_tui.core.symptoms import ENOUGH
from backprop_tui.core.verdict import Verdict, verdict
from tests.core.test_reading import history
from tests.tui import histories

Value = Callable[[float], float]  # of how far the run is, 0..1


def run(
    method: str = "dpo",
    steps: int = 30,
    *,
    train: Value = lambda x: x,
    held: Value = lambda x: x / 2,
    accuracy: Value = lambda x: 0.5 + x * 0.4,
    chosen: Value = lambda _: 0.0,
    logp: tuple[Value, Value] = (lambda _: -1.0, lambda x: -1.0 - x / 20),
    lengths: tuple[float, float] = (20.0, 20.0),
    rows: int = 100,
    shorter: float | None = None,
    times: int = 4,
) -> History:
    """A run as the engine emits it. Values: train and held-out margin, accuracy, chosen reward,
    log-probabilities per token. times: held-out measurements, the first at step 0."""
    started = dataclasses.replace(
        histories.started(method, steps=steps), chosen_shorter=shorter, heldout_rows=rows
    )
    found = History()
    found.add(started)
    figures: Any
    for step in range(steps + 1):
        x = step / steps
        logps = [each(x) for each in logp]
        figures = {
            "reward_chosen": chosen(x),
            "accuracy": accuracy(x),
            "logp_chosen": logps[0],
            "logp_rejected": logps[1],
            "logp_chosen_sum": logps[0] * lengths[0],
            "logp_rejected_sum": logps[1] * lengths[1],
        }
        if step:
            found.add(
                Step(
                    t=step,
                    step=step,
                    steps=steps,
                    epoch=x,
                    loss=0.7 - x / 5,
                    learning_rate=1e-6,
                    grad_norm=1.0,
                    margin=train(x),
                    **figures,
                )
            )
        if rows and times > 1 and step in {round(k * steps / (times - 1)) for k in range(times)}:
            found.add(Evaluated(t=step, step=step, rows=rows, loss=0.7, margin=held(x), **figures))
    return found


def evidence(found: Verdict, name: str) -> dict[str, Any]:
    return next(item.figures for item in found.evidence if item.name == name)


FLAT: dict[str, Any] = {"held": lambda _: 0.0, "accuracy": lambda _: 0.5}
SHORT: dict[str, Any] = {  # every token of every answer falls alike; the rejected have more
    "lengths": (10.0, 40.0),
    "logp": (lambda x: -1 - x / 2, lambda x: -1 - x / 2),
}


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (run(), "learned", "accuracy 50 % → 90 % (95 % interval: 83 % to 94 %, 100 rows)."),
        (run(**FLAT), "margin-inflation", "margin inflation, not learning."),
        (
            run(rows=24, held=lambda x: x / 50, accuracy=lambda x: 0.5 + x / 24),
            "margin-inflation",
            "accuracy 50 % → 54 %: margin inflation",
        ),
        (
            run(rows=24, held=lambda x: x / 5, accuracy=lambda x: 0.5 + x / 24),
            "unproven",
            "does not clear 50 %",
        ),
        (run(held=lambda x: x / 50), "unproven", "gained under a tenth"),
        (run(**FLAT, times=2), "not-learned", "held-out +0.00 → +0.00"),
        (run(**FLAT, train=lambda _: 0.1), "not-learned", "does not widen"),
        (run(steps=ENOUGH - 1), "too-short", "20 steps with figures"),
        (run(steps=3), "too-short", "3 steps with figures"),
        (run(chosen=lambda x: -3 * x), "chosen-collapsing", "chosen -0.55 → -2.55"),
        (run(logp=(lambda x: -1 - 6 * x, lambda x: -1 - 9 * x)), "diverged", "403 times less"),
        (run(rows=20, accuracy=lambda x: 0.5 + x / 5), "unproven", "does not clear 50 %"),
        (run(rows=0), "unproven", "but nothing is held out"),
        (run(times=0), "unproven", "no held-out rows were measured after it"),
        (run(**SHORT), "brevity", "have 10 tokens, rejected ones 40, and length explains 100 %"),
        (run("simpo", **SHORT), "learned", "held-out rows follow"),
        (run(shorter=0.95), "brevity", "taking the shorter answer is right on 95 %"),
        (run("simpo", shorter=0.95), "brevity", "nothing shows that more than brevity"),
        (run(shorter=0.05), "verbosity", "taking the longer answer is right on 95 %"),
        (run(rows=24, shorter=0.8), "unproven", "cannot be told from always taking the shorter"),
        (run(shorter=0.7), "learned", "held-out rows follow"),
        (run(shorter=0.5, **SHORT), "learned", "held-out rows follow"),
        (
            run("kto", rows=40),
            "learned",
            "accuracy 50 % → 90 % (95 % interval: 70 % to 97 %, 40 rows)",
        ),
    ],
)
def test_the_kind_and_the_figures_that_decided(made: History, kind: str, words: str) -> None:
    found = verdict(made)
    assert (found.kind, words in found.sentence) == (kind, True), found.sentence
    assert found.next
    assert all(item.text and item.source for item in found.next)


def test_twenty_one_steps_are_enough() -> None:
    assert verdict(run(steps=ENOUGH)).kind == "learned"


@pytest.mark.parametrize("change", [{"loss": math.nan}, {"grad_norm": 101.0}])
def test_a_last_step_that_broke_is_a_divergence_however_short_the_run(
    change: dict[str, float],
) -> None:
    made = run(steps=3)
    made.steps[-1] = dataclasses.replace(made.steps[-1], **change)  # type: ignore[arg-type]
    assert verdict(made).kind == "diverged"
    assert read_run(made) == verdict(made).sentence


def test_a_run_that_failed_on_a_number_diverged_and_another_failure_says_nothing() -> None:
    failed = Failed(t=1, code="RUN_NOT_FINITE", message="a nan", hint="", log="")
    made = run()
    made.add(failed)
    assert verdict(made).kind == "diverged"
    made.add(dataclasses.replace(failed, code="RUN_OUT_OF_MEMORY"))
    assert verdict(made).kind == "learned"


def test_nothing_at_all_is_too_short() -> None:
    assert verdict(History()).kind == "too-short"


@pytest.mark.parametrize("inflating", [True, False])
def test_monitor_guards_and_verdict_agree_on_inflation(inflating: bool) -> None:
    events = list(histories.training("simpo", upto=240, inflating=inflating))
    guards = Guards(GuardsSection(), "simpo")
    warned = {found.code for event in events for found in guards.judge(event)}
    made = history(events)
    assert ("margin-inflation" in warned) is inflating
    assert ("margin inflation" in read_run(made)) is inflating
    assert verdict(made).kind == ("margin-inflation" if inflating else "learned")


def test_monitor_and_verdict_agree_on_a_model_that_is_lost() -> None:
    made = run(logp=(lambda x: -1 - 6 * x, lambda x: -1 - 9 * x))
    assert read_run(made) == verdict(made).sentence


def test_chosen_that_falls_on_the_heldout_rows_alone_is_an_alarm() -> None:
    """A fall within the first steps is over before the first ten are averaged."""
    made = run(chosen=lambda x: -5.0 if x > 0.01 else 0.0)
    assert "held-out chosen +0.00 → -5.00" in verdict(made).sentence
    assert "held-out chosen +0.00 → -5.00" in read_run(made)


@pytest.mark.parametrize(
    ("losses", "heldout", "kind"),
    [
        (lambda x: 2 - x, (2.0, 1.5, 1.2), "learned"),
        (lambda x: 2 - x, (2.0, 1.0, 1.2), "memorising"),
        (lambda x: 2 - x, (2.0,), "unproven"),
        (lambda x: 2 + x, (2.0, 2.1, 2.2), "not-learned"),
        (lambda x: 2 - x, (2.0, 4.0, 7.0), "diverged"),
    ],
)
def test_sft_is_judged_by_its_loss(losses: Value, heldout: tuple[float, ...], kind: str) -> None:
    made = History()
    made.add(histories.started("sft"))
    for step in range(1, 31):
        made.add(
            Step(t=step, step=step, steps=30, epoch=1, loss=losses(step / 30), learning_rate=1e-4)
        )
    for at, loss in enumerate(heldout):
        made.add(Evaluated(t=0, step=15 * at, rows=50, loss=loss))
    assert verdict(made).kind == kind


def test_the_evidence_has_the_figures_themselves() -> None:
    plan = RunFile(lora=LoraSection(rank=16))
    found = verdict(run(shorter=0.4, lengths=(20.0, 30.0)), plan)
    train = evidence(found, "train_margin")
    assert train["early"] == pytest.approx(5.5 / 30)
    assert train["late"] == pytest.approx(25.5 / 30)
    accuracy = evidence(found, "heldout_accuracy")
    assert (accuracy["rows"], accuracy["interval"]) == (100, "wilson")
    assert accuracy["low"] < 0.9 < accuracy["high"]
    length = evidence(found, "length")
    assert (length["chosen_tokens"], length["rejected_tokens"]) == pytest.approx((20.0, 30.0))
    # Rejected alone fell, by 0.05 a token: at 20 tokens each, 20 of the 30 parts are left.
    assert length["explained_by_length"] == pytest.approx(1 / 3)
    assert evidence(found, "rank")["rank"] == 16
    assert evidence(found, "data")["train_rows"] == 565


def test_a_high_rank_is_told_to_be_tried_lower() -> None:
    high, low = (RunFile(lora=LoraSection(rank=rank)) for rank in (16, 8))
    assert any("lora.rank = 8" in item.text for item in verdict(run(**FLAT), high).next)
    assert not any("lora.rank" in item.text for item in verdict(run(**FLAT), low).next)


def test_a_best_measurement_that_is_not_the_last_is_named() -> None:
    made = run(accuracy=lambda x: 0.5 + (0.4 if 0.2 < x < 0.5 else 0.2 * x))
    assert evidence(verdict(made), "best_measurement")["step"] == 10


def test_the_bootstrap_intervals_of_the_events_are_evidence() -> None:
    found = run()
    plain = verdict(found, None)
    assert not [item for item in plain.evidence if "bootstrap" in item.text]
    found.evaluations[-1] = dataclasses.replace(
        found.evaluations[-1],
        margin_low=0.31,
        margin_high=0.72,
        accuracy_low=0.84,
        accuracy_high=0.96,
    )
    told = verdict(found, None)
    assert told.kind == plain.kind
    words = {item.name: item.text for item in told.evidence}
    assert "95 % bootstrap interval +0.31 to +0.72)" in words["heldout_margin"]
    assert "bootstrap 84 % to 96 %, over 100 rows" in words["heldout_accuracy"]
    assert evidence(told, "heldout_margin")["bootstrap_high"] == 0.72
    assert evidence(told, "heldout_accuracy")["bootstrap_low"] == 0.84


def test_a_measurement_as_good_as_the_last_is_not_told_as_better() -> None:
    even = run(accuracy=lambda x: min(1.0, 0.5 + x), held=lambda x: x if x < 0.9 else 0.5)
    assert not [item for item in verdict(even, None).evidence if item.name == "best_measurement"]
    worse = run(accuracy=lambda x: 0.5 + (0.4 if 0 < x < 1 else 0.2 * x))
    assert evidence(verdict(worse, None), "best_measurement")["step"] == 20


@pytest.mark.parametrize(
    ("fall", "told"), [(0.6, ""), (0.7, "2.0 times less"), (3.0, "20.1 times")]
)
def test_a_run_that_learned_tells_how_far_the_good_answers_fell(fall: float, told: str) -> None:
    found = verdict(run(logp=(lambda x: -1.0 - fall * x, lambda x: -1.0 - 5 * x)))
    assert found.kind == "learned"
    assert told in found.sentence
    assert ("less likely" in found.sentence) is bool(told)

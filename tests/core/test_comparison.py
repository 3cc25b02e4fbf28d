"""Runs held against each other: what differs, which figures may be compared, and which may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.comparison import (
    SCALES,
    Comparison,
    SameRows,
    Subject,
    compare,
    flat,
)
from backprop_tui.core.comparison_evals import Evaluation
from backprop_tui.core.comparison_figures import binned, measured
from backprop_tui.core.events import Amended, Evaluated, Saved
from backprop_tui.core.history import History
from backprop_tui.core.interval import wilson
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.scores import Figure
from tests.core.test_verdict import run as made_run
from tests.core.worlds import run_file

PROVENANCE = ProvenanceSection(
    data_path="/data/pairs.jsonl",
    data_sha256="a" * 64,
    rows=112,
    kept=110,
    train_rows=100,
    heldout_rows=10,
    device="CPU",
    precision="fp32",
    learning_rate="given",
    packages={"torch": "2.13.0", "trl": "1.16.0"},
)


def subject(
    name: str = "one",
    changes: dict[str, Any] | None = None,
    method: str = "simpo",
    history: History | None = None,
    evaluations: tuple[Evaluation, ...] = (),
    **made: Any,
) -> Subject:
    plan = run_file(changes or {}, method)
    plan = plan.model_copy(update={"provenance": PROVENANCE.model_copy(update=made)})
    return Subject(name, f"runs/{name}", "finished", history or made_run(method), plan, evaluations)


def apart(told: Comparison, group: str) -> dict[str, tuple[str | None, ...]]:
    return {row.key: row.values for row in getattr(told, group).differ}


def same(*subjects: Subject) -> SameRows:
    return compare(subjects).heldout


def test_settings_that_differ_stand_side_by_side_and_the_others_are_counted() -> None:
    told = compare([subject(), subject("two", {"lora.rank": 8, "output": "elsewhere"})])
    assert apart(told, "settings") == {"lora.rank": ("16", "8")}
    assert (
        told.settings.same
        == len([key for key in flat(run_file({}, "simpo")) if not key.startswith("data.")]) - 1
    )
    assert told.data.differ == ()
    assert told.made_with.differ == ()


def test_a_key_that_only_one_method_has_is_none_for_the_other() -> None:
    told = compare([subject(), subject("two", method="ipo")])
    found = apart(told, "settings")
    assert found["method"] == ("simpo", "ipo")
    assert found["simpo.gamma"] == ("1", None)
    assert found["ipo.tau"] == (None, "0.1")


def test_full_fine_tuning_is_said_and_has_no_rank() -> None:
    found = apart(compare([subject(), subject("two", {"lora": None})]), "settings")
    assert found["lora"] == (None, "none: every weight is trained")
    assert found["lora.rank"] == ("16", None)


def test_what_it_was_made_with_and_what_changed_on_the_way() -> None:
    history = made_run("simpo")
    history.add(Amended(t=1.0, step=7, why="memory", changes={"training.batch_size": "1"}))
    two = subject(
        "two",
        history=history,
        packages={"torch": "2.12.0", "trl": "1.16.0"},
        learning_rate="clamped from 1e-05 (simpo)",
        lowered={"data.max_length": "512"},
        device="a card",
    )
    assert apart(compare([subject(), two]), "made_with") == {
        "device": ("CPU", "a card"),
        "rate used": ("given", "clamped from 1e-05 (simpo)"),
        "torch": ("2.13.0", "2.12.0"),
        "lowered: data.max_length": (None, "512"),
        "changed: training.batch_size": (None, "1 from step 7"),
    }


def test_data_that_differ_by_reason() -> None:
    two = subject("two", dropped={"empty text": 3, "identical sides": 0}, cut={"prompt cut": 2})
    assert apart(compare([subject(), two]), "data") == {
        "dropped: empty text": (None, "3"),
        "cut: prompt cut": (None, "2"),
    }


def test_the_same_held_out_rows() -> None:
    found = same(subject(), subject("two", method="dpo"))
    assert found == SameRows(True, "The held-out rows are the same in every run: 10.")


@pytest.mark.parametrize(
    ("two", "why"),
    [
        (subject(data_sha256="b" * 64), "the data file itself"),
        (subject(changes={"data.heldout_seed": 1}), "data.heldout_seed"),
        (subject(changes={"data.heldout": 0.2}), "data.heldout"),
        (subject(changes={"data.columns": {"prompt": "q"}}), "data.columns"),
        (subject(method="kto"), "method (each reads"),
        (subject(heldout_rows=9), "their number"),
        (subject(heldout_rows=0), "holds no rows out"),
        (subject(dropped={"answer longer than max_length": 1}), "cut or dropped differently"),
    ],
)
def test_other_held_out_rows_cannot_be_compared_and_why(two: Subject, why: str) -> None:
    found = same(subject(), two)
    assert found.same is False
    assert why in found.why


def test_a_longer_max_length_that_cut_nothing_reads_the_same_rows() -> None:
    longer = {"data.max_length": 4096}
    assert same(subject(), subject(changes=longer)).same is True
    cut = {"prompt cut": 2}
    found = same(subject(cut=cut), subject(changes=longer, cut=cut))
    assert (found.same, "data.max_length" in found.why) == (False, True)


def test_without_a_hash_nobody_knows() -> None:
    bare = replace(subject(), plan=RunFile())
    assert same(subject(), bare).same is None
    told = compare([subject(), replace(subject("two"), plan=None)])
    assert told.heldout.same is None
    assert "settings are not known: two" in told.notes[-1]


def test_scales_of_different_methods_are_told() -> None:
    assert SCALES in compare([subject(), subject(method="dpo")]).notes
    assert SCALES not in compare([subject(), subject()]).notes
    knobs = compare([subject(), subject(changes={"simpo.beta": 4.0})]).notes
    assert any("method's own numbers" in note for note in knobs)


def test_overlapping_intervals_are_no_difference() -> None:
    def accurate(last: float) -> Subject:
        return subject(history=made_run("simpo", accuracy=lambda x: 0.5 + x * (last - 0.5)))

    near = " ".join(compare([accurate(0.9), accurate(0.85)]).notes)
    far = " ".join(compare([accurate(0.95), accurate(0.6)]).notes)
    assert "may be chance" in near
    assert "do not overlap" not in near
    assert "do not overlap" in far
    other = compare([accurate(0.9), replace(subject(data_sha256="b" * 64))])
    assert not any("overlap" in note for note in other.notes)  # nothing to compare


def test_the_figures_of_a_run() -> None:
    found = measured(made_run("dpo", rows=100, accuracy=lambda x: 0.5 + x * 0.4), None)
    assert (found.verdict, found.step, found.heldout_rows) == ("learned", 30, 100)
    assert found.accuracy == pytest.approx(0.9)
    assert found.interval == wilson(found.accuracy or 0.0, 100)
    assert (found.start_accuracy, found.start_margin) == (0.5, 0.0)
    assert found.heldout_margin == pytest.approx(0.5)
    assert len(found.accuracies) == 4
    assert found.accuracies[-1][0] == 30


def test_the_accuracy_is_that_of_the_weights_that_were_saved() -> None:
    history = made_run("dpo")
    best = history.evaluations[2]
    history.add(Saved(t=9.0, step=best.step, path="runs/one/adapter", kind="adapter"))
    found = measured(history, None)
    assert found.heldout_step == best.step < history.evaluations[-1].step
    assert found.accuracy == best.accuracy


def test_a_run_without_an_event_has_no_figures() -> None:
    told = compare([subject(), subject("two", history=History())])
    values = {row.key: row.values for row in told.figures}
    assert values["held-out accuracy"][1] is None
    assert values["verdict"][1] == "too-short"


def test_sft_has_losses_and_no_margin() -> None:
    history = History()
    history.add(Evaluated(t=0.0, step=0, rows=5, loss=2.0))
    told = compare([subject(method="sft", history=history)] * 2)
    keys = [row.key for row in told.figures]
    assert "held-out loss" in keys
    assert not any("margin" in key for key in keys)


def test_a_train_curve_is_thinned_to_means() -> None:
    assert binned([(i, float(i)) for i in range(1, 11)], 5) == (
        *((2, 1.5), (4, 3.5), (6, 5.5), (8, 7.5), (10, 9.5)),
    )
    assert binned([(1, 2.0)], 5) == ((1, 2.0),)
    assert binned([], 5) == ()


def evaluation(name: str = "heldout", sha: str = "a" * 64, rows: int = 10) -> Evaluation:
    figure = Figure("accuracy", 0.8, 0.6, 0.9, rows, base=0.5)
    return Evaluation(name, "/data/pairs.jsonl", sha, rows, (figure,), heldout=name == "heldout")


def test_evaluations_of_the_same_rows_stand_side_by_side() -> None:
    mine = (evaluation(), evaluation("other-1234", "c" * 64))
    told = compare([subject(evaluations=mine), subject("two", evaluations=mine[:1])])
    assert [one.name for one in told.evals] == ["heldout"]
    assert told.evals[0].figures == (("accuracy", (mine[0].figures[0],) * 2),)
    assert (
        "Of runs/two there is no evaluation on /data/pairs.jsonl: "
        "backprop-tui eval runs/two --data /data/pairs.jsonl makes one."
    ) in told.notes


def test_evaluations_of_other_held_out_rows_are_left_out() -> None:
    mine = (evaluation(),)  # the file is the same one: what is held out of it is not
    two = subject("two", {"data.heldout_seed": 1}, evaluations=mine)
    told = compare([subject(evaluations=mine), two])
    assert told.evals == ()
    assert any("eval of the held-out rows is left out" in note for note in told.notes)
    fewer = (evaluation("file-1", rows=9),)
    told = compare([subject(evaluations=(evaluation("file-1"),)), subject(evaluations=fewer)])
    assert told.evals == ()
    assert any("not of the same rows everywhere" in note for note in told.notes)


def test_the_same_tokens_are_the_same_rows_whatever_the_run_files_say() -> None:
    """kto reads a pair apart; eval measures it as a pair again."""
    mine = replace(evaluation(), tokens_sha256="t")
    two = subject("two", method="kto", evaluations=(mine,))
    told = compare([subject(evaluations=(mine,)), two])
    assert told.heldout.same is False
    assert [one.name for one in told.evals] == ["heldout"]


def test_of_several_evaluations_those_of_the_same_tokens_are_taken() -> None:
    old = replace(evaluation(), tokens_sha256="t")
    new = replace(evaluation(), tokens_sha256="u", figures=(Figure("accuracy", 0.1, 0, 0.2, 10),))
    told = compare([subject(evaluations=(new, old)), subject("two", evaluations=(old,))])
    assert told.evals[0].figures == (("accuracy", (old.figures[0],) * 2),)


def test_rows_read_as_other_tokens_are_told() -> None:
    one, two = (replace(evaluation("file-1"), tokens_sha256=sha) for sha in "tu")
    told = compare([subject(evaluations=(one,)), subject("two", evaluations=(two,))])
    assert len(told.evals) == 1
    assert any("read as other tokens" in note for note in told.notes)
    same = compare([subject(evaluations=(one,)), subject("two", evaluations=(one,))])
    assert not any("other tokens" in note for note in same.notes)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"max_new_tokens": 64}, "token_f1, regex"),
        ({"regex": "[0-9]"}, "regex"),
        (
            {"figures": (Figure("accuracy", 1, 1, 1, 10), Figure("token_f1", 1, 1, 1, 4))},
            "token_f1",
        ),
    ],
)
def test_answers_that_were_not_written_alike_are_left_out(
    change: dict[str, Any], left_out: str
) -> None:
    names = ("accuracy", "token_f1", "regex")
    figures = tuple(Figure(name, 0.5, 0.4, 0.6, 10) for name in names)
    one = replace(
        evaluation(), tokens_sha256="t", figures=figures, max_new_tokens=256, regex="[a-z]"
    )
    two = replace(one, **change)
    told = compare([subject(evaluations=(one,)), subject("two", evaluations=(two,))])
    kept = [metric for metric, _ in told.evals[0].figures]
    assert kept == [name for name in names if name not in left_out]
    assert any(f": {left_out} left out: of other rows" in note for note in told.notes)


def test_every_value_is_in_words() -> None:
    keys = flat(runfile_io.change(run_file({}, "orpo"), {"data.columns": {"prompt": "q"}}))
    assert keys["data.columns"] == '{"prompt": "q"}'
    assert keys["training.checkpointing"] == "true"
    assert keys["training.max_steps"] == "not set"
    assert not any(key.startswith(("provenance", "output", "schema")) for key in keys)

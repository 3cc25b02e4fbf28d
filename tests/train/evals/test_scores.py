"""Log-probabilities of an evaluation against transformers alone, and where they are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Evaluated, Finished
from backprop_tui.core.rows import Pair
from backprop_tui.core.scores import PairLogps
from backprop_tui.runs.lock import Lock
from backprop_tui.train.evals.heldout import heldout_pairs
from backprop_tui.train.evals.material import encoded, read_heldout
from backprop_tui.train.evals.passes import Evaluation
from backprop_tui.train.evals.subject import Side, run_subject
from backprop_tui.train.evals.weights import tokenizer_of
from tests.conftest import DoneRun, pocket_run, run_training

CHANGES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "full": {"lora": None},
    "bf16": {"model.precision": "bf16"},
    "nf4": {"model.precision": "nf4"},
}


class Runs:
    """A finished simpo run a kind of weights, by name, trained when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, dict[str, DoneRun]()

    def __getitem__(self, name: str) -> DoneRun:
        if name not in self.made:
            run = pocket_run("simpo", self.folder / name, CHANGES[name])
            self.made[name] = run_training(run)
            assert isinstance(self.made[name].ending, Finished)
        return self.made[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("scored"))


@pytest.fixture
def run(runs: Runs, tmp_path: Path) -> Path:
    """A copy of the run in float32, without evaluations."""
    ignored = shutil.ignore_patterns("evals")
    return Path(shutil.copytree(runs["fp32"].folder, tmp_path / "run", ignore=ignored))


def by_transformers(folder: Path, side: Side) -> list[PairLogps]:
    """Each answer of each held-out pair by itself, from the logits of the model as PEFT or
    transformers load it."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = next(folder / name for name in ("adapter", "model") if (folder / name).is_dir())
    base = json.loads((weights / "adapter_config.json").read_text())["base_model_name_or_path"]
    model = (
        AutoPeftModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        if side == "tuned"
        else AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(weights)
    subject = run_subject(folder)

    def summed(prompt: str, whole: str) -> tuple[float, int]:
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        while ids[-1] != tokenizer.eos_token_id:  # the template's line end after the turn
            ids.pop()
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        each = [float(logps[at - 1, ids[at]]) for at in range(start, len(ids))]
        return sum(each), len(each)

    found = []
    for row in read_heldout(subject.run, folder).rows:
        assert isinstance(row, Pair)
        turns = [{"role": one.role, "content": one.content} for one in row.prompt]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        sides = []
        for answer in (row.chosen, row.rejected):
            more = [{"role": one.role, "content": one.content} for one in answer]
            sides.append(
                summed(prompt, tokenizer.apply_chat_template(turns + more, tokenize=False))
            )
        (chosen, n), (rejected, m) = sides
        found.append(PairLogps(row.number, chosen, rejected, n, m))
    return found


@pytest.mark.parametrize("side", ["tuned", "base"])
def test_log_probabilities_are_those_of_transformers_alone(runs: Runs, side: Side) -> None:
    folder = runs["fp32"].folder
    wanted = by_transformers(folder, side)
    found = heldout_pairs(folder, base=side == "base")
    assert len(found) == 20
    for one, other in zip(found, wanted, strict=True):
        assert (one.number, one.chosen_tokens, one.rejected_tokens) == (
            other.number,
            other.chosen_tokens,
            other.rejected_tokens,
        )
        assert one.chosen == pytest.approx(other.chosen, abs=1e-4)
        assert one.rejected == pytest.approx(other.rejected, abs=1e-4)


@pytest.mark.parametrize(
    "name",
    ["fp32", "full", pytest.param("bf16", marks=pytest.mark.slow), "nf4"],
)
def test_both_sides_have_the_figures_that_training_measured(runs: Runs, name: str) -> None:
    """Quantised, half and fully trained weights too; the base is what step 0 saw."""
    done = runs[name]
    measured = [event for event in done.events if isinstance(event, Evaluated)]
    for base, event in ((True, measured[0]), (False, measured[-1])):
        found = heldout_pairs(done.folder, base=base)
        mean = sum(one.chosen / one.chosen_tokens for one in found) / len(found)
        assert mean == pytest.approx(event.logp_chosen, abs=1e-6)
        summed = sum(one.rejected for one in found) / len(found)
        assert summed == pytest.approx(event.logp_rejected_sum, abs=1e-4)


def test_they_are_measured_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = heldout_pairs(run)

    def loads(*_: Any) -> None:
        raise AssertionError("the model was loaded again")

    monkeypatch.setattr("backprop_tui.train.evals.weights.Weights._load", loads)
    assert heldout_pairs(run) == first
    with pytest.raises(AssertionError):  # the other side was not measured yet
        heldout_pairs(run, base=True)


def test_another_adapter_is_measured_anew(run: Path) -> None:
    first = heldout_pairs(run)
    from safetensors.torch import load_file, save_file

    weights = run / "adapter" / "adapter_model.safetensors"
    save_file({name: 3 * one for name, one in load_file(weights).items()}, weights)
    second = heldout_pairs(run)
    assert [one.number for one in second] == [one.number for one in first]
    assert max(abs(a.chosen - b.chosen) for a, b in zip(first, second, strict=True)) > 0.1
    assert sorted(path.name for path in (run / "evals").iterdir()) == ["heldout", "heldout-2"]


@pytest.mark.parametrize("tokens", [1, pytest.param(300, marks=pytest.mark.slow), 100_000])
def test_no_score_depends_on_the_batch(runs: Runs, run: Path, tokens: int) -> None:
    wanted = {one.number: one for one in heldout_pairs(runs["fp32"].folder)}
    subject = run_subject(run, batch_tokens=tokens)
    tokenizer = tokenizer_of(subject, trust_remote_code=False)
    material = encoded(read_heldout(subject.run, run), tokenizer, max_length=128, cut_answers=False)
    with Evaluation(subject, material, tokenizer) as evaluation:
        found = evaluation.scores("tuned")
    for number, score in found.items():
        assert score.logps[0] == pytest.approx(wanted[number].chosen, abs=1e-4)
        assert score.logps[1] == pytest.approx(wanted[number].rejected, abs=1e-4)


def test_kto_on_pairs_holds_out_the_same_pairs(tmp_path: Path) -> None:
    """Its rows are single answers; what was held out are both answers of some prompts."""
    pairs = tmp_path / "pairs.jsonl"
    bundled = Path(__file__).parents[3] / "backprop_tui" / "demo" / "pairs.jsonl"
    pairs.write_bytes(bundled.read_bytes())
    done = run_training(pocket_run("kto", tmp_path / "kto", {"data.path": str(pairs)}))
    assert isinstance(done.ending, Finished)
    found = heldout_pairs(done.folder)
    assert len(found) == 20
    assert all(one.chosen < 0 for one in found)


def _change(name: str, old: str, new: str) -> Any:
    def spoil(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_change("run.toml", 'model_sha256 = "', 'model_sha256 = "0'), "EVAL_BASE_CHANGED"),
        (_change("run.toml", 'data_sha256 = "', 'data_sha256 = "0'), "EVAL_DATA_CHANGED"),
        (_change("run.toml", "heldout = 0.05", "heldout = 0.0"), "EVAL_NO_HELDOUT"),
        (_change("run.toml", 'path = "pocket"', 'path = "gone.jsonl"'), "DATA_NOT_FOUND"),
        (lambda run: shutil.rmtree(run / "adapter"), "RUN_NOTHING_LEARNED"),
        (
            lambda run: (run / "adapter" / "adapter_model.safetensors").rename(
                run / "adapter" / "other.safetensors"
            ),
            "RUN_NOTHING_LEARNED",
        ),
        (lambda run: (run / "run.toml").unlink(), "RUNFILE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    run: Path, spoil: Any, code: str
) -> None:
    spoil(run)
    with pytest.raises(BackpropError) as caught:
        heldout_pairs(run)
    assert caught.value.code == code
    assert not (run / "evals").exists()


def test_single_answers_are_no_pairs(done_runs: Runs) -> None:
    with pytest.raises(BackpropError) as caught:
        heldout_pairs(done_runs["kto"].folder)
    assert caught.value.code == "EVAL_NO_PAIRS"


def test_a_run_in_training_is_refused(run: Path) -> None:
    lock = Lock.take(run)
    try:
        with pytest.raises(BackpropError) as caught:
            heldout_pairs(run)
    finally:
        lock.release()
    assert caught.value.code == "RUN_OWNED"

"""Whole evaluations: answers, going on after a stop, marked answers, conversations, files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from backprop_tui.core.errors import BackpropError
from backprop_tui.probe.data import DataSource
from backprop_tui.runs.lock import Lock
from backprop_tui.train.evals import passes
from backprop_tui.train.evals.evaluate import Asked, Result, evaluate
from backprop_tui.train.evals.generate import batches
from backprop_tui.train.evals.material import encoded, read_file
from backprop_tui.train.evals.score import Scorer
from backprop_tui.train.evals.store import RowFile, read_summary
from backprop_tui.train.evals.subject import find_subject, run_subject
from backprop_tui.train.evals.weights import tokenizer_of
from tests.conftest import DoneRun

WRITE = Asked(texts=12, max_new=24)


@pytest.fixture(scope="module")
def trained(moved_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short simpo run whose adapter has moved."""
    return Path(shutil.copytree(moved_run, tmp_path_factory.mktemp("evaluated") / "a"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("evals")
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=ignored))


def measured(folder: Path, asked: Asked = WRITE, **options: Any) -> Result:
    return evaluate(
        run_subject(folder, batch_tokens=options.pop("most", None)), None, asked, **options
    )


def written(folder: Path, name: str) -> dict[int, dict[str, Any]]:
    lines = (folder / name).read_text().splitlines()[1:]
    return {row["row"]: row for row in map(json.loads, lines)}


def test_answers_are_the_same_one_by_one_and_in_batches(run: Path, trained: Path) -> None:
    together, alone = measured(trained), measured(run, most=1)
    for side in ("tuned", "base"):
        found = [written(one.folder, f"texts-{side}-24.jsonl") for one in (together, alone)]
        assert len(found[0]) == 12
        assert found[0] == found[1]
    tuned, base = (written(together.folder, f"texts-{side}-24.jsonl") for side in ("tuned", "base"))
    assert tuned != base
    for one, other in zip(together.figures, alone.figures, strict=True):
        assert one.tuned == pytest.approx(other.tuned, abs=1e-5)
        assert one.difference == pytest.approx(other.difference, abs=1e-5)


def test_answers_are_those_of_transformers_alone(trained: Path) -> None:
    """The likeliest token each time, from the whole text so far, without cache or padding."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(
        trained / "adapter", dtype=torch.float32
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained / "adapter")
    done = measured(trained)
    found = written(done.folder, "texts-tuned-24.jsonl")
    rows = {row.number: row for row in _heldout(trained)}
    for number, text in list(found.items())[:3]:
        turns = [{"role": one.role, "content": one.content} for one in rows[number].prompt]
        opening = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(opening, add_special_tokens=False)["input_ids"]
        start = len(ids)
        while len(ids) < start + 24 and (len(ids) == start or ids[-1] != tokenizer.eos_token_id):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        wanted = tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
        assert (text["text"], text["tokens"]) == (wanted, len(ids) - start)
        assert text["ended"] == (ids[-1] == tokenizer.eos_token_id)


def _heldout(folder: Path) -> list[Any]:
    from backprop_tui.train.evals.material import read_heldout

    return read_heldout(run_subject(folder).run, folder).rows


def stopping_after(batches: int) -> Callable[[], bool]:
    left = [batches]

    def asked() -> bool:
        left[0] -= 1
        return left[0] < 0

    return asked


def test_a_stopped_evaluation_goes_on_to_the_same_summary(
    run: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(Path(shutil.copytree(run, tmp_path / "whole" / "run")), most=300)
    scored: list[int] = []
    score = Scorer.score

    def counted(self: Scorer, places: Any) -> Any:
        scored.extend(self.items[place].number for place in places)
        return score(self, places)

    monkeypatch.setattr(Scorer, "score", counted)
    for batches_done in (3, 2, 6):
        with pytest.raises(passes.Stopped):
            measured(run, most=300, stopping=stopping_after(batches_done))
        for file in (run / "evals" / "heldout").glob("*.jsonl"):
            with file.open("ab") as torn:
                torn.write(b'{"row": 7, "logps": [-1.0')
    done = measured(run, most=300)
    assert done.folder == run / "evals" / "heldout"
    assert sorted(scored) == sorted([row.number for row in _heldout(run)] * 2)
    ours, theirs = (one.folder / "summary.json" for one in (done, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    for name in ("scores-tuned", "scores-base", "texts-tuned-24", "texts-base-24"):
        files = [(one.folder / f"{name}.jsonl").read_bytes() for one in (done, whole)]
        assert files[0].rpartition(b"\n")[0] == files[1].rpartition(b"\n")[0]
    again = measured(run, most=300)
    assert again.summary == done.summary
    assert len(scored) == 40


def test_more_answers_are_added_to_those_that_are_there(run: Path) -> None:
    first = measured(run, Asked(texts=3, max_new=8))
    before = (first.folder / "texts-base-8.jsonl").read_bytes()
    second = measured(run, Asked(texts=6, max_new=8))
    assert (second.folder / "texts-base-8.jsonl").read_bytes().startswith(before)
    assert len(written(second.folder, "texts-base-8.jsonl")) == 6
    assert {one.n for one in second.figures if one.name == "length"} == {6}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{"),
        pytest.param(
            "summary.json", '{"schema": 1, "figures": [], "of": {}}', marks=pytest.mark.slow
        ),
        pytest.param("summary.json", '{"mine": true}', marks=pytest.mark.slow),
        ("scores-tuned.jsonl", '{"schema": 1, "rows_of": "scores-tuned", "of": {}}\n'),
        pytest.param("scores-base.jsonl", "\x00\x01 not ours\n", marks=pytest.mark.slow),
    ],
)
def test_what_belongs_to_others_is_left_alone(run: Path, name: str, content: str) -> None:
    theirs = run / "evals" / "heldout" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text(content)
    done = measured(run, Asked())
    assert done.folder.name == "heldout-2"
    assert theirs.read_text() == content
    assert read_summary(done.folder / "summary.json") == done.summary


def test_a_row_that_says_nothing_is_measured_again(run: Path) -> None:
    done = measured(run, Asked())
    file = done.folder / "scores-tuned.jsonl"
    lines = file.read_text().splitlines()
    first = json.loads(lines[1])["row"]
    lines[1] = json.dumps({"row": first, "logps": "gone"})
    lines[2] = "damaged"
    file.write_text("\n".join(lines) + "\n")
    again = measured(run, Asked())
    assert again.summary == done.summary
    assert len(file.read_text().splitlines()) == 23


def test_a_folder_has_one_writer(run: Path) -> None:
    folder = run / "evals" / "heldout"
    folder.mkdir(parents=True)
    lock = Lock.take(folder)
    try:
        with pytest.raises(BackpropError) as caught:
            measured(run, Asked())
    finally:
        lock.release()
    assert caught.value.code == "EVAL_BUSY"


def test_marked_answers_are_ranked(done_runs: dict[str, DoneRun]) -> None:
    """kto on answers without pairs: accuracy is the area under the ROC curve."""
    folder = done_runs["kto"].folder
    done = measured(folder, Asked(texts=2, max_new=4))
    assert done.material.kind == "marked"
    figures = {one.name: one for one in done.figures}
    scores = written(done.folder, "scores-tuned.jsonl")
    labels = [item.label for item in done.material.items]
    values = [scores[item.number] for item in done.material.items]
    wanted = roc_auc_score(labels, [one["logps"][0] / one["tokens"][0] for one in values])
    assert figures["accuracy"].tuned == pytest.approx(wanted)
    assert figures["loss"].n == sum(map(bool, labels)) < figures["accuracy"].n
    good = {item.number for item in done.material.items if item.label}
    assert set(written(done.folder, "texts-tuned-4.jsonl")) <= good


def test_conversations_have_a_loss_of_every_answer(
    done_runs: dict[str, DoneRun], tmp_path: Path
) -> None:
    """Against transformers alone: the assistant's tokens of both turns, and no others."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chats = tmp_path / "chats.jsonl"
    turns = [
        {"role": "user", "content": "What is a tree?"},
        {"role": "assistant", "content": "A plant with a trunk."},
        {"role": "user", "content": "And a lake?"},
        {"role": "assistant", "content": "Water with land around it."},
    ]
    chats.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns[:2]}))
    subject = run_subject(done_runs["sft"].folder)
    done = evaluate(subject, DataSource(str(chats)), Asked(texts=2, max_new=4))
    assert [one.name for one in done.figures][:2] == ["loss", "perplexity"]
    assert done.absent["accuracy"].startswith("conversations have one answer each")
    folder = str(subject.facts.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    wanted: list[float] = []
    for some in (turns, turns[:2]):
        ids = tokenizer(tokenizer.apply_chat_template(some, tokenize=False))["input_ids"]
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        for at in range(1, len(some), 2):
            before = tokenizer.apply_chat_template(
                some[:at], tokenize=False, add_generation_prompt=True
            )
            after = tokenizer.apply_chat_template(some[: at + 1], tokenize=False)
            start, stop = (len(tokenizer(one)["input_ids"]) for one in (before, after.rstrip()))
            wanted += [float(logps[i - 1, ids[i]]) for i in range(start, stop)]
    base = next(one.base for one in done.figures if one.name == "loss")
    assert base == pytest.approx(-sum(wanted) / len(wanted), abs=1e-5)
    # The first answer of a longer conversation is context for what is generated.
    assert len(written(done.folder, "texts-base-4.jsonl")) == 2


def test_a_model_by_itself_has_one_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = evaluate(find_subject("pocket"), DataSource("pocket"), Asked(limit=6))
    assert done.folder.parent == Path("evals/pocket")
    assert done.folder.name.endswith("-first-6")
    assert {one.n for one in done.figures} == {6}
    assert all(one.base is None for one in done.figures)
    gated = evaluate(
        find_subject("pocket"), DataSource("pocket"), Asked(limit=6, gates=(("loss", 0.1),))
    )
    assert not gated.passed
    assert "no base to compare with" in gated.gates[0].reason
    with pytest.raises(BackpropError) as caught:
        evaluate(find_subject("pocket"), None, Asked())
    assert caught.value.code == "EVAL_NO_HELDOUT"


def test_rows_that_cannot_be_used_are_counted(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows: list[dict[str, str]] = [
        {"prompt": "Hello", "chosen": "Hi there", "rejected": "No"},
        {"prompt": "Hello", "chosen": "Hi", "rejected": "Hi"},
        {"prompt": "Hello", "chosen": "word " * 400, "rejected": "No"},
        {"prompt": "Bye", "chosen": "See you", "rejected": "What"},
    ]
    data.write_text("\n".join(map(json.dumps, rows)) + "\n{broken")
    done = evaluate(run_subject(run), DataSource(str(data)), Asked(limit=3))
    assert done.summary["rows"] == 2
    assert done.unused == {
        "identical sides": 1,
        "unparseable line": 1,
        "answer longer than max_length": 1,
    }
    assert done.summary["rows"] + sum(done.unused.values()) == done.summary["rows_in_data"] == 5
    assert done.folder.name.startswith("pairs-")
    data.write_text(json.dumps(rows[2]))
    with pytest.raises(BackpropError) as caught:
        evaluate(run_subject(run), DataSource(str(data)), Asked())
    assert caught.value.code == "EVAL_NO_ROWS"


def test_a_score_that_is_no_number_is_counted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Scorer.score

    def broken(self: Scorer, places: Any) -> Any:
        from dataclasses import replace

        found = score(self, places)
        return [replace(found[0], logps=(float("nan"), -1.0)), *found[1:]]

    monkeypatch.setattr(Scorer, "score", broken)
    done = measured(run, Asked(gates=(("accuracy", 1.0),)), most=100_000)
    assert done.unused == {"a score that is no finite number": 1}
    assert {one.n for one in done.figures} == {19}
    # The rows that are left do not speak for a model that breaks on others.
    assert [gate.passed for gate in done.gates] == [False]
    assert "cannot be computed: 1 row with a score that is no finite number" in done.gates[0].reason


def test_a_gate_on_answers_has_some_written(run: Path) -> None:
    done = measured(run, Asked(max_new=2, gates=(("contains", 0.5), ("regex", 0.5))))
    assert done.summary["settings"]["generate"] == 100
    assert [gate.passed for gate in done.gates] == [True, False]
    assert "no --regex was given" in done.gates[1].reason
    assert any("20 examples, under 100" in warning for warning in done.warnings)


def test_a_gate_on_answers_that_are_not_written_fails_and_says_how(run: Path) -> None:
    done = measured(run, Asked(texts=0, gates=(("token_f1", 1.0),)))
    assert [gate.passed for gate in done.gates] == [False]
    assert "token_f1 cannot be computed: nothing was generated; --generate N" in (
        done.gates[0].reason
    )


def test_prompts_that_leave_no_room_for_an_answer_are_the_reason(run: Path) -> None:
    done = measured(run, Asked(texts=4, max_new=100_000, pattern="x"))
    assert {done.absent[name] for name in ("repetition", "regex", "final_number")} == {
        "no row could be answered"
    }
    assert any("20 rows got no answer" in warning for warning in done.warnings)


def test_the_data_it_learned_from_is_no_test(run: Path) -> None:
    text = (run / "run.toml").read_text()
    assert "data_path" in text
    done = evaluate(run_subject(run), DataSource("pocket", method="simpo"), Asked(limit=4))
    assert any("is the file the run was trained on" in warning for warning in done.warnings)


def test_batches_of_prompts_stay_within_the_tokens(run: Path) -> None:
    subject = run_subject(run)
    tokenizer = tokenizer_of(subject, trust_remote_code=False)
    material = encoded(
        read_file(DataSource("pocket"), subject.run), tokenizer, max_length=128, cut_answers=False
    )
    items = material.items[:50]
    plan = batches(items, 400, 20)
    assert sorted(place for batch in plan for place in batch) == list(range(50))
    sizes = [len(b) * (max(len(items[at].group.prompt) for at in b) + 20) for b in plan]
    assert max(sizes) <= 400
    assert len(batches(items, 1, 20)) == 50


def test_a_file_of_rows_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    one = RowFile(path, {"of": 1}, lambda _: True)
    one.append([{"row": 1}])
    one.close()
    with pytest.raises(BackpropError) as caught:
        RowFile(path, {"of": 2}, lambda _: True)
    assert caught.value.code == "EVAL_FOREIGN_FILE"
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackpropError) as caught:
        RowFile(link, {"of": 1}, lambda _: True).append([{"row": 1}])
    assert caught.value.code == "WRITE_REFUSED"

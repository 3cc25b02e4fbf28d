"""train(): order of events, the run folder, stop and save, failures, replay."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Preparing,
    Saved,
    Started,
    Step,
    Warned,
    from_line,
)
from backprop_tui.core.runfile_io import change
from backprop_tui.probe.model import probe_model
from backprop_tui.train.model import weights_sha256
from tests.conftest import DONE, DoneRun, pocket_run, run_training

TIMES = {"t", "tokens_per_second", "rows_per_second", "mfu", "seconds"}
MEMORY = {"memory", "memory_reserved", "memory_peak"}


def figures(folder: Path) -> list[dict[str, Any]]:
    """Steps and evaluations of events.jsonl without what a clock or an allocator decides."""
    found = []
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = from_line(line)
        if isinstance(event, Step | Evaluated):
            plain = dataclasses.asdict(event)
            found.append({key: value for key, value in plain.items() if key not in TIMES | MEMORY})
    return found


@pytest.mark.parametrize("method", DONE)
def test_events_come_in_order_and_end_with_finished(
    method: str, done_runs: dict[str, DoneRun]
) -> None:
    done = done_runs[method]
    kinds = [type(event) for event in done.events]
    assert kinds[0] is Preparing
    assert kinds[-1] is Finished
    assert done.events[-1] == done.ending
    started = kinds.index(Started)
    assert all(kind in (Preparing, Warned) for kind in kinds[:started])
    steps = [event.step for event in done.events if isinstance(event, Step)]
    assert steps == [1, 2, 3, 4]
    measured = [event.step for event in done.events if isinstance(event, Evaluated)]
    assert measured == [0, 2, 4]
    saved = [(event.step, event.kind) for event in done.events if isinstance(event, Saved)]
    assert saved == [(2, "checkpoint"), (4, "checkpoint"), (4, "adapter")]


@pytest.mark.parametrize("method", DONE)
def test_folder_holds_the_events_as_they_were_emitted(
    method: str, done_runs: dict[str, DoneRun]
) -> None:
    done = done_runs[method]
    lines = (done.folder / "events.jsonl").read_text().splitlines()
    stored = [from_line(line) for line in lines]
    # The data is judged, and the folder named, before there is one.
    assert stored == done.events[2:]
    assert done.folder.stat().st_mode & 0o777 == 0o700


def test_run_file_in_the_folder_proves_the_run(done_runs: dict[str, DoneRun]) -> None:
    raw = tomllib.loads((done_runs["kto"].folder / "run.toml").read_text())
    provenance = raw["provenance"]
    assert provenance["packages"]["trl"].startswith("1.16")
    assert len(provenance["data_sha256"]) == 64
    assert len(provenance["model_sha256"]) == 64
    assert len(provenance["chat_template_sha256"]) == 64
    assert provenance["train_rows"] + provenance["heldout_rows"] == provenance["kept"]
    assert raw["orpo" if "orpo" in raw else "kto"] is raw["kto"]
    assert Path(raw["output"]).is_absolute()


def test_replay_gives_the_same_figures_digit_for_digit(
    done_runs: dict[str, DoneRun], tmp_path: Path
) -> None:
    first = done_runs["simpo"].folder
    run, _ = runfile_io.read(first / "run.toml", [f"output={tmp_path / 'again'}"], env={})
    again = run_training(run, strict=True)
    assert isinstance(again.ending, Finished)
    assert len(figures(first)) == 7
    assert figures(again.folder) == figures(first)


def test_another_seed_gives_other_figures(done_runs: dict[str, DoneRun], tmp_path: Path) -> None:
    other = run_training(pocket_run("simpo", tmp_path / "run", {"training.seed": 7}))
    assert figures(other.folder)[1:] != figures(done_runs["simpo"].folder)[1:]


def test_peft_and_transformers_alone_load_the_adapter_and_generate(
    done_runs: dict[str, DoneRun],
) -> None:
    code = """
import sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
inputs = tokenizer.apply_chat_template([{"role": "user", "content": "Is it cold?"}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
assert "backprop_tui" not in sys.modules
print(out.shape[1] - inputs["input_ids"].shape[1])
"""
    adapter = done_runs["simpo"].folder / "adapter"
    out = subprocess.run(
        [sys.executable, "-c", code, str(adapter)], capture_output=True, text=True, check=True
    )
    assert 1 <= int(out.stdout.split()[-1]) <= 8


class StopAt:
    """Asks for a stop (or a save) when an event of a kind arrives."""

    def __init__(self, kind: type[Event], ask: str = "stop", step: int = 1) -> None:
        self.control, self.kind, self.ask, self.step = Control(), kind, ask, step
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self.kind) and getattr(event, "step", self.step) == self.step:
            getattr(self.control, self.ask)()


def run_with(watcher: StopAt, run: Any) -> Finished | Failed:
    from backprop_tui.train.runner import train

    return train(run, watcher, watcher.control)


def test_stop_takes_effect_within_one_step_and_leaves_an_adapter(tmp_path: Path) -> None:
    watcher = StopAt(Step, step=2)
    run = pocket_run("simpo", tmp_path / "run", {"training.max_steps": 50})
    ending = run_with(watcher, run)
    assert isinstance(ending, Finished)
    assert ending.stopped
    steps = [event.step for event in watcher.events if isinstance(event, Step)]
    assert steps[-1] <= 3
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


def test_stop_during_an_evaluation_does_not_wait_for_its_end(tmp_path: Path) -> None:
    watcher = StopAt(Evaluated, step=2)
    run = pocket_run(
        "simpo", tmp_path / "run", {"training.max_steps": 50, "training.eval_steps": 2}
    )
    ending = run_with(watcher, run)
    assert isinstance(ending, Finished)
    assert ending.step <= 3
    assert ending.path


def test_stop_before_the_first_step_saves_nothing_and_says_so(tmp_path: Path) -> None:
    watcher = StopAt(Preparing)
    ending = run_with(watcher, pocket_run("simpo", tmp_path / "run"))
    assert isinstance(ending, Finished)
    assert ending.stopped
    assert ending.path == ""
    assert not (tmp_path / "run" / "adapter").exists()


def test_save_now_writes_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    watcher = StopAt(Step, ask="save", step=1)
    run = pocket_run("simpo", tmp_path / "run", {"training.save_steps": 100})
    ending = run_with(watcher, run)
    saved = [event.step for event in watcher.events if isinstance(event, Saved)]
    assert isinstance(ending, Finished)
    assert ending.step == 4
    assert saved[0] in (1, 2)


def test_existing_output_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    taken = tmp_path / "run"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    done = run_training(pocket_run("simpo", taken))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "OUTPUT_EXISTS"
    assert done.ending.exit_code == 1
    assert [entry.name for entry in taken.iterdir()] == ["mine.txt"]


def test_wrong_shape_is_refused_before_any_folder_is_made(tmp_path: Path) -> None:
    data = tmp_path / "marks.jsonl"
    data.write_text('{"prompt": "a", "completion": "b", "label": true}\n' * 5)
    done = run_training(pocket_run("orpo", tmp_path / "run", {"data.path": str(data)}))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "data-shape-mismatch"
    assert "Methods that fit: kto" in done.ending.message
    assert done.ending.exit_code == 1
    assert not (tmp_path / "run").exists()


def test_kto_trains_on_pairs_read_as_single_answers(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": f"I {'do ' * i}not know."}
        for i in range(1, 31)
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    changes = {"data.path": str(data), "data.max_length": 24, "data.heldout": 0.1}
    done = run_training(pocket_run("kto", tmp_path / "run", changes))
    assert isinstance(done.ending, Finished), done.ending
    started = next(event for event in done.events if isinstance(event, Started))
    # The long rejected answers are dropped; the chosen halves of those pairs still train.
    dropped = sum(started.dropped.values())
    assert 5 < dropped < 15
    assert started.train_rows + started.heldout_rows == 60 - dropped
    said = [event.code for event in done.events if isinstance(event, Warned)]
    assert "kto-one-label" not in said


def test_exception_in_a_step_becomes_a_sentence_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    def broken(*_args: Any, **_named: Any) -> None:
        raise RuntimeError("the flux capacitor is empty")

    monkeypatch.setattr(Trainer, "training_step", broken)
    done = run_training(pocket_run("simpo", tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert "the flux capacitor is empty" in done.ending.message
    assert "Traceback" not in done.ending.message
    assert done.ending.exit_code == 3
    assert "Traceback" in Path(done.ending.log).read_text()


def test_out_of_memory_names_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import Trainer

    def full(*_args: Any, **_named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "training_step", full)
    done = run_training(pocket_run("simpo", tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_OUT_OF_MEMORY"
    assert "batch_size" in done.ending.hint


def test_loss_that_is_not_a_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import Trainer

    original = Trainer.training_step

    def poisoned(self: Any, *args: Any, **named: Any) -> Any:
        loss = original(self, *args, **named)
        return torch.full_like(loss, float("nan")) if self.state.global_step == 2 else loss

    monkeypatch.setattr(Trainer, "training_step", poisoned)
    done = run_training(pocket_run("simpo", tmp_path / "run"))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "RUN_NOT_FINITE"
    assert (done.folder / "checkpoints" / "checkpoint-2").is_dir()
    assert not (done.folder / "adapter").exists()


def test_replay_of_changed_data_names_the_drift_and_strict_refuses(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"Is {i} small?", "chosen": f"Yes, {i} is.", "rejected": "Who knows."}
        for i in range(30)
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    first = run_training(pocket_run("simpo", tmp_path / "one", {"data.path": str(data)}))
    assert isinstance(first.ending, Finished)
    data.write_text("\n".join(json.dumps(row) for row in rows[1:]))
    recorded = first.folder / "run.toml"

    run, _ = runfile_io.read(recorded, [f"output={tmp_path / 'two'}"], env={})
    again = run_training(run)
    drift = [event for event in again.events if isinstance(event, Warned)]
    assert any(event.code == "replay-drift" and "data sha256" in event.message for event in drift)
    assert isinstance(again.ending, Finished)

    run, _ = runfile_io.read(recorded, [f"output={tmp_path / 'three'}"], env={})
    refused = run_training(run, strict=True)
    assert isinstance(refused.ending, Failed)
    assert refused.ending.code == "REPLAY_DRIFT"


def test_rows_dropped_by_length_are_reported(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    long = "The rain falls on the leaves. " * 60
    rows = [{"prompt": f"Q{i}?", "chosen": f"Yes {i}.", "rejected": "No."} for i in range(20)]
    rows += [{"prompt": f"L{i}?", "chosen": long, "rejected": "No."} for i in range(3)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    run = change(
        pocket_run("simpo", tmp_path / "run", {"data.path": str(data), "data.max_length": 64}),
        {"data.heldout": 0.0},
    )
    done = run_training(run)
    started = next(event for event in done.events if isinstance(event, Started))
    assert started.train_rows == 20
    assert started.dropped == {"answer longer than max_length": 3}
    codes = {event.code for event in done.events if isinstance(event, Warned)}
    assert "rows-dropped-by-length" in codes


def test_kto_balance_follows_the_rows_really_trained_on(tmp_path: Path) -> None:
    """Nine of ten good rows are too long: the balance is of what is left."""
    data = tmp_path / "marks.jsonl"
    long = "The rain falls on the leaves. " * 60
    rows = [{"prompt": f"Q{i}?", "completion": f"Yes {i}.", "label": True} for i in range(8)]
    rows += [{"prompt": f"L{i}?", "completion": long, "label": True} for i in range(24)]
    rows += [{"prompt": f"B{i}?", "completion": f"No {i}.", "label": False} for i in range(16)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    run = pocket_run(
        "kto",
        tmp_path / "run",
        {"data.path": str(data), "data.max_length": 64, "data.heldout": 0.0},
    )
    done = run_training(run)
    balance = [
        event
        for event in done.events
        if isinstance(event, Warned) and event.code == "kto-rebalanced"
    ]
    assert "8 good and 16 bad" in balance[0].message
    assert "2 good, 1 bad" in balance[0].message


def copy_of_pocket(folder: Path) -> Path:
    import shutil

    source = probe_model("pocket").path
    assert source is not None
    return Path(shutil.copytree(source, folder))


def test_weights_that_are_missing_are_refused_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = copy_of_pocket(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    gone = next(name for name in weights if "q_proj" in name)
    del weights[gone]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    done = run_training(pocket_run("simpo", tmp_path / "run", {"model.id": str(model)}))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "MODEL_BROKEN_WEIGHTS"
    assert gone in done.ending.message
    assert done.ending.exit_code == 1


def test_tokenizer_without_an_end_of_turn_is_refused(tmp_path: Path) -> None:
    model = copy_of_pocket(tmp_path / "model")
    path = model / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for key in ("eos_token", "pad_token"):
        config.pop(key, None)
    path.write_text(json.dumps(config))
    done = run_training(pocket_run("simpo", tmp_path / "run", {"model.id": str(model)}))
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "MODEL_NO_EOS"


def test_template_that_breaks_on_every_row_is_named(tmp_path: Path) -> None:
    template = tmp_path / "bad.jinja"
    template.write_text("{{ 1 / 0 }}")
    run = pocket_run("simpo", tmp_path / "run", {"model.chat_template": str(template)})
    done = run_training(run)
    assert isinstance(done.ending, Failed)
    assert done.ending.code == "data-nothing-to-train"
    assert "chat_template" in done.ending.hint


def test_rows_without_a_prompt_train(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [{"chosen": f"Yes, {i} is small.", "rejected": f"Who knows of {i}."} for i in range(20)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    done = run_training(pocket_run("simpo", tmp_path / "run", {"data.path": str(data)}))
    assert isinstance(done.ending, Finished)
    assert done.ending.path


def test_the_adapter_s_readme_says_how_to_load_it(done_runs: dict[str, DoneRun]) -> None:
    card = (done_runs["simpo"].folder / "adapter" / "README.md").read_text()
    assert 'AutoPeftModelForCausalLM.from_pretrained("adapter")' in card
    assert "More Information Needed" not in card


def test_an_old_run_file_is_said_to_replay_on_another_engine(
    done_runs: dict[str, DoneRun], tmp_path: Path
) -> None:
    """Before the lean engine came nothing was written of it, and TRL computed."""
    first = done_runs["simpo"].folder / "run.toml"
    old = tmp_path / "old.toml"
    text = first.read_text()
    words = next(line for line in text.splitlines() if line.startswith('engine = "shared'))
    old.write_text(text.replace(words + "\n", "").replace('engine = "lean"\n', ""))
    run, _ = runfile_io.read(old, [f"output={tmp_path / 'again'}"], env={})
    again = run_training(run, strict=True)
    assert isinstance(again.ending, Failed)
    assert "engine TRL -> lean" in again.ending.message


def test_another_configuration_is_another_model(tmp_path: Path) -> None:
    """The same weights with another config.json compute something else."""
    pocket = probe_model("pocket").path
    assert pocket
    folder = shutil.copytree(pocket, tmp_path / "model")
    before = weights_sha256(probe_model(str(folder)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0}))
    assert weights_sha256(probe_model(str(folder))) != before


def test_a_checkpoint_resumes_to_the_same_adapter(tmp_path: Path) -> None:
    """Order of rows, schedule, optimizer and dropout go on where they were."""
    from tests.train.test_trainers import PAIRS, adapters, build

    changes = {"training.save_steps": 2, "lora.dropout": 0.1, "training.batch_size": 2}
    run = pocket_run("simpo", tmp_path / "run", changes)
    whole, _ = build(run, PAIRS, tmp_path)
    whole.train()
    again, _ = build(run, PAIRS, tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert again.state.global_step == 4
    for name, tensor in adapters(again).items():
        assert tensor.equal(adapters(whole)[name]), name

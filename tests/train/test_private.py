"""What a run writes is its owner's alone and holds no secret; what it reads runs no code.

That a model with pickle weights only is refused before anything of it is loaded is held by
tests/probe/test_model.py, and what counts as a secret by tests/core/test_redact.py.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backprop_tui.core.events import Failed, Finished
from backprop_tui.runs import launch as launching
from backprop_tui.runs.lock import Lock
from backprop_tui.runs.requests import ask
from tests.conftest import DoneRun, pocket_run, run_training
from tests.train.test_resume import resume, stopped_at

TOKEN = "hf_" + "Zq7Xw9Lk" * 4


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def files_with(secret: str, folder: Path) -> list[Path]:
    """Files that have the secret in their bytes or in their name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes() or secret in path.name]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoneRun]:
    """A run that was stopped after step 2. A token is in the environment, and by the umask whatever
    is made may be read by everybody."""
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        before = os.umask(0)
        try:
            run = pocket_run("simpo", folder / "run", {"training.max_steps": 3})
            yield DoneRun(run, [], stopped_at(2, run), folder / "run")
        finally:
            os.umask(before)


def test_only_the_owner_reads_a_run(done: DoneRun) -> None:
    assert isinstance(done.ending, Finished), done.ending
    assert mode(done.folder) == 0o700, "whatever lies in it, nobody else comes to it"
    assert mode(done.folder / "control") == 0o700
    assert mode(done.folder / "events.jsonl") == 0o600
    assert mode(done.folder / "run.lock") == 0o600


def test_only_the_owner_reads_a_request(done: DoneRun, tmp_path: Path) -> None:
    folder = shutil.copytree(done.folder, tmp_path / "run")
    shutil.rmtree(folder / "control")
    lock = Lock.take(folder)
    ask(folder, "save")
    lock.release()
    assert mode(folder / "control") == 0o700
    assert mode(folder / "control/save") == 0o600


def test_no_file_of_a_run_holds_the_token(done: DoneRun) -> None:
    assert files_with(TOKEN, done.folder) == []


def test_no_file_of_a_failed_run_holds_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def load_tokenizer(*_: Any, **__: Any) -> None:
        logging.getLogger("hub").warning("asking with %s", TOKEN)
        raise ValueError(f"401 for https://me:{TOKEN}@hub.example/model?token={TOKEN}")

    monkeypatch.setattr("backprop_tui.train.model.load_tokenizer", load_tokenizer)
    failed = run_training(pocket_run("simpo", tmp_path / "run"))
    assert isinstance(failed.ending, Failed)
    log = (tmp_path / "run/run.log").read_text()
    assert "asking with ***" in log
    assert "401 for https://***@hub.example" in log
    assert "401 for https://***@hub.example" in (tmp_path / "run/events.jsonl").read_text()
    assert files_with(TOKEN, tmp_path / "run") == []


@pytest.mark.parametrize("key", ["model.id", "data.path"])
def test_a_path_that_is_refused_leaves_no_file(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    failed = run_training(pocket_run("simpo", tmp_path / "run", {key: f"/nowhere/{TOKEN}/x"}))
    assert isinstance(failed.ending, Failed)
    assert failed.ending.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_is_told_no_secret(
    done: DoneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    waits = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")
    monkeypatch.setattr(launching, "COMMAND", waits)
    folder = shutil.copytree(done.folder, tmp_path / "run")
    process = launching.launch(folder, trust_remote_code=True)
    try:
        until = time.monotonic() + 60
        while "here" not in launching.last_said(folder) and time.monotonic() < until:
            time.sleep(0.01)
        about = Path(f"/proc/{process.pid}")
        told = (about / "cmdline").read_bytes().decode().split("\0")[:-1]
        given = (about / "environ").read_bytes().decode().split("\0")
    finally:
        process.kill()
        process.wait()
    assert told == [*waits, "--trust-remote-code", "--", str(folder)]
    assert f"HF_TOKEN={TOKEN}" in given, "which only its owner can read"


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_runs_no_code(name: str, done: DoneRun, tmp_path: Path) -> None:
    folder = shutil.copytree(done.folder, tmp_path / "run")
    place = folder / "checkpoints/checkpoint-2" / name
    assert place.is_file()
    place.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    state = json.loads((place.parent / "run_state.json").read_text())
    state["files"][name] = place.stat().st_size  # so that it counts as whole
    (place.parent / "run_state.json").write_text(json.dumps(state))
    _, ending = resume(folder)
    assert not (tmp_path / "ran").exists()
    assert isinstance(ending, Failed), ending
    assert ending.code == "RUN_CHECKPOINT_DAMAGED"
    assert "weights_only" not in ending.message, "torch's own words say how to run it"
    pickle.loads(place.read_bytes())
    assert (tmp_path / "ran").exists(), "read by hand it does run"

"""Cells on a local Ray of two workers: both at once, and one whose worker is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_tui.core.errors import InputError
from backprop_tui.core.grid import plan_ablation
from backprop_tui.runs.ablation import AblationFolder, begin
from backprop_tui.runs.ablation_table import Table
from backprop_tui.runs.lock import owner
from backprop_tui.train.ablation import on_ray
from backprop_tui.train.ablation.cells import Doing
from backprop_tui.train.ablation.runner import run_cells
from tests.conftest import pocket_run

GRID = ["method=orpo,simpo"]
# Long enough to be killed in the middle, and saved often.
CHANGES = {"training.max_steps": 60, "training.save_steps": 10, "training.eval_steps": 30}
DRIVER = """
import sys
from pathlib import Path
from backprop_tui.runs.ablation import AblationFolder, read_plan
from backprop_tui.train.ablation.cells import Doing
from backprop_tui.train.ablation.on_ray import run_on_ray
folder = AblationFolder(Path(sys.argv[1]))
stop = Path(sys.argv[2])
def say(text):
    print(text, flush=True)
done = run_on_ray(Doing(folder, stop.exists), read_plan(folder), say, "local")
print("decided" if done else "stopped", flush=True)
"""


class FakeRay:
    """What `_share` asks of Ray."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


@pytest.mark.parametrize(
    ("device", "cards", "share"),
    [
        ("auto", 4, {"num_gpus": 1, "num_cpus": 1}),
        ("cuda", 1, {"num_gpus": 1, "num_cpus": 1}),
        ("auto", 0, {"num_cpus": 1}),
        ("cpu", 4, {"num_cpus": 1}),
    ],
)
def test_a_cell_asks_for_a_card_where_there_is_one(
    tmp_path: Path, device: str, cards: int, share: dict[str, int]
) -> None:
    plan = plan_ablation(pocket_run("simpo", tmp_path, {"machine.device": device}))
    assert on_ray._share(FakeRay(CPU=8, GPU=cards), plan) == share


def test_a_plan_for_cards_is_refused_where_there_are_none(tmp_path: Path) -> None:
    plan = plan_ablation(pocket_run("simpo", tmp_path, {"machine.device": "cuda"}))
    with pytest.raises(InputError) as caught:
        on_ray._share(FakeRay(CPU=8), plan)
    assert caught.value.code == "ABLATION_RAY_NO_CARD"


def made(path: Path) -> AblationFolder:
    folder = AblationFolder(path)
    begin(folder, plan_ablation(pocket_run("simpo", path, CHANGES), grid=GRID))
    return folder


def driver(folder: AblationFolder) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.path), str(folder.path / "stop-it")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps(folder: AblationFolder, name: str) -> int:
    events = folder.cell(name) / "events.jsonl"
    return events.read_text().count('"event": "Step"') if events.exists() else 0


def weights(folder: AblationFolder, name: str) -> bytes:
    return (folder.cell(name) / "adapter" / "adapter_model.safetensors").read_bytes()


def until(done: object, process: subprocess.Popen[str], what: str) -> None:
    assert callable(done)
    end = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_at_once_and_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    alone, folder = made(tmp_path / "alone"), made(tmp_path / "ray")
    plan = plan_ablation(pocket_run("simpo", folder.path, CHANGES), grid=GRID)
    assert run_cells(Doing(alone, lambda: False), plan, lambda _text: None)
    with driver(folder) as process:
        owners = {}

        def both() -> bool:
            for name in ("orpo", "simpo"):
                if (found := owner(folder.cell(name))) is not None:
                    owners[name] = found.pid
                else:
                    owners.pop(name, None)
            return len(owners) == 2 and steps(folder, "orpo") >= 12

        until(both, process, "two cells at once")
        worker = int(Path(f"/proc/{owners['orpo']}/stat").read_text().rpartition(")")[2].split()[1])
        assert b"ray::" in Path(f"/proc/{worker}/cmdline").read_bytes()
        os.kill(worker, 9)
        said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "decided"
    assert said.startswith("Ray: one CPU a cell")
    text = (folder.cell("orpo") / "events.jsonl").read_text()
    assert '"event": "Resumed"' in text
    for name in ("orpo", "simpo"):
        assert weights(folder, name) == weights(alone, name)
        ours, theirs = (json.loads(one.scores(name).read_text()) for one in (folder, alone))
        assert ours == theirs
    assert [row.state for row in Table(folder, plan).rows()] == ["scored"] * 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stop_is_passed_on_to_the_workers(tmp_path: Path) -> None:
    folder = made(tmp_path / "ray")
    with driver(folder) as process:
        until(lambda: steps(folder, "orpo") >= 2, process, "a step")
        (folder.path / "stop-it").touch()
        said = process.communicate(timeout=120)[0]
    assert said.splitlines()[-1] == "stopped"
    plan = plan_ablation(pocket_run("simpo", folder.path, CHANGES), grid=GRID)
    rows = {row.name: row for row in Table(folder, plan).rows()}
    assert rows["orpo"].state == "stopped"
    assert list((folder.cell("orpo") / "checkpoints").glob("checkpoint-*"))
    assert not folder.stop.exists()


@pytest.mark.parametrize(
    ("program", "limit", "words"),
    [
        ("import time; time.sleep(60)", 0.5, "nothing answered within 0.5 seconds"),
        ("raise SystemExit('no cluster\\nof that name')", 60.0, "there: of that name"),
        ("raise SystemExit(3)", 60.0, "no reason was given"),
    ],
)
def test_a_cluster_that_is_not_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, limit: float, words: str
) -> None:
    monkeypatch.setattr(on_ray, "TRY", program)
    monkeypatch.setattr(on_ray, "CONNECT", limit)
    folder = made(tmp_path / "ray")
    plan = plan_ablation(pocket_run("simpo", folder.path, CHANGES), grid=GRID)
    with pytest.raises(InputError) as caught:
        on_ray.run_on_ray(Doing(folder, lambda: False), plan, print, "127.0.0.1:1")
    assert caught.value.code == "ABLATION_RAY_UNREACHABLE"
    assert words in caught.value.message
    assert os.listdir(folder.path / "cells") == []


def test_a_stop_ends_the_wait_for_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "TRY", "import time; time.sleep(60)")
    folder = made(tmp_path / "ray")
    plan = plan_ablation(pocket_run("simpo", folder.path, CHANGES), grid=GRID)
    assert on_ray.run_on_ray(Doing(folder, lambda: True), plan, print, "127.0.0.1:1") is None


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_ray_itself_is_given_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(on_ray, "CONNECT", 20.0)
    with pytest.raises(InputError, match="no Ray cluster is reached there"):
        on_ray._reach(Doing(AblationFolder(tmp_path), lambda: False), address)

"""Two processes, started by the real launchers, train as one with twice the accumulation."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.events import Evaluated, Event, Failed, Finished, Started, Step, from_line
from backprop_tui.train.distributed import Agreed, Team
from tests.conftest import pocket_run, run_training

ROOT = Path(__file__).parents[2]
CHANGED = str(Path(__file__).with_name("one_of_several.py"))
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
# A machine without cards has to be told that more than one process is meant.
DDP = [*ACCELERATE, "--multi_gpu"]
FSDP = [
    *(*ACCELERATE, "--use_fsdp", "--fsdp_version", "2"),
    *("--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
]
MEASURES = {"t", "tokens_per_second", "rows_per_second", "memory", "memory_peak"}
NEAR = 1e-5
METHODS = ("simpo", "kto", "dpo")


def launched(
    launcher: list[str], *run_files: Path, changed: bool = False, **environment: str
) -> subprocess.Popen[str]:
    """A run in two processes; they end with the launcher, which is to be waited for."""
    program = [CHANGED] if changed else ["-m", "backprop_tui", "run"]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    if len(run_files) > 1:
        settings["PORTS"] = " ".join(map(str, free_ports(len(run_files))))
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *program, *map(str, run_files)],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def ended(process: subprocess.Popen[str], seconds: float = 100) -> str:
    """What was said; fails, and leaves no process behind, when it takes long."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        launcher = psutil.Process(process.pid)
        for member in [*launcher.children(recursive=True), launcher]:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        pytest.fail(f"not ended after {seconds} s:\n{process.communicate(timeout=10)[0]}")


def planned(method: str, folder: Path, name: str, changes: Mapping[str, Any]) -> Path:
    """A run file for the folder of that name."""
    path = folder / f"{name}.toml"
    runfile_io.write(pocket_run(method, folder / name, dict(changes)), path)
    return path


def rows(path: Path, method: str) -> Path:
    """30 rows of the bundled examples, each with a prompt of its own."""
    name = "feedback.jsonl" if method == "kto" else "pairs.jsonl"
    examples = map(json.loads, (ROOT / "backprop_tui" / "demo" / name).read_text().splitlines())
    of_prompt = {row["prompt"]: row for row in examples}
    path.write_text("".join(f"{json.dumps(row)}\n" for row in list(of_prompt.values())[:30]))
    return path


def events(folder: Path) -> list[Event]:
    found = [from_line(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert None not in found
    return [event for event in found if event]


def assert_same_training(one: Path, other: Path) -> None:
    """The figures of every step and evaluation, and every tensor of the adapter."""
    from safetensors.torch import load_file

    figures: list[list[dict[str, Any]]] = []
    for folder in (one, other):
        kept = [dataclasses.asdict(e) for e in events(folder) if isinstance(e, Step | Evaluated)]
        figures.append([{k: v for k, v in e.items() if k not in MEASURES} for e in kept])
    assert len(figures[0]) == len(figures[1])
    for first, second in zip(*figures, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            near = value if value is None else pytest.approx(value, abs=NEAR, rel=NEAR)
            assert second[name] == near, (name, first["step"])
    weights = [load_file(f / "adapter" / "adapter_model.safetensors") for f in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < NEAR, name


TWO_EPOCHS = {
    "data.heldout": 0.2,  # 6 rows; 24 are two steps an epoch
    "training.max_steps": None,
    "training.epochs": 2.0,
    "training.batch_size": 3,
    "training.batch_tokens": 300,  # some batches in one part, some in two
    "training.eval_steps": 2,
    "training.save_steps": 4,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of run folders: METHOD is of one process, METHOD-ddp of two, METHOD-fsdp of two
    that divide the weights. And what the two launchers said."""
    folder = tmp_path_factory.mktemp("runs")
    files: dict[str, list[Path]] = {"ddp": [], "fsdp": []}
    for method in METHODS:
        data = {"data.path": str(rows(folder / f"{method}.jsonl", method))}
        plan = TWO_EPOCHS | data | {"training.accumulation": 4}
        done = run_training(pocket_run(method, folder / method, plan))
        assert isinstance(done.ending, Finished), done.ending
        for kind, found in files.items():
            half = plan | {"training.accumulation": 2}
            if kind == "ddp":  # a best one is saved by all, or each would wait for the others
                half["training.keep_best"] = True
            found.append(planned(method, folder, f"{method}-{kind}", half))
    said = {}
    # kto has all that is special: a reference, and forwards that differ in number.
    for kind, launcher, run_files, environment in (
        ("ddp", TORCHRUN, files["ddp"], {}),
        ("fsdp", FSDP, files["fsdp"][1:2], {"FSDP_ON_A_CPU": "1"}),
    ):
        process = launched(launcher, *run_files, changed=True, **environment)
        said[kind] = ended(process)
        assert process.returncode == 0, said[kind]
    return folder, said


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one_with_twice_the_accumulation(
    method: str, trained: tuple[Path, dict[str, str]]
) -> None:
    assert_same_training(trained[0] / method, trained[0] / f"{method}-ddp")


def test_weights_divided_among_processes_train_the_same(
    trained: tuple[Path, dict[str, str]],
) -> None:
    folder = trained[0] / "kto-fsdp"
    # Only weights that are divided are saved in pieces.
    assert (folder / "checkpoints" / "checkpoint-4" / "pytorch_model_fsdp_0").is_dir()
    assert_same_training(trained[0] / "kto", folder)


def test_one_process_alone_writes_and_speaks(trained: tuple[Path, dict[str, str]]) -> None:
    folder, said = trained
    happened = events(folder / "simpo-ddp")
    started = next(event for event in happened if isinstance(event, Started))
    assert started.device.startswith("2 x ")
    steps = [event.step for event in happened if isinstance(event, Step)]
    assert steps == list(range(1, started.steps + 1)) == [1, 2, 3, 4]
    assert sum(isinstance(event, Started | Finished) for event in happened) == 2
    assert isinstance(happened[-1], Finished)
    assert "--num_processes 2 -m backprop_tui run " in happened[-1].replay
    assert said["ddp"].count("2 processes: 2 x 3 x 2 = 12 rows a step") == len(METHODS)
    assert said["ddp"].count("finished at step 4") == len(METHODS)


def test_what_one_process_refuses_ends_both_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    process = launched(TORCHRUN, planned("simpo", tmp_path, "run", {}))
    said = ended(process)
    assert process.returncode == 1
    assert said.count("OUTPUT_EXISTS") == 1
    assert "exitcode  : 1" in said
    assert "exitcode  : -" not in said  # none was killed
    assert list((tmp_path / "run").iterdir()) == []


def test_what_all_processes_refuse_is_said_once(tmp_path: Path) -> None:
    data = tmp_path / "good.jsonl"
    row = {"prompt": "a", "completion": "b", "label": True}
    data.write_text("".join(json.dumps(row | {"prompt": f"a {i}"}) + "\n" for i in range(9)))
    process = launched(TORCHRUN, planned("kto", tmp_path, "run", {"data.path": str(data)}))
    said = ended(process)
    assert process.returncode == 1
    assert said.count("[kto-one-label]") == 1
    assert not (tmp_path / "run").exists()


def test_an_error_in_one_process_is_told_by_the_main_one(tmp_path: Path) -> None:
    run_file = planned("simpo", tmp_path, "run", {})
    process = launched(TORCHRUN, run_file, changed=True, FAIL_ON_RANK="1")
    said = ended(process)
    assert process.returncode == 1
    assert said.count("Rank 1: Training stopped with RuntimeError: the flux capacitor") == 1
    last = events(tmp_path / "run")[-1]
    assert isinstance(last, Failed)
    assert last.exit_code == 3
    log = (tmp_path / "run" / "run.log").read_text()
    assert "Traceback" in log
    assert "RuntimeError: the flux capacitor is empty" in log


@pytest.mark.parametrize(
    ("whom", "how"),
    [
        ("all", signal.SIGINT),
        pytest.param("1", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_stop_reaches_all_and_what_was_learned_is_saved(
    whom: str, how: signal.Signals, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run_file = planned("simpo", tmp_path, "run", {"training.max_steps": 10_000})
    process = launched(DDP if whom == "all" else TORCHRUN, run_file)
    end = time.monotonic() + 120
    while not (folder / "events.jsonl").exists() or '"Step"' not in (
        (folder / "events.jsonl").read_text()
    ):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    workers = psutil.Process(process.pid).children()
    asked = {"all": process.pid} | {w.environ()["RANK"]: w.pid for w in workers}
    os.kill(asked[whom], how)
    said = ended(process)
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    happened = events(folder)
    last = happened[-1]
    assert isinstance(last, Finished)
    assert last.stopped
    assert last.exit_code == 4
    assert sum(isinstance(event, Finished) for event in happened) == 1
    assert said.count("stopped and saved") == 1
    if whom != "all":  # the launcher tells the codes only of processes that end by themselves
        assert said.count("exitcode  : 4") == 2


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    team = Team.here()
    assert team.alone
    assert team.main
    assert team.any(True)
    assert not team.any(False)
    assert team.share("folder") == "folder"
    assert team.gather(3) == [3]


def test_the_launcher_says_who_this_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    team = Team.here()
    assert (team.rank, team.world, team.local_rank) == (5, 8, 1)
    assert not team.main


def test_one_process_asking_is_enough() -> None:
    from backprop_tui.core.control import Control

    class Other(Team):
        """Another process that was asked."""

        def any(self, mine: bool) -> bool:
            return True

    mine = Control()
    agreed = Agreed(mine, Other())
    assert agreed.stopping
    assert agreed.take_save()
    assert not mine.stopping

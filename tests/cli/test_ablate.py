"""`ablate` as it is typed, with the real trainer on the bundled model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.runs.ablation import AblationFolder, read_scores
from backprop_tui.runs.lock import Lock
from tests.cli.test_commands import backprop, marks
from tests.conftest import pocket_run

GRID = ("--grid", "method=orpo,simpo")


def run_file(path: Path, **changes: object) -> Path:
    run = runfile_io.change(pocket_run("simpo", path), {"output": None, **changes})
    runfile_io.write(run, path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run.toml and a finished ablation of two cells, runs/ablate-simpo-pocket."""
    home = tmp_path_factory.mktemp("ablate")
    run_file(home / "run.toml")
    done = backprop("ablate", "run.toml", *GRID, "--yes", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (home / "said.txt").write_text(done.stdout)
    return home


@pytest.fixture
def ablation(home: Path) -> AblationFolder:
    return AblationFolder(home / "runs" / "ablate-simpo-pocket")


def test_cost_progress_table_and_decision_are_printed(home: Path) -> None:
    said = (home / "said.txt").read_text()
    for words in (
        "grid       method\n",
        "cells      2 cells\n           orpo, simpo\n",
        "steps      4 a cell, 8 to take\n",
        "held out   20 rows (the same in every cell)\n",
        "time       not known before the first cell has taken steps\n",
        "folder     runs/ablate-simpo-pocket\n",
        "[1/2] orpo  begins\n",
        "[1/2] orpo  scored: ",
        "base  is scored on the held-out pairs\n",
        "right  margin  clean   train     rate    time\n",
        "\ndecision   ",
        "kept in    runs/ablate-simpo-pocket/result.json\n",
    ):
        assert words in said, words


def test_cells_are_ordinary_runs(home: Path, ablation: AblationFolder) -> None:
    listed = json.loads(backprop("runs", ablation.path / "cells", "--json", cwd=home).stdout)
    assert {(run["name"], run["state"], run["step"]) for run in listed["runs"]} == {
        ("orpo", "finished", 4),
        ("simpo", "finished", 4),
    }
    assert (ablation.cell("orpo") / "adapter" / "adapter_model.safetensors").is_file()
    first, second, base = (read_scores(ablation.scores(n)) for n in ("orpo", "simpo", "base"))
    assert first
    assert second
    assert base
    assert [p.number for p in first] == [p.number for p in second] == [p.number for p in base]
    assert len({tuple(p.chosen for p in some) for some in (first, second, base)}) == 3


def test_again_does_nothing_and_says_the_same(home: Path, ablation: AblationFolder) -> None:
    before = json.loads(ablation.result.read_text())
    events = (ablation.cell("simpo") / "events.jsonl").read_bytes()
    again = backprop("ablate", ablation.path, "--json", cwd=home)  # nothing to ask about
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == before
    assert "2 finished already" in again.stderr
    assert "no training is left" in again.stderr
    assert again.stderr.count("(already done)") == 2
    assert (ablation.cell("simpo") / "events.jsonl").read_bytes() == events


def test_another_plan_is_refused_with_its_keys(home: Path) -> None:
    done = backprop("ablate", "run.toml", *GRID, "--set", "training.max_steps=5", "--yes", cwd=home)
    assert done.returncode == 1
    assert "training.max_steps (4 there, 5 here)" in done.stderr
    assert "[ABLATION_CHANGED]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--grid", "simpo.bta=1"), "CONFIG_INVALID_SETTING", "did you mean simpo.beta?"),
        (("--grid", "simpo.beta=0,1"), "CONFIG_INVALID_SETTING", "a number above 0"),
        (("--max-cells", "3"), "ABLATION_TOO_LARGE", "4 cells; at most 3"),
        (("--set", "data.heldout=0"), "ABLATION_NO_HELDOUT", "nothing is held out"),
        (("--preset", "x"), "CONFIG_INVALID_SETTING", "2x2, paper, published"),
        (("--set", "engine=trl", "--preset", "paper", "--set", "method=rdpo"),
         "engine-no-trainer", "rdpo"),
        ((), "ABLATION_NOT_CONFIRMED", "--yes"),
    ],
)  # fmt: skip
def test_a_refusal_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: str, words: str
) -> None:
    run_file(tmp_path / "run.toml")
    yes = () if code == "ABLATION_NOT_CONFIRMED" else ("--yes",)
    done = backprop("ablate", "run.toml", *arguments, *yes, cwd=tmp_path)
    assert done.returncode == 1
    assert code in done.stderr
    assert words in done.stderr
    assert os.listdir(tmp_path) == ["run.toml"]


@pytest.mark.parametrize("typed", ["first", "runs/first", "runs/first/run.toml"])
def test_a_run_is_named_as_everywhere_else(tmp_path: Path, typed: str) -> None:
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    run_file(run / "run.toml")
    (run / "events.jsonl").touch()
    done = backprop("ablate", typed, cwd=tmp_path)
    assert "ABLATION_NOT_CONFIRMED" in done.stderr
    assert "folder     runs/ablate-simpo-pocket\n" in done.stdout


def test_a_name_that_is_no_run_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "runs" / "first" / "checkpoints").mkdir(parents=True)
    done = backprop("ablate", "frist", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean first?" in done.stderr
    assert "FILE_NOT_FOUND" in backprop("ablate", "frist.toml", cwd=tmp_path).stderr


def test_two_at_once_are_refused_in_words_of_an_ablation(
    home: Path, ablation: AblationFolder
) -> None:
    lock = Lock.take(ablation.path)
    try:
        done = backprop("ablate", ablation.path.name, cwd=home)  # by its name
    finally:
        lock.release()
    assert done.returncode == 1
    assert "RUN_OWNED" in done.stderr
    assert "backprop-tui runs runs/ablate-simpo-pocket/cells" in done.stderr


def test_unpaired_data_is_told_before_it_begins(tmp_path: Path) -> None:
    run_file(
        tmp_path / "run.toml", method="kto", **{"data.path": str(marks(tmp_path / "m", 40, 40))}
    )
    done = backprop("ablate", "run.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "the rule cannot decide" in done.stdout.replace("\n           ", " ")
    assert "kto-beta0.1-r8, kto-beta0.1-r16" in done.stdout


def test_a_plan_is_refused_beside_a_folder(home: Path, ablation: AblationFolder) -> None:
    done = backprop("ablate", ablation.path, *GRID, cwd=home)
    assert done.returncode == 2
    assert "has its plan in ablation.toml" in done.stderr


def test_without_ray_it_says_how_to_get_it(tmp_path: Path) -> None:
    run_file(tmp_path / "run.toml")
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
        "sys.argv = ['backprop-tui', 'ablate', 'run.toml', '--ray', 'local', '--yes']\n"
        "from backprop_tui.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "pip install 'backprop-tui[ray]'" in done.stderr
    assert "ABLATION_NO_RAY" in done.stderr


@pytest.mark.slow
def test_sigterm_stops_and_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run_file(tmp_path / "run.toml", **{"training.max_steps": 4000})
    command = [sys.executable, "-m", "backprop_tui", "ablate", "run.toml", *GRID, "--yes"]
    folder = AblationFolder(tmp_path / "runs" / "ablate-simpo-pocket")
    events = folder.cell("orpo") / "events.jsonl"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while not (events.exists() and '"step"' in events.read_text()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, told = process.communicate(timeout=60)
    assert process.returncode == 4, told
    assert "stopping after this step and saving" in told
    assert "[1/2] orpo  stopped and saved at step" in said
    assert "go on with it: backprop-tui ablate runs/ablate-simpo-pocket" in said
    assert list((folder.cell("orpo") / "checkpoints").glob("checkpoint-*"))
    assert not folder.cell("simpo").exists()
    done = backprop("ablate", "run.toml", *GRID, cwd=tmp_path)  # not confirmed: only the cost
    assert "about" in done.stdout
    assert "at the pace so far" in done.stdout

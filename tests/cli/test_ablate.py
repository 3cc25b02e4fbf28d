"""`ablate` as it is typed, with the real trainer on the bundled model."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_tui.cli import main
from backprop_tui.core import runfile_io
from backprop_tui.core.grid import plan_ablation
from backprop_tui.probe.survey import resolved
from backprop_tui.runs.ablation import AblationFolder, begin, read_scores, write_scores
from backprop_tui.runs.lock import Lock
from backprop_tui.train.evals.heldout import heldout_pairs
from tests.cli.test_commands import backprop, marks
from tests.conftest import DoneRun, pocket_run

GRID = ("--grid", "method=orpo,simpo")


def typed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """A command in this process, which is quicker: exit code, stdout, stderr."""
    before = sys.argv
    sys.argv = ["backprop-tui", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    code = ended.value.code
    said, told = capsys.readouterr()
    return code if isinstance(code, int) else 0, said, told


def run_file(path: Path, **changes: object) -> Path:
    run = runfile_io.change(pocket_run("simpo", path), {"output": None, **changes})
    runfile_io.write(run, path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, done_runs: dict[str, DoneRun]) -> Path:
    """A folder with run.toml and a finished ablation of two cells, runs/ablate-simpo-pocket: orpo
    and the base were done before, simpo is trained and scored by the command."""
    home = tmp_path_factory.mktemp("ablate")
    run = runfile_io.read(run_file(home / "run.toml"), (), {})[0]
    folder = AblationFolder(home / "runs" / "ablate-simpo-pocket")
    begin(folder, plan_ablation(resolved(run), grid=GRID[1:]))
    shutil.copytree(done_runs["orpo"].folder, folder.cell("orpo"))
    for name, base in (("orpo", False), ("base", True)):
        write_scores(folder.scores(name), heldout_pairs(folder.cell("orpo"), base=base))
    done = backprop("ablate", "run.toml", *GRID, "--yes", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (home / "said.txt").write_text(done.stdout)
    return home


@pytest.fixture
def ablation(home: Path, monkeypatch: pytest.MonkeyPatch) -> AblationFolder:
    """That one, from its home."""
    monkeypatch.chdir(home)
    return AblationFolder(Path("runs") / "ablate-simpo-pocket")


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with run.toml and nothing else."""
    monkeypatch.chdir(tmp_path)
    run_file(tmp_path / "run.toml")
    return tmp_path


def test_the_cost_is_shown_before_anything_is_written(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, told = typed(capsys, "ablate", "run.toml", *GRID)
    assert code == 1
    assert "ABLATION_NOT_CONFIRMED" in told
    for words in (
        "grid       method\n",
        "cells      2 cells\n           orpo, simpo\n",
        "steps      4 a cell, 8 to take\n",
        "held out   20 rows (the same in every cell)\n",
        "time       not known before the first cell has taken steps\n",
        "folder     runs/ablate-simpo-pocket\n",
    ):
        assert words in said, words
    assert os.listdir(plain) == ["run.toml"]


def test_a_warning_names_the_cells_it_is_about(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed(capsys, "ablate", "run.toml")[2]
    assert "warning  orpo-r8, orpo-r16: Rejected answers are" in told
    assert "--set method=simpo" not in told


def test_progress_table_and_decision_are_printed(home: Path) -> None:
    said = (home / "said.txt").read_text()
    for words in (
        "cells      2 cells; 1 finished already\n",
        "steps      4 a cell, 4 to take\n",
        "at the pace so far, and scoring\n",
        "[1/2] orpo  scored: ",
        "[2/2] simpo  begins\n",
        "[2/2] simpo  scored: ",
        "right  margin  clean   train     rate    time\n",
        "\ndecision   ",
        "kept in    runs/ablate-simpo-pocket/result.json\n",
    ):
        assert words in said, words


def test_cells_are_ordinary_runs(
    ablation: AblationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads(typed(capsys, "runs", ablation.path / "cells", "--json")[1])
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


def test_again_does_nothing_and_says_the_same(
    ablation: AblationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads(ablation.result.read_text())
    events = (ablation.cell("simpo") / "events.jsonl").read_bytes()
    code, said, told = typed(capsys, "ablate", ablation.path, "--json")  # nothing to ask about
    assert code == 0, told
    assert json.loads(said) == before
    assert "2 finished already" in told
    assert "no training is left" in told
    assert told.count("(already done)") == 2
    assert (ablation.cell("simpo") / "events.jsonl").read_bytes() == events


def test_another_plan_is_refused_with_its_keys(
    ablation: AblationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("--set", "training.max_steps=5")
    code, _, told = typed(capsys, "ablate", "run.toml", *GRID, *sets, "--yes")
    assert code == 1
    assert "training.max_steps (4 there, 5 here)" in told
    assert "[ABLATION_CHANGED]" in told


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
        (("--preset", "published", "--set", "method=rdpo"), "CONFIG_INVALID_SETTING",
         "methods with one: orpo, simpo"),
    ],
)  # fmt: skip
def test_a_refusal_writes_nothing(
    plain: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: str,
    words: str,
) -> None:
    ended, _, told = typed(capsys, "ablate", "run.toml", *arguments, "--yes")
    assert ended == 1
    assert code in told
    assert words in told
    assert os.listdir(plain) == ["run.toml"]


@pytest.mark.parametrize("named", ["first", "runs/first", "runs/first/run.toml"])
def test_a_run_is_named_as_everywhere_else(
    plain: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    run = plain / "runs" / "first"
    run.mkdir(parents=True)
    (plain / "run.toml").rename(run / "run.toml")
    (run / "events.jsonl").touch()
    _, said, told = typed(capsys, "ablate", named)
    assert "ABLATION_NOT_CONFIRMED" in told
    assert "folder     runs/ablate-simpo-pocket\n" in said


def test_a_name_that_is_no_run_is_told_with_the_nearest(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain / "runs" / "first" / "checkpoints").mkdir(parents=True)
    code, _, told = typed(capsys, "ablate", "frist")
    assert code == 1
    assert "did you mean first?" in told
    assert "RUNFILE_NOT_FOUND" in typed(capsys, "ablate", "frist.toml")[2]


def test_two_at_once_are_refused_in_words_of_an_ablation(
    ablation: AblationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Lock.take(ablation.path)
    try:
        code, _, told = typed(capsys, "ablate", ablation.path.name)  # by its name
    finally:
        lock.release()
    assert code == 1
    assert "RUN_OWNED" in told
    assert "backprop-tui runs runs/ablate-simpo-pocket/cells" in told


def test_a_folder_that_can_no_longer_be_written_is_a_sentence(
    ablation: AblationFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_a: object, **_o: object) -> None:
        raise OSError(28, "No space left on device", "scores/orpo.json")

    monkeypatch.setattr("backprop_tui.train.ablation.runner.run_cells", full)
    code, _, told = typed(capsys, "ablate", ablation.path)
    assert code == 1
    assert "scores/orpo.json cannot be written: No space left on device" in told
    assert "WRITE_REFUSED" in told
    Lock.take(ablation.path).release()


def test_unpaired_data_is_told_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(marks(tmp_path / "m", 40, 40))
    run_file(tmp_path / "run.toml", method="kto", **{"data.path": data})
    code, said, _ = typed(capsys, "ablate", "run.toml")
    assert code == 1
    assert "the rule cannot decide" in said.replace("\n           ", " ")
    assert "kto-beta0.1-r8, kto-beta0.1-r16" in said


def test_a_plan_is_refused_beside_a_folder(
    ablation: AblationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, told = typed(capsys, "ablate", ablation.path, *GRID)
    assert code == 2
    assert "has its plan in ablation.toml" in told


def test_without_ray_it_says_how_to_get_it(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    code, _, told = typed(capsys, "ablate", "run.toml", "--ray", "local", "--yes")
    assert code == 1
    assert "pip install 'backprop-tui[ray]'" in told
    assert "ABLATION_NO_RAY" in told


@pytest.mark.slow
def test_everything_is_done_by_the_command(tmp_path: Path) -> None:
    run_file(tmp_path / "run.toml")
    done = backprop("ablate", "run.toml", *GRID, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "[1/2] orpo  begins\n",
        "[1/2] orpo  scored: ",
        "base  its held-out pairs are being scored\n",
        "[2/2] simpo  begins\n",
        "[2/2] simpo  scored: ",
        "\ndecision   ",
    ):
        assert words in done.stdout, words


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

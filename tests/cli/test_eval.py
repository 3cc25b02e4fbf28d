"""`eval` as it is typed: its table, its gates and exit codes, signals, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backprop_tui.cli import app
from backprop_tui.core.errors import BackpropError
from tests.conftest import DoneRun, pocket_run, run_training

EVAL = (sys.executable, "-m", "backprop_tui", "eval")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished run runs/a."""
    home = tmp_path_factory.mktemp("home")
    training = {"max_steps": 16, "learning_rate": 4e-3, "eval_steps": 16, "save_steps": 16}
    changes = {f"training.{key}": value for key, value in training.items()}
    changes |= {"data.heldout": 0.26, "lora.rank": 8}
    done: DoneRun = run_training(pocket_run("simpo", home / "runs" / "a", changes))
    assert done.ending.exit_code == 0
    return home


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def here(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_the_table(home: Path) -> None:
    done = here("a")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "a on its held-out rows: 104 pairs"
    assert lines[2].split() == ["metric", "base", "tuned", "difference", "examples"]
    assert [line.split()[0] for line in lines[3:15:2]] == [
        *("accuracy", "accuracy_sum", "margin", "margin_sum", "loss", "perplexity")
    ]
    summary = json.loads((home / "runs/a/evals/heldout/summary.json").read_text())
    one = summary["figures"][0]
    assert lines[3].split() == [
        *("accuracy", f"{100 * one['base']:.1f}", "%", f"{100 * one['tuned']:.1f}", "%"),
        *(f"{100 * one['difference']:+.1f}", "points", "104"),
    ]
    between = f"{100 * one['tuned_low']:.1f} to {100 * one['tuned_high']:.1f}"
    assert between in lines[4]
    assert max(map(len, lines)) <= 80
    assert "--generate N has N rows answered" in " ".join(done.stdout.split())
    assert "results: runs/a/evals/heldout\n" in done.stderr


def test_json_says_the_same(home: Path) -> None:
    done = here("runs/a", "--json", "--gate", "loss", "--max-regression", "100")
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["rows"] == 104
    assert found["folder"] == "runs/a/evals/heldout"
    kept = json.loads((home / "runs/a/evals/heldout/summary.json").read_text())
    assert kept["figures"] == found["figures"]
    assert [gate["metric"] for gate in kept["gates"]] == ["loss"]


def test_gates_decide_the_exit_code() -> None:
    """Something got better and something got worse; each gate has its own bound."""
    figures = {one["name"]: one for one in json.loads(here("a", "--json").stdout)["figures"]}
    worse = figures["loss"]["difference"]
    assert figures["loss"]["low"] > 0  # simpo does not keep the answers likely
    assert figures["accuracy"]["difference"] > 0
    failed = here("a", "--gate", "accuracy", "--gate", "loss")
    assert failed.exit_code == 5
    assert "  passed  accuracy" in failed.stdout
    assert "  FAILED  loss" in failed.stdout
    assert "gate not passed: loss" in failed.stderr
    bounds = ("--max-regression", "0", "--max-regression", str(worse + 0.1))
    assert here("a", "--gate", "accuracy", "--gate", "loss", *bounds).exit_code == 0
    missing = here("a", "--gate", "regex")
    assert missing.exit_code == 5
    assert "regex cannot be computed: no --regex was given" in missing.stderr
    few = here("a", "--limit", "8", "--gate", "accuracy", "--max-regression", "1")
    assert few.exit_code == 0
    assert "8 examples, under 100" in few.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("a", "--gate", "length"), "EVAL_GATE_INVALID"),
        (("a", "--gate", "loss", "--max-regression", "-1"), "EVAL_GATE_INVALID"),
        (("a", "--regex", "("), "EVAL_PATTERN_INVALID"),
        (("a", "--data", "gone.jsonl"), "DATA_NOT_FOUND"),
        (("./gone", "--data", "pocket"), "MODEL_NOT_FOUND"),
        (("pocket",), "EVAL_NO_HELDOUT"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: tuple[str, ...], code: str) -> None:
    done = here(*arguments)
    assert isinstance(done.exception, BackpropError)
    assert done.exception.code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ("a", "--max-regression", "0"),
        ("a", "--gate", "loss", "--max-regression", "0", "--max-regression", "1"),
        ("a", "--column", "prompt=q"),
        ("a", "--device", "tpu"),
    ],
)
def test_options_that_do_not_fit_together(arguments: tuple[str, ...]) -> None:
    assert here(*arguments).exit_code == 2


def test_a_name_that_is_nearly_a_run_is_told() -> None:
    shutil.copytree("runs/a", "runs/simpo-pocket", ignore=shutil.ignore_patterns("evals"))
    done = here("simpo-poket", "--data", "pocket")
    assert isinstance(done.exception, BackpropError)
    assert done.exception.hint == "did you mean the run simpo-pocket?"


def slow(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Row by row, so that there is time to end it."""
    words = (*EVAL, str(folder), "--batch-tokens", "1", *more)
    return subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs have SIGINT ignored, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(file: Path, lines: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.005)
    raise AssertionError(f"it ended before it was stopped: {process.communicate()}")


@pytest.mark.slow
def test_ended_and_killed_it_goes_on_where_it_was(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "b"
    shutil.copytree(home / "runs/a", run, ignore=shutil.ignore_patterns("evals"))
    rows = run / "evals" / "heldout" / "scores-tuned.jsonl"
    interrupted = slow(run)
    wait_for(rows, 5, interrupted)
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, said
    assert f"to go on: backprop-tui eval {run} --batch-tokens 1\n" in said
    assert "Traceback" not in said
    first = rows.read_text().splitlines()
    assert 5 <= len(first) < 105
    killed = slow(run)
    wait_for(rows, len(first) + 5, killed)
    killed.kill()
    killed.communicate(timeout=60)
    done = here(run, "--batch-tokens", "1", "--json")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"scoring, tuned: 104 rows, \d+ of them were there", done.stderr)
    lines = rows.read_text().splitlines()
    assert lines[: len(first)] == first
    numbers = [json.loads(line)["row"] for line in lines[1:]]
    assert len(numbers) == len(set(numbers)) == 104
    whole = json.loads(here("a", "--json").stdout)
    found = json.loads(done.stdout)
    for one, other in zip(found["figures"], whole["figures"], strict=True):
        assert one["name"] == other["name"]
        for key in ("base", "tuned", "difference", "low", "high"):
            assert one[key] == pytest.approx(other[key], abs=1e-5)


def test_on_a_terminal_there_is_a_bar(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "c"
    shutil.copytree(home / "runs/a", run, ignore=shutil.ignore_patterns("evals"))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        (*EVAL, str(run), "--batch-tokens", "600", "--limit", "40"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait(60) == 0
    text = shown.decode()
    assert re.search(r"scoring, tuned +\[#+-* *\] +\d+/40", text)
    assert re.search(r"\d+\.\d rows/s", text)
    assert "40/40" in text
    assert "c on its held-out rows: 40 pairs" in text
    assert "Traceback" not in text

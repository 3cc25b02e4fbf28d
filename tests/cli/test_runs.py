"""Runs led from other terminals: real processes, paused, resumed, stopped, killed, hung up on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backprop_tui.cli import app, requests
from backprop_tui.cli.runs import table
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import (
    Continued,
    Event,
    Failed,
    Finished,
    Paused,
    Resumed,
    Saved,
    Step,
    to_line,
)
from backprop_tui.runs.lock import Lock, owner
from backprop_tui.runs.state import RunState
from backprop_tui.runs.stream import Follower
from tests.cli.test_commands import backprop
from tests.conftest import pocket_run
from tests.runs.test_lock import until

LONG = {"training.max_steps": 5_000, "training.eval_steps": 5_000, "training.save_steps": 5_000}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with plan.toml, whose run will be runs/a. Whoever still runs it at the end goes."""
    plan = pocket_run("simpo", Path("runs/a"), LONG)
    runfile_io.write(plan, tmp_path / "plan.toml")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    found = owner(tmp_path / "runs" / "a")
    if found is not None and found.pid != os.getpid():
        os.kill(found.pid, signal.SIGKILL)


def events(home: Path) -> list[Event]:
    return Follower(home / "runs" / "a" / "events.jsonl").read()


def steps(home: Path) -> list[int]:
    return [event.step for event in events(home) if isinstance(event, Step)]


def here(*arguments: str) -> tuple[int, str]:
    """A command without a process of its own, which would take a second: exit code, stdout."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, BackpropError):
        return result.exception.exit_code, result.exception.code
    return result.exit_code, result.stdout


def states() -> list[str]:
    return [state["state"] for state in json.loads(here("runs", "--json")[1])["runs"]]


def test_a_run_that_no_terminal_owns_is_led_from_outside(home: Path) -> None:
    done = backprop("run", "plan.toml", "--detach", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "backprop-tui watch a" in done.stdout
    assert "backprop-tui stop a" in done.stdout
    folder = home / "runs" / "a"
    found = owner(folder)
    assert found is not None
    assert os.getsid(found.pid) == found.pid != os.getsid(0)
    assert (folder / "console.log").stat().st_mode & 0o777 == 0o600
    until(lambda: bool(steps(home)), 60)
    assert states() == ["running"]
    assert here("resume", "a") == (1, "RUN_OWNED")

    code, paused = here("pause", "a")
    assert (code, paused[:15]) == (0, "paused at step ")
    assert isinstance(events(home)[-1], Paused)
    assert states() == ["paused"]
    assert here("pause", "a") == (0, paused)  # it is, already

    said = here("save", "a")
    saved = [event for event in events(home) if isinstance(event, Saved)][-1]
    assert said == (0, f"saved at step {saved.step}: {saved.path}\n")
    assert Path(saved.path).is_dir()

    code, text = here("resume", "a")
    assert (code, text[:17]) == (0, "goes on after ste")
    assert any(isinstance(event, Continued) for event in events(home))

    os.kill(found.pid, signal.SIGKILL)
    until(lambda: owner(folder) is None)
    code, text = here("runs")
    assert "interrupted" in text
    assert text.endswith("\n  backprop-tui resume a\n")
    code, text = here("resume", "a", "--detach")
    second = owner(folder)
    assert second is not None
    assert second.pid != found.pid
    until(lambda: any(isinstance(event, Resumed) for event in events(home)), 60)
    until(lambda: isinstance(events(home)[-1], Step), 60)

    done = backprop("stop", "a", cwd=home)
    assert done.returncode == 0, done.stderr
    ended = events(home)[-1]
    assert isinstance(ended, Finished)
    assert ended.stopped
    assert done.stdout.startswith(f"stopped and saved at step {ended.step} ")
    assert ended.path in done.stdout
    until(lambda: owner(folder) is None)
    assert states() == ["stopped"]
    assert "Run it again" in (folder / "console.log").read_text()
    assert here("stop", "a") == (1, "RUN_NOT_RUNNING")


def test_a_refusal_of_a_detached_run_is_seen_here_and_leaves_nothing(home: Path) -> None:
    refused = backprop("run", "plan.toml", "--detach", "--set", "data.path=gone.jsonl", cwd=home)
    assert refused.returncode == 1
    assert "gone.jsonl" in refused.stderr
    assert not (home / "runs").exists()
    wrong = backprop("run", "plan.toml", "--detach", "--strict", cwd=home)
    assert wrong.returncode == 2


def test_a_process_that_ends_before_it_owns_the_run_tells_why(home: Path) -> None:
    folder = home / "runs" / "a"
    folder.mkdir(parents=True)
    runfile_io.write(pocket_run("simpo", folder), folder / "run.toml")
    (folder / "events.jsonl").touch()
    (folder / "run.lock").symlink_to(home / "elsewhere")
    refused = backprop("resume", "a", "--detach", cwd=home)
    assert refused.returncode == 1
    assert "[WRITE_REFUSED]" in refused.stderr


def test_a_run_goes_on_when_its_terminal_is_gone_and_sigint_ends_its_pause(home: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, os.ttyname(slave)], cwd=home, start_new_session=True
    )
    os.close(slave)
    try:
        until(lambda: bool(steps(home)), 60)
        os.close(master)  # the window is closed: SIGHUP, and every write to it fails
        before = len(steps(home))
        until(lambda: len(steps(home)) > before + 3, 60)
        assert process.poll() is None
        assert here("pause", "a")[0] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 4
    finally:
        process.kill()
        process.wait()
    ended = events(home)[-1]
    assert isinstance(ended, Finished)
    assert not any(isinstance(event, Failed) for event in events(home))
    assert (Path(ended.path) / "adapter_model.safetensors").is_file()


OWN_TERMINAL = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for descriptor in (0, 1, 2):
    os.dup2(terminal, descriptor)
os.close(terminal)
os.execv(sys.executable, [sys.executable, "-m", "backprop_tui", "run", "plan.toml"])
"""


@pytest.mark.parametrize(
    ("why", "asked", "said", "left"),
    [
        ("the card is hot", "go_on", "still paused at step 3: the card is hot; it goes on by", []),
        ("you asked for it", "pause", "paused at step 3: you asked for it", []),
        ("the card is hot", "pause", "asked", ["pause"]),  # it must outlast the heat
        ("you asked for it; the card is hot", "go_on", "asked", ["go_on"]),
    ],
)
def test_a_pause_that_a_guard_wants_is_not_a_persons(
    home: Path, capsys: pytest.CaptureFixture[str], why: str, asked: str, said: str, left: list[str]
) -> None:
    folder = home / "runs" / "a"
    folder.mkdir(parents=True)
    lock = Lock.take(folder)
    (folder / "events.jsonl").write_text(to_line(Paused(t=1.0, step=3, why=why)) + "\n")
    answer = requests._paused if asked == "pause" else requests._continued
    code = requests.request(folder, asked, answer, wait=False)
    control = folder / "control"
    assert (code, capsys.readouterr().out[: len(said)]) == (0, said)
    assert (os.listdir(control) if control.exists() else []) == left
    lock.release()


def test_no_runs_and_no_such_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert here("runs") == (0, f"no runs in {tmp_path / 'runs'}\n")
    for command in ("stop", "save", "pause", "resume"):
        assert here(command, "nothing") == (1, "RUN_NOT_FOUND"), command
    assert here("runs", "missing") == (1, "RUN_NOT_FOUND")
    done = backprop("stop", "nothing", cwd=tmp_path)
    assert (done.returncode, "[RUN_NOT_FOUND]" in done.stderr) == (1, True)


def test_the_table_fits_80_columns_and_never_cuts_a_name() -> None:
    long = "simpo-a-model-whose-name-is-very-long-indeed-2"
    state = RunState(
        name="a",
        path=Path("runs/a"),
        state="interrupted",
        method="simpo",
        model="pocket",
        step=120_000,
        steps=900_000,
        margin=-123456.0,
        accuracy=0.999,
        eta=359_999.0,
        updated=0.0,
        pid=None,
    )
    lines = table([state, replace(state, name=long), replace(state, name="漢字" * 5)])
    assert max(len(line) for line in lines) <= 80
    assert long in lines
    assert "120,000/900,000" in lines[1]
    assert "over 99 %" in lines[1]
    assert lines[-2:] == ["漢字漢字漢字漢字漢字 was interrupted; go on with it:", lines[-1]]

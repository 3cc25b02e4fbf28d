"""The terminal goes: the screen ends, a training does not. In real pseudo-terminals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backprop_tui.core.events import Event, Finished, Started, Step, from_line
from backprop_tui.tui.watching import WatchApp
from tests.tui.folders import plan
from tests.tui.terminal import Terminal
from tests.tui.test_watch import shows

START = "\x1b[20~"  # f9
HUNG_UP, TERMINATED = 129, 143
STEPS = 12


def demo(tmp_path: Path, steps: int = STEPS, before: Callable[[], None] | None = None) -> Terminal:
    """The wizard over a plan of the bundled model, before its start."""
    terminal = Terminal(
        "backprop_tui", "demo", "--output", "out",
        "--set", f"training.max_steps={steps}", "--set", "training.eval_steps=10",
        "--set", "training.batch_size=2", "--set", "training.accumulation=1",
        cwd=tmp_path, seconds=90,
        env={"XDG_STATE_HOME": str(tmp_path / "state")},
        before=before,
    )  # fmt: skip
    terminal.until("fits")  # model and data have been read
    return terminal


def events(folder: Path) -> list[Event]:
    """What the run folder says happened."""
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for line in lines if (event := from_line(line)) is not None]


def until(folder: Path, kind: type[Event], terminal: Terminal) -> None:
    """Read the screen until an event of a kind is in the folder."""
    end = time.monotonic() + terminal.seconds
    while not any(isinstance(event, kind) for event in events(folder)):
        assert time.monotonic() < end, f"no {kind.__name__}"
        terminal.read()


def said(tmp_path: Path) -> str:
    """What went to the log in the place of the screen."""
    return "".join(path.read_text() for path in (tmp_path / "state").rglob("tui-*.log"))


def test_a_training_goes_on_without_its_terminal(tmp_path: Path) -> None:
    terminal = demo(tmp_path)
    terminal.send(START)
    until(tmp_path / "out", Started, terminal)
    terminal.hang_up()
    assert terminal.outlived() == 0
    *_, last = events(tmp_path / "out")
    assert isinstance(last, Finished)
    assert (last.step, last.stopped) == (STEPS, False)
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert "Traceback" not in said(tmp_path)


def test_a_terminal_that_goes_before_the_first_step(tmp_path: Path) -> None:
    terminal = demo(tmp_path, 3)
    terminal.send(START)
    terminal.until("loading the libraries")
    # Stopped meanwhile, it wakes up with keys to read and nobody who typed them.
    os.kill(terminal.child.pid, signal.SIGSTOP)
    os.waitpid(terminal.child.pid, os.WUNTRACED)
    terminal.hang_up()
    os.kill(terminal.child.pid, signal.SIGCONT)
    assert terminal.outlived() == 0
    *_, last = events(tmp_path / "out")
    assert isinstance(last, Finished)
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert "Traceback" not in said(tmp_path)


@pytest.mark.slow
def test_a_terminal_that_is_none_any_more_without_a_signal(tmp_path: Path) -> None:
    """As under a parent that keeps signals away from its children."""

    def deaf() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

    terminal = demo(tmp_path, before=deaf)
    terminal.send(START)
    until(tmp_path / "out", Started, terminal)
    terminal.hang_up()
    assert terminal.outlived() == 0
    *_, last = events(tmp_path / "out")
    assert isinstance(last, Finished)
    assert "Traceback" not in said(tmp_path)


def test_the_wizard_alone_ends_with_its_terminal(tmp_path: Path) -> None:
    terminal = demo(tmp_path)
    terminal.hang_up()
    assert terminal.outlived() == HUNG_UP
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in said(tmp_path)


def test_sigterm_in_the_wizard_ends_it(tmp_path: Path) -> None:
    terminal = demo(tmp_path)
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.finish() == TERMINATED
    assert "Traceback" not in terminal.raw


@pytest.mark.slow
def test_sigterm_stops_and_saves_without_a_screen(tmp_path: Path) -> None:
    terminal = demo(tmp_path, 2000)
    terminal.send(START)
    until(tmp_path / "out", Step, terminal)
    terminal.hang_up()
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.outlived() == 4
    *_, last = events(tmp_path / "out")
    assert isinstance(last, Finished)
    assert last.stopped
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()


async def test_it_is_watched_and_stopped_from_another_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    terminal = demo(tmp_path, 2000)
    terminal.send(START)
    until(folder, Step, terminal)
    terminal.hang_up()
    app = WatchApp(plan(), folder)
    async with app.run_test() as pilot:
        await shows(pilot, "step ", " of 2,000", "elapsed")
        await pilot.press("f4", "y")
        await shows(pilot, "✔ Stopped and saved")
    assert terminal.outlived() == 4
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()

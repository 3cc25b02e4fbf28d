"""Output of libraries never reaches the screen, and the terminal comes back whole."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from backprop_tui.tui.terminal import captured_output
from tests.tui.terminal import ALTERNATE_SCREEN_OFF, ROOT, SHOW_CURSOR, Terminal


@pytest.mark.parametrize("crash", [False, True])
def test_noise_goes_to_the_log_and_the_terminal_is_restored(tmp_path: Path, crash: bool) -> None:
    log = tmp_path / "runs" / "run.log"
    terminal = Terminal("tests.tui.noisy_app", str(log), *(["--crash"] if crash else []))
    terminal.until("calm screen")
    terminal.child.send("n")
    terminal.until("calm screen after the noise")
    assert "NOISE" not in terminal.raw
    flags = termios.tcgetattr(terminal.child.child_fd)[3]
    assert not flags & termios.ICANON, "the screen should have the terminal in raw mode now"
    terminal.child.send("q")
    status = terminal.finish()
    assert "NOISE" not in terminal.raw
    assert ALTERNATE_SCREEN_OFF in terminal.raw
    after = terminal.raw[terminal.raw.rindex(ALTERNATE_SCREEN_OFF) :]
    assert SHOW_CURSOR in terminal.raw[terminal.raw.rindex("\x1b[?25l") :]
    for line in ("stdout is back, a terminal: True", "stderr is back", "fd 1 is back"):
        assert line in after
    assert ("caught after the screen" in after) is crash
    kept = log.read_text()
    for line in ("NOISE-from-C-stdout", "NOISE-from-C-stderr", "NOISE-child", "NOISE-child-err"):
        assert line in kept
    assert status == 0


def test_the_terminal_s_modes_come_back(tmp_path: Path) -> None:
    terminal = Terminal("tests.tui.noisy_app", str(tmp_path / "run.log"))
    terminal.until("calm screen")
    terminal.child.send("q")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        alive = terminal.read()
        with contextlib.suppress(termios.error):
            if termios.tcgetattr(terminal.child.child_fd)[3] == terminal.before:
                return
        if not alive:
            break
    raise AssertionError("canonical mode and echo are not back")


QUIET = """
import os, sys
from pathlib import Path
from backprop_tui.tui.terminal import captured_output
print("before")
try:
    with captured_output(Path(sys.argv[1])):
        os.write(1, b"hidden 1\\n"); os.write(2, b"hidden 2\\n"); print("hidden 3")
        print("drawn", file=sys.__stderr__, flush=True)
        if len(sys.argv) > 2: raise ValueError("x")
except ValueError: pass
print("after")
print("after on stderr", file=sys.stderr)
assert not [fd for fd in range(3, 20) if os.path.exists(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").endswith("run.log")], "a descriptor leaks"
"""


@pytest.mark.parametrize("crash", [False, True])
def test_it_works_without_a_terminal(tmp_path: Path, crash: bool) -> None:
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(log), *(["crash"] if crash else [])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "before\nafter\n"
    assert done.stderr == "drawn\nafter on stderr\n"
    assert sorted(log.read_text().split("\n")) == ["", "hidden 1", "hidden 2", "hidden 3"]


def test_a_log_that_cannot_be_opened_leaves_everything_as_it_was(tmp_path: Path) -> None:
    before = [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)]
    streams = sys.__stdout__, sys.__stderr__
    with pytest.raises(IsADirectoryError), captured_output(tmp_path):
        pass
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)] == before
    assert (sys.__stdout__, sys.__stderr__) == streams

"""A child that ends with its parent: a worker that is killed leaves no run behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = """
import os, signal, sys, time
from backprop_tui.runs.with_parent import end_with_parent
def stop(*_):
    open(sys.argv[2] + "/stopped", "w").close()
    sys.exit(4)
signal.signal(signal.SIGTERM, stop)
end_with_parent(int(sys.argv[1]))
open(sys.argv[2] + "/ready", "w").close()
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {CHILD!r}, str(os.getpid()), sys.argv[1]],
                 start_new_session=True)
time.sleep(60)
"""


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, path.name
        time.sleep(0.02)


def test_it_is_asked_to_stop_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)]) as parent:
        wait_for(tmp_path / "ready")
        assert not (tmp_path / "stopped").exists()
        parent.kill()
    wait_for(tmp_path / "stopped")


def test_it_does_not_begin_when_its_parent_is_gone_already(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    done = subprocess.run([sys.executable, "-c", CHILD, gone.stdout.strip(), str(tmp_path)])
    assert done.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "ready").exists()
    assert os.listdir(tmp_path) == []

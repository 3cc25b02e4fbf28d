"""Two threads may want the training libraries at once: the wizard's warm-up and the training."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
from backprop_tui.train.libraries import load_libraries
from backprop_tui.train.session import LIBRARIES
from backprop_tui.tui.warm import warm_imports

faults = []

def train():
    try:
        load_libraries(LIBRARIES)
        from backprop_tui.train.trl_trainers import BUILDERS
        assert {"sft", "orpo", "simpo", "kto"} <= set(BUILDERS)
    except BaseException as error:
        faults.append(error)

threads = [threading.Thread(target=train) for _ in range(2)]
warm = warm_imports(one_card=True)
for thread in threads:
    thread.start()
for thread in (*threads, warm):
    thread.join()
sys.exit(repr(faults) if faults else 0)
"""


def test_libraries_wanted_by_three_threads_are_loaded_once_and_whole() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

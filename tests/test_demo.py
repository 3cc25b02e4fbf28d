"""`demo` as a newcomer meets it: from the package alone, it learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_tui.core.events import Evaluated, Finished, from_line


def demo(folder: Path, *options: str) -> tuple[list[Evaluated], str]:
    """Run the demo without a terminal; the held-out measurements and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "backprop_tui", "demo", "--output", str(folder), *options],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    events = [from_line(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert isinstance(events[-1], Finished)
    return [event for event in events if isinstance(event, Evaluated)], done.stdout


def test_simpo_moves_held_out_accuracy_from_chance_to_nine_in_ten(tmp_path: Path) -> None:
    measured, printed = demo(tmp_path / "run")
    first, last = measured[0].accuracy, measured[-1].accuracy
    assert first is not None
    assert last is not None
    assert 0.35 <= first <= 0.65
    assert last >= 0.9
    assert "Held-out accuracy" in printed
    assert "simpo-lr-kept" in printed  # the warning shows, as it would for a user


@pytest.mark.parametrize(
    ("method", "rate", "gain"),
    [
        pytest.param("orpo", "4e-3", 0.004, marks=pytest.mark.slow),
        pytest.param("kto", "2e-3", 0.3, marks=pytest.mark.slow),
    ],
)
def test_orpo_and_kto_move_too(method: str, rate: str, gain: float, tmp_path: Path) -> None:
    """Fewer steps than the demo's own: enough to see the held-out margin widen."""
    measured, _ = demo(
        tmp_path / "run",
        *("--set", f"method={method}"),
        *("--set", f"training.learning_rate={rate}"),
        *("--set", "training.max_steps=40"),
    )
    assert measured[0].margin is not None
    assert measured[-1].margin is not None
    assert measured[-1].margin - measured[0].margin > gain

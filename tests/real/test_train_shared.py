"""init, check and run on files nobody here wrote: every row is trained, held out or counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_tui.core.events import Finished, Started, from_line

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")


@pytest.mark.parametrize(
    ("method", "name", "rows"),
    [
        ("simpo", "ultrafeedback_str_train.jsonl", 1000),
        pytest.param("kto", "lf_kto_en_demo.json", 300, marks=pytest.mark.slow),
        pytest.param("sft", "rasbt_instruction_data.json", 1100, marks=pytest.mark.slow),
    ],
)
def test_real_file_trains_and_every_row_is_accounted_for(
    method: str, name: str, rows: int, tmp_path: Path
) -> None:
    def backprop(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "backprop_tui", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    short = ("data.max_length=256", "data.heldout=0.02", "training.max_steps=3")
    small = (*short, "training.accumulation=1", "training.eval_steps=3")
    sets = [word for item in small for word in ("--set", item)]
    backprop("init", "-m", "pocket", "-d", str(DATA / name), "--method", method, *sets)
    assert json.loads(backprop("check", "run.toml", "--json"))["problems"] == []
    printed = backprop("run", "run.toml", "--output", "out")
    events = [
        from_line(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    ]
    started = next(event for event in events if isinstance(event, Started))
    dropped = sum(started.dropped.values())
    assert started.train_rows + started.heldout_rows + dropped == rows
    assert isinstance(events[-1], Finished)
    for reason, n in started.dropped.items():
        assert f"{n:,} {reason}" in printed

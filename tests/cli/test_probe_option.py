"""`check --probe`: what a run would take, measured, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner, Result

from backprop_tui.cli import app
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Failed
from backprop_tui.core.memory_question import MemoryAnswer
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.train import probing
from tests.conftest import pocket_run

MIB = 2**20


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another process for it."""
    parts = {"weights": 30 * MIB, "activations": 12 * MIB}
    monkeypatch.setattr(MemoryOracle, "ask", lambda *_arguments: MemoryAnswer(parts=parts))


def check(folder: Path, *options: str, **changes: object) -> Result:
    path = folder / "run.toml"
    run = pocket_run("orpo", folder / "out", {"training.max_steps": 3, **changes})
    runfile_io.write(run, path, overwrite=True)
    return CliRunner().invoke(app, ["check", str(path), "--rough", *options])


def test_the_plan_is_measured(tmp_path: Path) -> None:
    done = check(tmp_path, "--probe")
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "measured" in words
    assert "of tensors, model included at the peak, 42.0 MB estimated" in words
    assert "for 3 steps" in words
    assert "not known" not in words.partition("time")[2]
    assert "trying the heaviest batch" in done.stderr
    assert not (tmp_path / "out").exists()


def test_scripts_get_plain_values(tmp_path: Path) -> None:
    done = check(tmp_path, "--probe", "--json")
    found = json.loads(done.stdout)["probe"]
    assert found.keys() == {
        *("peak", "estimate", "free", "lowered", "steps", "seconds_per_step", "seconds"),
        *("disk", "device"),
    }
    assert (found["estimate"], found["steps"], found["device"]) == (42 * MIB, 3, "cpu")
    assert found["seconds"] > 3 * found["seconds_per_step"] > 0
    assert "probe" not in json.loads(check(tmp_path, "--json").stdout)


def test_a_plan_that_is_refused_is_not_tried(tmp_path: Path) -> None:
    done = check(tmp_path, "--probe", "--json", **{"machine.device": "cuda"})
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["problems"]
    assert "probe" not in found


def test_what_goes_wrong_is_said_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Failed(
        t=1.0, code="RUN_DOES_NOT_FIT", message="It does not fit.", hint="use nf4", log=""
    )
    monkeypatch.setattr(probing, "probe", lambda *_arguments: failed)
    done = check(tmp_path, "--probe")
    assert done.exit_code == 3
    assert "error: It does not fit.  [RUN_DOES_NOT_FIT]\n  use nf4" in done.stderr


def test_a_plan_too_large_for_main_memory_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * MIB, total=200 * MIB)
    )
    monkeypatch.setattr(probing, "probe", lambda *_arguments: pytest.fail("it was tried"))
    done = check(tmp_path, "--probe")
    assert isinstance(done.exception, InputError)
    assert done.exception.code == "RUN_DOES_NOT_FIT"
    assert "--probe is not tried: roughly: does not fit" in done.exception.message

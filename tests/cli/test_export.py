"""`export` as it is typed: what it prints, its exit codes, and what a signal leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backprop_tui.cli import app
from backprop_tui.core.errors import BackpropError
from backprop_tui.train import export_files
from tests.cli.test_commands import backprop
from tests.conftest import DoneRun, pocket_run, run_training


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished run runs/a."""
    home = tmp_path_factory.mktemp("home")
    done: DoneRun = run_training(pocket_run("simpo", home / "runs" / "a"))
    assert done.ending.exit_code == 0
    return home


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In that folder, with a log of its own and no converter."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LLAMA_CPP", raising=False)


def here(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def code(result: Result) -> str:
    assert isinstance(result.exception, BackpropError)
    return result.exception.code


def test_a_merge_from_a_shell(home: Path, tmp_path: Path) -> None:
    done = backprop("export", "a", "-o", tmp_path / "out", "--merged", cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"merged   {tmp_path / 'out'}, 10.6 MB\n")
    assert "the logits differ by at most" in done.stdout
    assert "template chatml, stop <|im_end|>" in done.stdout
    # What the libraries say is in a log: on the terminal only what goes on.
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        *("writing", "loading", "comparing", "merging", "reading")
    ]
    again = here("a", "-o", tmp_path / "out")
    assert code(again) == "OUTPUT_EXISTS"


def test_json(tmp_path: Path) -> None:
    done = here("runs/a", "--output", tmp_path / "out", "--merged", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["kind"] == "merged"
    assert found["output"] == str(tmp_path / "out")
    agreement = found["agreement"]
    assert agreement["largest"] <= agreement["tolerance"]
    assert agreement["rows"] == 3
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_gguf_without_the_converter_prints_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = here("a", "-o", out, "--gguf")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1] == (
        f"  python llama.cpp/convert_hf_to_gguf.py {out} --outfile {out / 'model.gguf'} "
        "--outtype f32"
    )
    assert (out / "model.safetensors").is_file()


def test_a_converter_that_fails_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("import sys; sys.exit('no such model type')")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    done = here("a", "-o", tmp_path / "out", "--gguf")
    assert done.exit_code == 3
    assert "It said:\n  no such model type\n" in done.stderr
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("other", ["--merged", "--gguf"])
def test_an_adapter_alone_is_nothing_else(tmp_path: Path, other: str) -> None:
    done = here("a", "-o", tmp_path / "out", "--adapter", other)
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_none(tmp_path: Path) -> None:
    assert code(here("b", "-o", tmp_path / "out")) == "RUN_NOT_FOUND"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    seen: list[str] = []

    def merge(*_: Any, **__: Any) -> None:
        seen.extend(path.name for path in (tmp_path / "there").iterdir())
        os.kill(os.getpid(), number)

    monkeypatch.setattr(export_files, "merge", merge)
    before = signal.getsignal(number)
    done = here("a", "-o", tmp_path / "there" / "out", "--merged")
    assert done.exit_code != 0
    assert [(name[:5], name[-8:]) for name in seen] == [(".out.", ".writing")]
    assert list((tmp_path / "there").iterdir()) == []
    assert signal.getsignal(number) == before


def test_the_name_of_a_run_that_was_moved(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs" / "a", tmp_path / "elsewhere")
    done = here(tmp_path / "elsewhere", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"adapter  {tmp_path / 'out'}")
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()

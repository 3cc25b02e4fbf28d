"""Nothing heavy is imported before it is needed, seen from a fresh interpreter."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import backprop_tui
import backprop_tui.core

HEAVY = ("textual", "torch", "transformers", "datasets", "trl", "peft", "pyarrow")
NOT_IN_CORE = (*HEAVY, "pynvml", "typer", "huggingface_hub")
CORE = [
    "backprop_tui.core",
    *(
        module.name
        for module in pkgutil.walk_packages(backprop_tui.core.__path__, "backprop_tui.core.")
    ),
]


def loaded(*modules: str) -> set[str]:
    """The top-level packages in memory once these modules are imported."""
    code = (
        f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", CORE)
def test_core_is_light(module: str) -> None:
    found = loaded(module)
    assert "backprop_tui" in found
    assert sorted(found & set(NOT_IN_CORE)) == []


def test_every_core_module_is_looked_at() -> None:
    assert {"backprop_tui.core.runfile_io", "backprop_tui.core.rules.machine"} <= set(CORE)


@pytest.mark.parametrize("module", ["backprop_tui.cli", "backprop_tui.probe.survey"])
def test_commands_start_without_the_trainers(module: str) -> None:
    assert sorted(loaded(module) & set(HEAVY)) == []


def test_the_check_would_see_a_heavy_import() -> None:
    assert "pyarrow" in loaded("pyarrow")


def test_one_file_knows_trl() -> None:
    package = Path(backprop_tui.__file__).parent
    knowing = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) trl\b", path.read_text(), re.MULTILINE)
    }

    assert knowing == {"train/trl_trainers.py"}

"""What README says can be typed, can be typed; what it links to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from backprop_tui.cli import app
from backprop_tui.core.runfile_keys import valid_keys

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINES = sorted(
    {
        line.split("  #")[0].strip()
        for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("backprop-tui", "make "))
    }
)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("backprop-tui")])
def test_command_and_its_options_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    if not words:
        return  # the wizard
    group = get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    given = {word for word in words if word.startswith("-")}
    assert given <= options, given - options


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_target_exists(line: str) -> None:
    target = shlex.split(line)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_command_is_mentioned() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in commands:
        assert re.search(rf"(backprop-tui |`){name}\b", README), name


def test_keys_it_sets_exist() -> None:
    keys = re.findall(r"--set ([a-z_.]+)=", README)
    assert keys
    assert set(keys) <= set(valid_keys())


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []

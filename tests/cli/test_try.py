"""`try` as it is typed: plain answers, votes, their export and its way back, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backprop_tui.cli import app
from backprop_tui.core.errors import BackpropError
from backprop_tui.runs.vote_file import add_vote
from tests.cli.test_commands import backprop
from tests.core.test_votes import VOTE, votes
from tests.tui.terminal import Terminal
from tests.tui.test_real_terminal import restored


@pytest.fixture(scope="module")
def home(moved_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished run runs/a."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(moved_run, home / "runs" / "a")
    return home


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In that folder, with a log of its own and no votes yet."""
    (home / "runs" / "a" / "votes.jsonl").unlink(missing_ok=True)
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def here(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["try", *map(str, arguments)])


def code(result: Result) -> str:
    assert isinstance(result.exception, BackpropError), result.output
    return result.exception.code


@pytest.mark.slow  # a process of its own; the next one is answered in this one
def test_both_answers_in_plain_text_from_a_shell(home: Path) -> None:
    done = backprop("try", "a", "--prompt", "Why?\nSo?", "--max-new-tokens", "9", cwd=home)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["prompt", "  Why?", "  So?"]
    assert lines[3].startswith("base (")
    assert sum(line.startswith("tuned (") for line in lines) == 1
    assert done.stderr.splitlines() == [
        *("loading the libraries", "loading pocket (CPU, fp32)", "loading the adapter"),
    ]


def test_json_of_a_file_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Why?\nHow?\n")
    done = here("a", "--prompts", tmp_path / "p.txt", "--max-new-tokens", "3", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    asked = [one["prompt"] for one in found["answers"]]
    assert asked == [[{"role": "user", "content": text}] for text in ("Why?", "How?")]
    assert all(one[side]["tokens"] <= 3 for one in found["answers"] for side in ("base", "tuned"))
    assert found["settings"] == {
        "temperature": 0.0,
        "max_new_tokens": 3,
        "seed": 0,
        "system": "",
    }


def test_votes_are_told_and_exported_and_read_as_pairs(home: Path, tmp_path: Path) -> None:
    assert here("a", "--votes").stdout == "No votes yet.\n"
    assert code(here("a", "--export-votes", tmp_path / "x.jsonl")) == "VOTES_NONE"
    for i, vote in enumerate(votes(6, 4, a=5, ties=2, bad=1)):
        add_vote(home / "runs" / "a", replace(vote, base=f"{i} base", tuned=f"{i} tuned, longer"))
    with (home / "runs" / "a" / "votes.jsonl").open("a") as file:
        file.write('{"schema": 1, "torn')
    said = here("a", "--votes")
    assert said.stdout.startswith("Tuned preferred in 6 of 10 decided votes")
    assert "Under 30 decided votes say little." in said.stdout
    assert "1 line of votes.jsonl could not be read as a vote" in said.stderr
    assert json.loads(here("a", "--votes", "--json").stdout)["tuned"] == 6
    out = tmp_path / "pairs.jsonl"
    done = here("a", "--export-votes", out)
    assert done.stdout.splitlines()[:2] == [
        f"10 pairs written to {out}",
        "left out: 2 tie, 1 both bad",
    ]
    before = out.read_bytes()
    assert code(here("a", "--export-votes", out)) == "OUTPUT_EXISTS"
    assert out.read_bytes() == before
    read = backprop("data", out, "--json", cwd=home)
    found = json.loads(read.stdout)
    facts = found.get("facts", found)
    assert (facts["shape"], facts["kept"]) == ("paired", 10)


def test_a_prompt_voted_on_twice_counts_once(home: Path, tmp_path: Path) -> None:
    (vote,) = votes(1)
    for choice in ("A", "tie", "B"):
        add_vote(home / "runs" / "a", replace(vote, choice=choice))
    said = here("a", "--votes").stdout
    assert said.startswith("Tuned preferred in 1 of 1 decided vote")
    assert "2 votes replaced by a newer one" in said
    found = json.loads(here("a", "--votes", "--json").stdout)
    assert (found["votes"], found["replaced"], found["identical"]) == (1, 2, 0)
    done = here("a", "--export-votes", tmp_path / "x.jsonl")
    assert "left out: 2 replaced by a newer vote" in done.stdout
    assert (home / "runs" / "a" / "votes.jsonl").read_text().count("\n") == 3


def test_how_many_are_cut_is_told(home: Path, tmp_path: Path) -> None:
    add_vote(home / "runs" / "a", replace(VOTE, whole=()))
    found = json.loads(here("a", "--export-votes", tmp_path / "x.jsonl", "--json").stdout)
    assert (found["rows"], found["cut"], found["left_out"]) == (1, 1, {})


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),  # no terminal here
        (("--prompt", " "), 2),
        (("--prompt", "x", "--blind"), 2),
        (("--prompt", "x", "--temperature", "-1"), 2),
        (("--prompt", "x", "--max-new-tokens", "0"), 2),
    ],
)
def test_usage(arguments: tuple[str, ...], status: int) -> None:
    done = here("a", *arguments)
    assert done.exit_code == status
    assert "Traceback" not in done.output


def test_refusals_come_before_anything_is_loaded(home: Path, tmp_path: Path) -> None:
    assert code(here("absent", "--prompt", "x")) == "RUN_NOT_FOUND"
    assert code(here("a", "--prompts", tmp_path / "absent")) == "TRY_PROMPTS_UNUSABLE"
    run = tmp_path / "run"
    shutil.copytree(home / "runs" / "a", run)
    shutil.rmtree(run / "adapter")
    assert code(here(run, "--prompt", "x")) == "RUN_NOTHING_LEARNED"


def test_in_a_real_terminal_a_blind_vote_and_its_count(home: Path) -> None:
    terminal = Terminal("backprop_tui", "try", "a", "--blind", cwd=home, seconds=90)
    terminal.until("ready")
    terminal.send("\x1bOQ")  # f2
    terminal.until("Which is better?")
    assert "held-out prompt 1 of" in terminal.text
    terminal.send("b")
    terminal.until("saved: you took")
    terminal.send("\x1b")
    assert terminal.finish() == 0
    restored(terminal)
    after = terminal.raw.rpartition("\x1b[?1049l")[2]
    assert "1 decided vote" in after
    assert "Under 30 decided votes say little." in after
    assert (home / "runs" / "a" / "votes.jsonl").read_text().count("\n") == 1


def test_leaving_does_not_wait_for_what_is_loading(home: Path) -> None:
    terminal = Terminal("backprop_tui", "try", "a", cwd=home, seconds=60)
    terminal.until("loading")
    terminal.send("\x11")  # ctrl+q
    assert terminal.finish() == 0
    restored(terminal)

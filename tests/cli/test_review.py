"""`review` as one types it: runs live, over and killed, logs of other trainers, refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backprop_tui.cli import app
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Event, to_line
from backprop_tui.runs.lock import Lock
from tests.core.test_trainer_log import lines, objects
from tests.tui import histories


def review(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["review", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str | Path) -> InputError:
    done = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert isinstance(done.exception, InputError)
    return done.exception


def as_json(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(review(*arguments, "--json"))
    return found


def folder(path: Path, events: Iterable[Event]) -> Path:
    path.mkdir(parents=True)
    text = "".join(to_line(event) + "\n" for event in events)
    (path / "events.jsonl").write_text(text)
    (path / "run.toml").write_text("schema = 1\nmethod = 'simpo'\n[lora]\nrank = 32\n")
    return path


def learned(upto: int = 240) -> list[Event]:
    return list(histories.training("simpo", upto=upto))


def test_a_finished_run_in_words(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", [*learned(), *histories.ending()])
    said = review(run)
    assert said.startswith("run (finished): learned\nLearned: train margin +")
    for words in (
        "95 % Wilson interval",
        "rank 32",
        "565 training rows",
        "lora.rank = 8",
        "arXiv:",
    ):
        assert words in said


def test_a_run_of_which_a_process_was_killed_and_one_that_is_live(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", learned(upto=120))
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "Step", "t": 1')  # torn by the kill
    assert review(run).startswith("run (interrupted): learned\n")
    lock = Lock.take(run)
    try:
        assert review(run).startswith("run (running): learned so far\n")
    finally:
        lock.release()


def test_the_name_of_a_run_and_its_events_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(tmp_path / "runs" / "one", learned())
    monkeypatch.chdir(tmp_path)
    assert as_json("one") == as_json(run / "events.jsonl") == as_json(run)


def test_a_damaged_run_file_costs_the_rank_alone(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", learned())
    names = {item["name"] for item in as_json(run)["evidence"]}
    (run / "run.toml").write_text("schema = ")
    assert names - {item["name"] for item in as_json(run)["evidence"]} == {"rank"}


def test_json_has_the_figures(tmp_path: Path) -> None:
    found = as_json(folder(tmp_path / "run", learned()))
    assert (found["verdict"], found["state"]) == ("learned", "interrupted")
    accuracy = next(item for item in found["evidence"] if item["name"] == "heldout_accuracy")
    assert accuracy["low"] < accuracy["last"] < accuracy["high"]
    assert all(item["source"] for item in found["next"])


def test_a_log_and_a_trainers_folder(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(lines(objects(learns=False))))
    for step, learns in ((9, False), (30, True)):  # 30 is the newer one, though "9" sorts last
        state = tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json"
        state.parent.mkdir(parents=True)
        state.write_text(json.dumps({"log_history": objects(learns=learns)}))
    assert as_json(log)["verdict"] == "margin-inflation"
    assert as_json(tmp_path / "out")["verdict"] == "learned"
    assert {item.get("rows") for item in as_json(log)["evidence"]} == {None, 80}
    few = as_json(log, "--heldout-rows", "7")
    assert {item.get("rows") for item in few["evidence"]} == {None, 7}


@pytest.mark.parametrize(
    ("name", "code"),
    [("nothing", "RUN_NOT_FOUND"), ("empty", "RUN_NOT_FOUND"), ("notes.txt", "RUN_LOG_UNUSABLE")],
)
def test_what_is_neither_is_refused(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello\n")
    assert refused(tmp_path / name).code == code


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").code == "RUN_LOG_UNUSABLE"

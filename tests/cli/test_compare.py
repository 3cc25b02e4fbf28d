"""`compare` as one types it: every width, every state of a run, JSON, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import backprop_tui
from backprop_tui.cli import app
from backprop_tui.cli.compare import names
from backprop_tui.core import runfile_io
from backprop_tui.core.errors import InputError
from backprop_tui.core.wrap import cells
from tests.conftest import DoneRun
from tests.runs.test_evals import GOOD
from tests.runs.test_evals import write as write_evaluation
from tests.tui import histories
from tests.tui.folders import add, plan, run_folder


def compare(*arguments: str | Path, columns: int = 80) -> str:
    done = CliRunner().invoke(
        app,
        ["compare", *map(str, arguments)],
        catch_exceptions=False,
        env={"COLUMNS": str(columns), "LINES": "24"},
    )
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str | Path) -> InputError:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert isinstance(done.exception, InputError)
    return done.exception


def over(path: Path, method: str = "simpo", **changes: Any) -> Path:
    """A run at its end."""
    events = [*histories.training(method), *histories.ending()]
    folder = run_folder(path, events, method)
    if changes:
        keys = {key.replace("__", "."): value for key, value in changes.items()}
        (folder / "run.toml").unlink()
        runfile_io.write(runfile_io.change(plan(method), keys), folder / "run.toml")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        over(tmp_path / "runs" / "simpo-pocket"),
        over(tmp_path / "runs" / "simpo-pocket-with-a-long-name-2", training__learning_rate=3e-7),
        over(tmp_path / "runs" / "orpo-pocket", "orpo"),
    ]


def test_two_runs_in_words(three: list[Path]) -> None:
    said = compare(*three[:2])
    assert said.splitlines()[:2] == [
        "1  simpo-pocket  (finished)",
        "2  simpo-pocket-with-a-long-name-2  (finished)",
    ]
    for words in (
        "held-out accuracy",
        "95 % interval",
        "Held-out accuracy, % over steps",
        "Train margin over steps",
        "Settings that differ",
        "training.learning_rate",
        "3e-07",
    ):
        assert words in said
    assert "is not known: a run has no hash of its data" in " ".join(said.split())
    assert "different methods" not in said
    assert "different methods" in compare(three[0], three[2])


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal(three: list[Path], columns: int) -> None:
    said = compare(*three, columns=columns)
    assert max(map(cells, said.splitlines())) <= min(max(columns, 60), 120)
    for values in ("3e-07", "not set", "simpo.gamma"):  # stacked, never cut
        assert values in said


def test_the_curves_of_three_runs_are_told_apart_without_colour(three: list[Path]) -> None:
    for run in three[1:]:
        (run / "events.jsonl").unlink()
        add(run, histories.training("simpo", upto=60))
    chart = compare(*three).partition("Held-out margin over steps")[2].partition("Train")[0]
    legend, drawn = chart.split("several")
    assert all(
        f"{sign} {path.name}"[:20] in legend for sign, path in zip("123", three, strict=True)
    )
    assert {sign for sign in "123*" if sign in drawn.rpartition("step")[0]} == set("1*")


def test_nine_runs_still_have_their_values(tmp_path: Path) -> None:
    runs = [over(tmp_path / f"run-{i}", lora__rank=i + 1) for i in range(9)]
    said = compare(*runs, columns=60)
    assert max(map(cells, said.splitlines())) <= 60
    ranks = said.partition("lora.rank")[2]
    assert all(str(i + 1) in ranks for i in range(9))


def test_a_live_a_killed_and_a_damaged_run(tmp_path: Path) -> None:
    killed = run_folder(tmp_path / "killed", histories.training(upto=60))
    with (killed / "events.jsonl").open("a") as file:
        file.write('{"event": "Step", "t": 1')
    damaged = over(tmp_path / "damaged")
    (damaged / "run.toml").write_text("schema = ")
    said = compare(killed, damaged)
    assert "60 of 240" in said
    flat = " ".join(said.split())
    assert "figures so far: killed." in flat
    assert "settings are not known: damaged" in flat


def test_runs_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    over(tmp_path / "runs" / "one")
    over(tmp_path / "a" / "one")
    over(tmp_path / "runs" / "two")
    said = compare("one", "a/one", "two").splitlines()
    assert said[:3] == [
        *("1  runs/one  (finished)", "2  a/one  (finished)", "3  two  (finished)"),
    ]
    assert names([Path("/a/x"), Path("/b/a/x")]) == ["//a/x", "b/a/x"]


def test_json_has_all_of_it(three: list[Path]) -> None:
    found = json.loads(compare(*three, "--json"))
    assert [run["name"] for run in found["runs"]] == [path.name for path in three]
    first = found["runs"][0]
    low, high = first["interval"]
    assert low < first["accuracy"] < high
    assert first["accuracies"][0][0] == 0
    assert len(first["train_margins"]) > 10
    assert found["settings"]["differ"]["method"] == ["simpo", "simpo", "orpo"]
    assert found["heldout"]["same"] is None
    assert found["evals"] == []


def test_evaluations_of_the_same_file_and_a_broken_one(tmp_path: Path) -> None:
    runs = [over(tmp_path / "one"), over(tmp_path / "two")]
    for run in runs:
        write_evaluation(run, "pairs-12ab", json.dumps(GOOD))
    write_evaluation(runs[0], "torn", "{")
    said = compare(*runs)
    assert "eval of pairs-12ab: 80 rows of pairs.jsonl" in said
    assert said.count("50 % → 80 %") == 2
    assert "70 % to 90 %" in said
    assert "no summary that eval writes" in " ".join(said.split())
    found = json.loads(compare(*runs, "--json"))
    assert found["evals"][0]["figures"]["accuracy"][1]["tuned"] == 0.8
    assert len(found["unusable"]) == 1


def test_refusals(tmp_path: Path) -> None:
    one = over(tmp_path / "one")
    assert refused(one).code == "CONFIG_INVALID_SETTING"
    assert "was given twice" in refused(one, tmp_path / ".." / tmp_path.name / "one").message
    assert refused(one, tmp_path / "absent").code == "RUN_NOT_FOUND"


def test_what_eval_writes_is_what_compare_reads(
    done_runs: dict[str, DoneRun], tmp_path: Path
) -> None:
    """Every method on one file; the held-out rows of those that hold out the same."""
    rows = ((Path(backprop_tui.__file__).parent / "demo" / "pairs.jsonl").read_text().splitlines())[
        :8
    ]
    file = tmp_path / "eight.jsonl"
    file.write_text("\n".join(rows) + "\n")
    runs = []
    for method, done in done_runs.items():
        runs.append(Path(shutil.copytree(done.folder, tmp_path / method)))
        for words in (("--data", str(file), "--generate", "2", "--max-new-tokens", "4"), ()):
            if words or method in ("simpo", "orpo"):
                evaluated = CliRunner().invoke(app, ["eval", str(runs[-1]), *words])
                assert evaluated.exit_code == 0, evaluated.output
    by_method = dict(zip(done_runs, runs, strict=True))
    found = json.loads(compare(*runs, "--json"))
    assert found["unusable"] == []
    on_file = next(one for one in found["evals"] if one["data"] == str(file))
    for metric, figures in on_file["figures"].items():
        assert len(figures) == len(runs)
        for run, figure in zip(runs, figures, strict=True):
            written = next((run / "evals").glob("eight-*/summary.json"))
            summary = json.loads(written.read_text())
            assert figure == next(one for one in summary["figures"] if one["name"] == metric)
    assert "token_f1" in on_file["figures"]
    assert "accuracy" in on_file["figures"]
    said = compare(*(by_method[name] for name in ("simpo", "orpo")))
    assert "eval of heldout: 20 rows of pocket" in said
    assert "  preference accuracy, per token" in said
    assert "  token F1, of 2" in said

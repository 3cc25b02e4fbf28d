"""`check`: the memory of a plan, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner, Result

from backprop_tui.cli import app, check_memory
from backprop_tui.core import runfile_io
from backprop_tui.core.facts import GpuFacts, GpuProcess
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from tests.conftest import pocket_run
from tests.core.exact import answer
from tests.core.worlds import CARD, GB, MB

KEYS = {
    *("needed", "parts", "rough", "at", "free", "total", "others", "fits", "words", "change"),
    *("largest_batch", "table", "not_modelled", "disk"),
}


class Oracle:
    """Answers at once, and remembers what it was asked."""

    asked: list[MemoryQuestion]

    def __init__(self) -> None:
        type(self).asked = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def known(self, _: MemoryQuestion) -> MemoryAnswer | None:
        return None

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        self.asked.append(asked)
        return answer(asked)


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    Oracle.asked = []
    monkeypatch.setattr(check_memory, "MemoryOracle", Oracle)


def on_card(monkeypatch: pytest.MonkeyPatch, free: int | None, **known: Any) -> None:
    """This machine has one card with so many bytes free."""
    card = replace(CARD, memory_free=free, **known)
    monkeypatch.setattr(
        "backprop_tui.probe.survey.probe_gpu", lambda: GpuFacts(cards=(card,), driver="575")
    )


def written(folder: Path, method: str = "simpo", **changes: Any) -> Path:
    keys = {name.replace("__", "."): value for name, value in changes.items()}
    path = folder / "run.toml"
    runfile_io.write(pocket_run(method, folder / "out", keys), path)
    return path


def checked(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", str(path), *options])


def memory(path: Path, *options: str) -> dict[str, Any]:
    done = checked(path, "--json", *options)
    found: dict[str, Any] = json.loads(done.stdout)["memory"]
    assert set(found) == KEYS
    return found


# JSON


def test_the_answers_are_those_of_the_real_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 12 * GB)
    found = memory(written(tmp_path, model__precision="nf4"))
    expected = answer(Oracle.asked[0])
    parts = {name: value for name, value in found["parts"].items() if value}
    assert parts.pop("overhead") > 600 * MB
    assert parts == expected.parts
    assert (found["rough"], found["at"], found["fits"]) == (False, "backward", True)
    assert found["needed"] == sum(found["parts"].values())
    assert (found["free"], found["total"]) == (12 * GB, CARD.memory_total)
    assert found["words"].startswith("fits with ")
    assert found["change"] is None
    assert found["others"] == [{"pid": 41, "name": "Xorg", "memory": GB // 2}]


def test_only_a_few_questions_are_asked_and_none_when_rough_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 12 * GB)
    path = written(tmp_path)
    memory(path)
    assert 1 <= len(Oracle.asked) <= check_memory.FEW
    few = len(Oracle.asked)
    Oracle.asked = []
    found = memory(path, "--rough")
    assert Oracle.asked == []
    assert found["rough"]
    assert found["words"].startswith("roughly: ")
    exact = memory(path, "--exact")
    assert len(Oracle.asked) > few
    assert not any(cell["rough"] for cell in exact["table"] if cell["verdict"] != "no")


def test_what_would_fit_is_said_with_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 7 * GB)
    path = written(tmp_path, model__precision="bf16", training__batch_size=1)
    found = memory(path)
    assert found["fits"] is False
    changes = {"model.precision": "nf4"}
    assert found["change"] == {"label": "nf4 weights", "changes": changes, "rough": False}
    assert found["words"].startswith("does not fit: weights take 15.0 GB; nf4 weights would fit")
    assert found["largest_batch"] == 0
    after = memory(path, "--set", "model.precision=nf4")
    assert after["fits"]
    here = [c for c in found["table"] if (c["method"], c["max_length"]) == ("simpo", 128)]
    verdicts = {cell["precision"]: cell["verdict"] for cell in here}
    assert (verdicts["bf16"], verdicts["nf4"]) == ("no", "fits")


def test_the_advice_knows_the_exact_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_card(monkeypatch, 7 * GB)
    path = written(tmp_path, model__precision="bf16")

    def warned(*options: str) -> list[str]:
        found = json.loads(checked(path, "--json", *options).stdout)["warnings"]
        return [item["message"] for item in found if item["code"] == "memory-does-not-fit"]

    assert warned("--rough") == []  # the bundled model is tiny
    assert warned()[0].startswith("Does not fit: weights take 15.0 GB")


def test_what_cannot_run_is_refused_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 7 * GB)
    done = checked(written(tmp_path, machine__card=5), "--json")
    assert done.exit_code == 1
    assert Oracle.asked == []
    assert set(json.loads(done.stdout)["memory"]) == KEYS


def test_free_memory_that_is_not_known_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, None, memory_used=None)
    found = memory(written(tmp_path))
    assert (found["free"], found["fits"], found["largest_batch"]) == (None, None, None)
    assert found["words"].startswith("how much is free is not known: needs ")


def test_an_answer_that_could_not_be_had_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 12 * GB)
    monkeypatch.setattr(Oracle, "ask", lambda *_: MemoryAnswer(why="its attention is its own"))
    found = memory(written(tmp_path))
    assert (found["needed"], found["parts"], found["fits"]) == (None, {}, None)
    assert found["not_modelled"] == "its attention is its own"
    assert found["words"] == (
        "cannot be estimated: its attention is its own; it is measured before training starts"
    )
    assert found["disk"]["needed"] is None


@pytest.mark.parametrize(
    ("changes", "checkpoints", "results"),
    [
        ({"training.max_steps": 1}, 1, 1),
        ({"training.max_steps": 3}, 3, 1),
        # The newest two, the best, and a fourth for a moment, whatever is planned.
        ({"training.max_steps": 40, "training.save_steps": 99}, 4, 0),
        ({"training.max_steps": 2, "lora": None}, 2, 1),
    ],
)
def test_the_disk_holds_the_checkpoints_and_the_result(
    changes: dict[str, Any], checkpoints: int, results: int, tmp_path: Path
) -> None:
    path = written(tmp_path, **changes)
    found = memory(path, "--rough")
    weights = found["parts"]["adapter" if "lora" not in changes else "weights"]
    checkpoint = weights + found["parts"]["optimizer"]
    assert found["disk"]["needed"] == checkpoints * checkpoint + results * weights
    assert found["disk"]["free"] > 0


# Text


def test_the_text_has_the_verdict_the_bar_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = (GpuProcess(pid=7, name="ollama", memory=12 * GB),)
    on_card(monkeypatch, 7 * GB, processes=processes)
    path = written(tmp_path, model__precision="bf16", training__batch_size=1)
    text = checked(path).stdout
    lines = text.partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert lines[0].startswith("memory           does not fit: weights take 15.0 GB")
    assert "it would fit without ollama (12.0 GB)" in " ".join(text.split())
    assert "nf4 weights: --set model.precision=nf4" in text
    assert "at the peak      backward" in text
    assert "not even one row fits" in text
    assert "time             not known yet; check --probe measures it" in text
    assert all(len(line) <= 80 for line in lines)


def test_each_bar_begins_where_the_one_above_ends() -> None:
    parts = {"weights": 4 * GB, "adapter": 0, "activations": 3 * GB, "loss": GB}
    found = list(check_memory.bar({"parts": parts, "needed": 8 * GB, "free": 4 * GB}, width=16))
    assert found == [
        "  weights          4.0 GB  ########",
        "  activations      3.0 GB          ######",
        "  loss             1.0 GB                ##",
        "  needed           8.0 GB  ================",
        "  free now         4.0 GB  ........",
    ]


@pytest.mark.parametrize("free", [None, 0, 1, 10**15])
def test_the_bars_stay_within_their_room(free: int | None) -> None:
    parts = {"weights": 10**9, "adapter": 1, "loss": 3, "overhead": 7}
    found = list(check_memory.bar({"parts": parts, "needed": 10**9 + 11, "free": free}))
    assert all(len(line) <= 80 for line in found)
    assert all("#" in line for line in found[: len(parts)])
    assert list(check_memory.bar({"parts": {}, "needed": None, "free": free})) == []


def test_the_table_is_shown_once_it_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, 10 * GB)
    path = written(tmp_path)
    assert "max_length    " not in checked(path).stdout
    shown = checked(path, "--exact").stdout
    rows = {" ".join(line.split()[:2]): line.split()[2:] for line in shown.splitlines()}
    assert rows["simpo bf16"][0].startswith("no")
    assert rows["simpo nf4"][0] == "fits"
    assert len(rows["simpo nf4"]) == len(rows["kto int8"])

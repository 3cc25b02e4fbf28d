"""Cells run one after the other: skipped, resumed, failed, stopped. Training and scoring are small
programs here that write what the real ones write; tests/cli/test_ablate.py has the real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backprop_tui.core import runfile_io
from backprop_tui.core.cells import Measured
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Event, Failed, Finished, Resumed, Started, Step, to_line
from backprop_tui.core.grid import Ablation, plan_ablation
from backprop_tui.runs.ablation import AblationFolder, begin, is_ablation, read_plan, read_scores
from backprop_tui.runs.ablation_table import Table, seconds_a_step
from backprop_tui.runs.lock import Lock
from backprop_tui.train.ablation import cells, score
from backprop_tui.train.ablation.cells import Doing, prepare
from backprop_tui.train.ablation.judging import difference
from backprop_tui.train.ablation.runner import run_cells
from tests.conftest import pocket_run

STEPS = 8


def started(path: str) -> Started:
    return Started(
        t=0.1, method="simpo", model="pocket", data="pocket", device="CPU", output=path,
        steps=STEPS, train_rows=80, heldout_rows=40, dropped={}, trainable=1, parameters=2,
        learning_rate=1e-3, seed=0,
    )  # fmt: skip


def step(number: int) -> Step:
    return Step(
        t=float(number), step=number, steps=STEPS, epoch=0.1, loss=1.0, learning_rate=1e-3,
        logp_chosen=-1.0, logp_rejected=-1.0 - number / 10,
    )  # fmt: skip


def finished(*, stopped: bool = False, number: int = STEPS) -> Finished:
    return Finished(
        t=9.0, step=number, seconds=9.0, path="adapter", stopped=stopped, replay="", memory_peak=1
    )


def all_steps() -> list[Event]:
    return [*(step(number) for number in range(1, STEPS + 1)), finished()]


class FakeTrainer:
    """What `launch` starts: a process that waits, and whose events are written here."""

    def __init__(self, plan: dict[str, list[list[Event]]]) -> None:
        self.plan = plan  # of each cell, the events of each start
        self.starts: list[str] = []
        self.slow = False  # it goes on until it is asked to stop

    def launch(self, folder: Path, **_options: Any) -> subprocess.Popen[bytes]:
        self.starts.append(folder.name)
        events = self.plan.get(folder.name, [all_steps()]).pop(0)
        resumed = [Resumed(t=0.0, step=0, checkpoint="")] if folder.name in self.starts[:-1] else []
        lines = [to_line(event) + "\n" for event in (*resumed, started(str(folder)), *events)]
        with (folder / "events.jsonl").open("a") as file:
            file.writelines(lines)
        code = events[-1].exit_code if isinstance(events[-1], Finished | Failed) else 9
        if not self.slow:
            return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        end = to_line(finished(stopped=True, number=5))
        program = (
            "import signal, sys, time\n"
            "def stop(*_):\n"
            f"    with open({str(folder / 'events.jsonl')!r}, 'a') as file:\n"
            f"        file.write({end!r} + chr(10))\n"
            "    sys.exit(4)\n"
            "signal.signal(signal.SIGTERM, stop)\n"
            f"open({str(folder / 'ready')!r}, 'w')\n"
            "time.sleep(60)"
        )
        return subprocess.Popen([sys.executable, "-c", program])


SCORER = """
import json, pathlib, sys
given = [word for word in sys.argv[1:] if not word.startswith("--")]
run, out = map(pathlib.Path, given)
with (out.parent.parent / "scored.txt").open("a") as file:
    file.write(out.stem + chr(10))
good = {"base": 20, "simpo-r16": 36, "simpo-r8": 33, "orpo-r8": 30, "orpo-r16": 28}[out.stem]
rows = [[i, -4.0 - (i % 3) / 50, -8.0 if i < good else -3.9, 4, 4] for i in range(40)]
out.write_text(json.dumps({"schema": 1, "pairs": rows}))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Ablation:
    return plan_ablation(pocket_run("simpo", tmp_path / "unused"))


@pytest.fixture
def folder(tmp_path: Path, plan: Ablation) -> AblationFolder:
    made = AblationFolder(tmp_path / "ablation")
    begin(made, plan)
    return made


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer({})
    monkeypatch.setattr(cells, "launch", fake.launch)
    monkeypatch.setattr(cells, "SCORE", (sys.executable, "-c", SCORER))
    monkeypatch.setattr(cells, "LOOK", 0.01)
    return fake


def run_it(
    folder: AblationFolder,
    plan: Ablation,
    stopping: Callable[[], bool] = lambda: False,
    **more: Any,
) -> tuple[Any, list[str]]:
    said: list[str] = []
    done = run_cells(Doing(folder, stopping, **more), plan, said.append)
    return done, said


def states(folder: AblationFolder, plan: Ablation) -> list[str]:
    return [row.state for row in Table(folder, plan).rows()]


def test_every_cell_is_trained_and_scored_and_the_base_once(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    done, said = run_it(folder, plan)
    assert trainer.starts == ["simpo-r8", "simpo-r16", "orpo-r8", "orpo-r16"]
    scored = (folder.path / "scored.txt").read_text().split()
    assert scored == ["simpo-r8", "base", "simpo-r16", "orpo-r8", "orpo-r16"]
    assert states(folder, plan) == ["scored"] * 5
    assert said[0] == "[1/4] simpo-r8  begins"
    assert "[1/4] simpo-r8  scored: 33 of 40 held-out pairs right, margin +0.82 per token" in said
    decision = done[1]
    assert (decision.kind, decision.setting) == ("winner", "simpo-r16")
    kept = json.loads(folder.result.read_text())
    assert kept["decision"]["setting"] == "simpo-r16"
    assert kept["heldout_pairs"] == 40
    assert kept["base"]["right"] == 20
    assert [cell["right"] for cell in kept["cells"]] == [33, 36, 30, 28]
    low, high = kept["decision"]["intervals"]["simpo-r8"]
    assert low <= 3 / 40 <= high


def test_a_cell_is_an_ordinary_run_folder_with_its_own_run_file(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    run_it(folder, plan)
    for cell in plan.cells:
        run, _ = runfile_io.read(folder.cell(cell.name) / "run.toml", (), {})
        assert run.output == str(folder.cell(cell.name))
        assert run.model_copy(update={"output": ""}).knobs == cell.run.knobs
        assert (run.method, run.lora) == (cell.run.method, cell.run.lora)
        assert folder.cell(cell.name).stat().st_mode & 0o777 == 0o700


def test_what_is_finished_is_not_done_again(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    first, _ = run_it(folder, plan)
    trainer.starts.clear()
    (folder.path / "scored.txt").unlink()
    folder.scores("orpo-r8").unlink()  # scored, and lost
    again, said = run_it(folder, plan)
    assert trainer.starts == []
    assert (folder.path / "scored.txt").read_text().split() == ["orpo-r8"]
    assert again[1] == first[1]
    assert "already done" in said[0]


def test_a_killed_cell_is_resumed_and_a_failed_one_is_recorded_and_tried_again(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    why = "The card ran out of memory."
    failed = Failed(t=3.0, code="RUN_OUT_OF_MEMORY", message=why, hint="", log="")
    whole = all_steps()
    trainer.plan = {
        "simpo-r16": [[step(1), failed], whole],
        "orpo-r8": [[step(1), step(2)], whole],  # killed: no last event
    }
    done, said = run_it(folder, plan)
    assert states(folder, plan) == ["scored", "scored", "failed", "failed", "scored"]
    rows = {row.name: row for row in Table(folder, plan).rows()}
    assert rows["simpo-r16"].why == "The card ran out of memory."
    assert "exit code 9" in rows["orpo-r8"].why
    assert "[2/4] simpo-r16  failed: The card ran out of memory." in said
    assert done[1].setting == "simpo-r8"
    assert any("ran out of memory" in reason for reason in done[1].reasons)
    trainer.starts.clear()
    done, _ = run_it(folder, plan)
    assert trainer.starts == ["simpo-r16", "orpo-r8"]
    assert states(folder, plan) == ["scored"] * 5
    assert done[1].setting == "simpo-r16"


def test_a_stop_saves_the_running_cell_and_leaves_the_rest(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    trainer.plan = {"simpo-r8": [[step(5)], all_steps()]}
    trainer.slow = True
    done, _ = run_it(folder, plan, lambda: (folder.cell("simpo-r8") / "ready").exists())
    assert done is None
    assert states(folder, plan) == ["waiting", "stopped", "waiting", "waiting", "waiting"]
    assert not folder.result.exists()
    assert trainer.starts == ["simpo-r8"]
    trainer.slow = False
    done, said = run_it(folder, plan)
    assert said[0] == "[1/4] simpo-r8  goes on"
    assert done is not None
    assert trainer.starts == ["simpo-r8", "simpo-r8", "simpo-r16", "orpo-r8", "orpo-r16"]


def test_an_interrupt_ends_the_running_cell_at_once(
    folder: AblationFolder,
    plan: Ablation,
    trainer: FakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer.plan = {"simpo-r8": [[step(5)]]}
    trainer.slow = True
    processes: list[subprocess.Popen[bytes]] = []

    def kept(path: Path, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(trainer.launch(path, **options))
        return processes[-1]

    def interrupted() -> bool:
        if (folder.cell("simpo-r8") / "ready").exists():
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(cells, "launch", kept)
    with pytest.raises(KeyboardInterrupt):
        run_it(folder, plan, interrupted)
    assert processes[0].poll() == -signal.SIGKILL


def test_a_cell_that_another_process_is_at_is_waited_for(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    path = folder.cell("simpo-r8")
    prepare(path, plan.cells[0])
    lock = Lock.take(path)

    def end() -> None:
        time.sleep(0.3)
        events = [started(str(path)), *all_steps()]
        (path / "events.jsonl").write_text("".join(to_line(event) + "\n" for event in events))
        lock.release()

    thread = threading.Thread(target=end)
    thread.start()
    run_it(folder, plan)
    thread.join()
    assert trainer.starts == ["simpo-r16", "orpo-r8", "orpo-r16"]  # that one was finished there


@pytest.mark.parametrize("left", ["nothing", "empty", "no run file"])
def test_a_start_that_was_killed_leaves_nothing_in_the_way(
    folder: AblationFolder, plan: Ablation, left: str
) -> None:
    path = folder.cell("simpo-r8")
    if left != "nothing":
        path.mkdir()
    if left == "no run file":
        (path / "events.jsonl").touch()
    prepare(path, plan.cells[0])
    assert runfile_io.read(path / "run.toml", (), {})[0].method == "simpo"


def test_cells_without_pairs_are_trained_and_not_scored(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    done, _ = run_it(folder, plan, paired=False)
    assert not (folder.path / "scored.txt").exists()
    assert states(folder, plan)[1:] == ["trained"] * 4
    assert done[1].kind == "not-comparable"
    assert done[1].sentence.startswith("No decision: the held-out rows are not pairs")
    assert done[1].reasons == ()


def test_a_scorer_that_breaks_is_recorded_and_the_rest_goes_on(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SCORER.replace("good =", "if out.stem in ('base', 'orpo-r16'): sys.exit(9)\ngood =")
    monkeypatch.setattr(cells, "SCORE", (sys.executable, "-c", broken))
    done, _ = run_it(folder, plan)
    assert states(folder, plan) == ["failed", "scored", "scored", "scored", "failed"]
    row = Table(folder, plan).rows()[-1]
    assert "scoring ended with exit code 9" in row.why
    assert any("base was not scored" in reason for reason in done[1].reasons)
    monkeypatch.setattr(cells, "SCORE", (sys.executable, "-c", SCORER))
    trainer.starts.clear()
    done, _ = run_it(folder, plan)
    assert states(folder, plan) == ["scored"] * 5
    assert trainer.starts == []


def test_cells_of_other_data_are_not_compared(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    run_it(folder, plan)
    for name, sha in (("simpo-r8", "a"), ("simpo-r16", "b"), ("orpo-r8", "a"), ("orpo-r16", "a")):
        path = folder.cell(name) / "run.toml"
        run = runfile_io.change(runfile_io.read(path, (), {})[0], {"provenance.data_sha256": sha})
        runfile_io.write(run, path, overwrite=True)
    done, _ = run_it(folder, plan)
    assert done[1].setting == "simpo-r8"
    assert any("other data" in reason for reason in done[1].reasons)


# --- the folder


def test_the_plan_is_read_back_as_it_was(folder: AblationFolder, plan: Ablation) -> None:
    assert read_plan(folder) == plan
    assert is_ablation(folder.path)


def test_the_same_plan_goes_on_and_another_is_refused_with_its_keys(
    folder: AblationFolder, plan: Ablation
) -> None:
    begin(folder, plan)
    base = runfile_io.change(plan.base, {"training.max_steps": 5, "simpo.beta": 3.0})
    with pytest.raises(InputError) as caught:
        begin(folder, plan_ablation(base, grid=["lora.rank=8,32"]))
    assert caught.value.code == "ABLATION_CHANGED"
    for words in (
        "training.max_steps (4 there, 5 here)",
        "simpo.beta (2.0 there, 3.0 here)",
        "cells only here: simpo-r32",
        "cells only there: orpo-r16, orpo-r8, simpo-r16",
    ):
        assert words in caught.value.message


def test_a_folder_that_is_something_else_is_not_touched(tmp_path: Path, plan: Ablation) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError) as caught:
        begin(AblationFolder(tmp_path), plan)
    assert caught.value.code == "OUTPUT_EXISTS"
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("text", ["", "schema = 9", "schema = 1\ncells = 3", "\x00", "schema = 1"])
def test_a_damaged_plan_is_a_sentence(folder: AblationFolder, text: str) -> None:
    folder.plan.write_text(text)
    with pytest.raises(InputError) as caught:
        read_plan(folder)
    assert caught.value.code == "ABLATION_UNREADABLE"


@pytest.mark.parametrize("name", ["../../out", "a/b", ".hidden"])
def test_a_cell_stays_in_its_folder(folder: AblationFolder, name: str) -> None:
    folder.plan.write_text(folder.plan.read_text().replace('name = "simpo-r8"', f'name = "{name}"'))
    with pytest.raises(InputError, match="cannot be named"):
        read_plan(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"pairs": 3}',
        '{"error": "no"}',
        '{"pairs": [[1]]}',
        '{"pairs": [[1, -2.0, -3.0, 4]]}',
        '{"pairs": [[1, "a", "b", 4, 4]]}',
        '{"pairs": [[1, -2.0, -3.0, 4, 0]]}',
        '{"pairs": [[1, NaN, -3.0, 4, 4]]}',
    ],
)
def test_damaged_scores_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    assert read_scores(path) is None


def test_the_pace_is_that_of_the_steps_taken(
    folder: AblationFolder, plan: Ablation, trainer: FakeTrainer
) -> None:
    assert seconds_a_step(Table(folder, plan).rows()) is None
    run_it(folder, plan)
    assert seconds_a_step(Table(folder, plan).rows()) == pytest.approx(9 / STEPS)


def test_folders_that_were_removed_are_made_again(folder: AblationFolder, plan: Ablation) -> None:
    folder.scores("x").parent.rmdir()
    begin(folder, plan)
    assert sorted(os.listdir(folder.path)) == ["ablation.toml", "cells", "scores"]


# --- scoring


def test_a_refusal_of_the_scorer_is_kept_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_a: object, **_o: object) -> None:
        raise InputError("its held-out rows are no pairs", code="EVAL_NO_PAIRS")

    # In its place, so that nothing heavy is loaded.
    fake = SimpleNamespace(heldout_pairs=refused)
    monkeypatch.setitem(sys.modules, "backprop_tui.train.evals.heldout", fake)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert score.main([str(tmp_path), str(tmp_path / "out.json")]) == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "error": "its held-out rows are no pairs"
    }


# --- intervals


def setting(outcomes: list[list[float]]) -> Measured:
    rows = tuple(map(tuple, outcomes))
    return Measured("a", "simpo", 8, len(rows), len(rows[0]), 0, 0, 0, None, "", rows)


def test_the_interval_of_a_paired_difference() -> None:
    better, worse = [1.0] * 30 + [0.0] * 10, [1.0] * 20 + [0.0] * 20
    low, high = difference(setting([better]), setting([worse]))
    assert 0.1 < low < 0.25 < high < 0.5
    assert difference(setting([better]), setting([better])) == (0.0, 0.0)  # the same pairs


def test_seeds_that_disagree_widen_it() -> None:
    better, worse = [1.0] * 30 + [0.0] * 10, [1.0] * 20 + [0.0] * 20
    one = difference(setting([better] * 3), setting([worse] * 3))
    other = difference(setting([better, better, worse]), setting([worse] * 3))
    assert one[0] > 0
    assert other[0] < one[0]
    assert other[1] - other[0] > one[1] - one[0]

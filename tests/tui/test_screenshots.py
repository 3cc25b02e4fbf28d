"""The pictures in screenshots/ are what the screens really look like.

They are drawn from a real demo run: `make screenshots` trains the demo, keeps its events in
tests/data/demo_events.jsonl, and redraws. The test draws from those events and compares.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Input

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.core.control import Control
from backprop_tui.core.decision import Decision
from backprop_tui.core.effective import effective
from backprop_tui.core.events import Event, Finished, Started, Step, from_line, to_line
from backprop_tui.core.facts import Facts, GpuFacts, Quantiles
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion, as_json, from_json
from backprop_tui.core.rows import Message
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.votes import SIDES, Answer, Side
from backprop_tui.core.what_fits import wanted
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.runs.ablation import AblationFolder, begin
from backprop_tui.runs.ablation_table import Row, Table
from backprop_tui.train.ablation.cells import Doing
from backprop_tui.train.ablation.runner import run_cells
from backprop_tui.train.trying import Tryable
from backprop_tui.tui.keeper import new_plan
from backprop_tui.tui.memory_asker import questions
from backprop_tui.tui.messages import RunEvent
from backprop_tui.tui.monitor import MonitorScreen
from backprop_tui.tui.row_view import RowViewScreen
from backprop_tui.tui.try_app import TryApp
from backprop_tui.tui.try_widgets import PromptArea
from backprop_tui.tui.try_worker import Answered, Prompts, Ready, Writer
from tests.conftest import run_training
from tests.core.exact import told
from tests.core.worlds import LLAMA_8B
from tests.core.worlds import PAIRS as PAIRS_FACTS
from tests.tui import ablations
from tests.tui.test_memory_terminal import CONFIG
from tests.tui.wizard_pilot import GB, WIDE, StillOracle, card, wizard

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "screenshots"
PAIRS = DEMO.with_name("pairs.jsonl")
EVENTS = ROOT / "tests" / "data" / "demo_events.jsonl"
ANSWERS = EVENTS.with_name("memory_answers.jsonl")
OUTPUT = "/home/you/runs/demo"  # shown, never written to
FREE_RAM = 22 * GB
STEPS = ("machine", "model", "data", "method", "tuning", "memory", "review")
MOMENTS = {"monitor-1-start": 5, "monitor-2-middle": 47, "monitor-3-end": None}  # last step seen


@pytest.fixture(scope="module", autouse=True)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With --update-screenshots: train the demo, and keep what happened."""
    if not request.config.getoption("--update-screenshots"):
        return
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = run_training(runfile_io.change(demo_run(), {"output": str(folder)}))
    assert isinstance(done.ending, Finished)
    lines = [to_line(event).replace(str(folder), OUTPUT) for event in done.events]
    EVENTS.parent.mkdir(exist_ok=True)
    EVENTS.write_text("\n".join(lines) + "\n")


def demo_run() -> RunFile:
    run, _ = runfile_io.read(DEMO, env={})
    return runfile_io.change(run, {"output": OUTPUT})


def events() -> list[Event]:
    found = [from_line(line) for line in EVENTS.read_text().splitlines()]
    return [event for event in found if event is not None]


def still(app: App[int]) -> None:
    """No blinking cursor: a picture must not depend on when it was taken."""
    for field in app.screen.query(Input):
        field.cursor_blink = False


def compare(app: App[int], name: str, request: pytest.FixtureRequest) -> None:
    """Compare the screen with its picture, or rewrite the picture."""
    path = SCREENSHOTS / f"{name}.svg"
    drawn = app.export_screenshot(title="backprop-tui")
    if request.config.getoption("--update-screenshots"):
        path.write_text(drawn)
    assert path.exists(), "make screenshots draws it"
    assert drawn == path.read_text(), f"{path.name} is not what is drawn now; make screenshots"


@pytest.mark.parametrize("step", STEPS)
async def test_wizard_step(step: str, request: pytest.FixtureRequest) -> None:
    facts = Facts(gpu=GpuFacts(problem="No NVIDIA driver is installed on this machine."))
    async with wizard(WIDE, run=demo_run(), facts=facts) as shown:
        shown.app.free_ram = FREE_RAM
        shown.app.refresh_view()
        await shown.go(step)
        await shown.settled()
        still(shown.app)
        await shown.pilot.pause()
        compare(shown.app, f"step-{STEPS.index(step) + 1}-{step}", request)


def twelve_gb() -> tuple[RunFile, Facts]:
    """An 8B for orpo at max_length 4096, and a card of 12 GB."""
    lengths = {"prompt": 2900, "chosen": 700, "rejected": 760, "row": 3600}
    tokens = {
        side: Quantiles(p50=n // 4, p90=n // 2, p99=n * 3 // 4, max=n, mean=n / 3)
        for side, n in lengths.items()
    }
    one = card(name="NVIDIA GeForce RTX 3060", used=1, total=12)
    facts = Facts(
        gpu=GpuFacts(cards=(one,)),
        model=replace(LLAMA_8B, config=json.dumps(CONFIG)),
        data=replace(PAIRS_FACTS, tokens=tokens),
    )
    keys = {"model.id": "llama-8b", "data.path": "pairs.jsonl", "data.max_length": 4096}
    changes = {"training.batch_size": 4, "training.accumulation": 4}
    return runfile_io.change(new_plan(), {"method": "orpo", **keys, **changes}), facts


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> type[StillOracle]:
    """The exact answers, as they were recorded; with --update-screenshots they are asked anew."""
    if request.config.getoption("--update-screenshots"):
        run, facts = twelve_gb()
        with MemoryOracle() as real:  # of the table only what follows from the plan's own
            while asked := wanted(run, facts, None, of_table=False):
                facts = told(facts, asked[0], real.ask(asked[0]))
        recorded = [(as_json(q), asdict(a)) for q, a in facts.memory.answers.items()]
        ANSWERS.write_text("\n".join(json.dumps(line) for line in sorted(recorded)) + "\n")
    known = {
        from_json(asked): MemoryAnswer(**answer)
        for asked, answer in map(json.loads, ANSWERS.read_text().splitlines())
    }

    class Recorded(StillOracle):
        def known(self, asked: MemoryQuestion) -> MemoryAnswer | None:
            return known.get(asked)

    return Recorded


async def test_an_8b_on_a_card_of_12_gb(
    answers: type[StillOracle], request: pytest.FixtureRequest
) -> None:
    run, facts = twelve_gb()
    async with wizard(WIDE, run=run, facts=facts, oracle=answers) as shown:
        await shown.go("memory")
        await shown.until(lambda: not questions(shown.app.view, table=False))
        still(shown.app)
        await shown.pilot.pause()
        compare(shown.app, "memory-8b-on-12-gb", request)


async def test_rows_as_they_are_trained(request: pytest.FixtureRequest) -> None:
    run = runfile_io.change(demo_run(), {"data.max_length": 64})
    async with wizard(WIDE, run=run, facts=Facts(gpu=GpuFacts())) as shown:
        await shown.go("data")
        await shown.settled()
        await shown.press("f4")
        screen = shown.app.screen
        assert isinstance(screen, RowViewScreen)
        await shown.until(lambda: screen.look is not None)
        compare(shown.app, "data-rows", request)


async def test_columns_being_mapped(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "ratings.jsonl"
    rows = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    path.write_text(
        "\n".join(
            json.dumps({"topic": row["prompt"], "one": row["chosen"], "two": row["rejected"]})
            for row in rows[:30]
        )
    )
    columns = {"prompt": "topic", "chosen": "one", "rejected": "two"}
    changes = {"data.path": str(path), "data.columns": columns, "data.shape": "paired"}
    run = runfile_io.change(demo_run(), changes)
    async with wizard(WIDE, run=run, facts=Facts(gpu=GpuFacts())) as shown:
        await shown.go("data")
        await shown.settled()
        await shown.press("f3")
        await shown.shows("30 of 30 rows")
        compare(shown.app, "data-columns", request)


@pytest.mark.parametrize("moment", list(MOMENTS))
async def test_monitor_moment(moment: str, request: pytest.FixtureRequest) -> None:
    last = MOMENTS[moment]
    async with wizard(WIDE, run=demo_run(), facts=Facts(gpu=GpuFacts())) as shown:
        # The clock stands still: elapsed time is what the events say.
        screen = MonitorScreen(demo_run(), Control(), clock=lambda: 0.0)
        await shown.app.push_screen(screen)
        for event in events():
            screen.post_message(RunEvent(event))
            if isinstance(event, Step) and event.step == last:
                break
        await shown.pilot.pause()
        screen.draw()
        await shown.pilot.pause()
        compare(shown.app, moment, request)


# Written by the demo's model and its base, greedily.
TRIED: dict[Side, Answer] = {
    "base": Answer(
        "Try a stew. Brown the onions in a little oil and warm the beans with garlic. "
        "Add a spoon of vinegar.",
        26,
        "ended",
        0.4,
    ),
    "tuned": Answer(
        "Try a pan dish. Boil the potatoes for fifteen minutes and toast the bread in cubes.",
        22,
        "ended",
        0.4,
    ),
}


async def test_a_run_tried_blind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(Writer, "start", lambda self: None)  # nothing is loaded
    monkeypatch.setattr(secrets, "choice", lambda sides: "tuned")
    folder, run = tmp_path / "simpo-pocket", demo_run()
    folder.mkdir()
    plan, facts = effective(run, Facts()), replace(LLAMA_8B, name="pocket")
    app = TryApp(
        Tryable(folder, run, plan, folder, "ab", facts, None, SIDES), blind=True, sampling=None
    )
    async with app.run_test(size=WIDE) as pilot:
        screen = app.trying
        asked = (Message("user", "What can I cook with mushrooms and beans?"),)
        screen.post_message(Ready())
        screen.post_message(Prompts([asked] * 80))
        await pilot.press("f2")
        screen.post_message(Answered(screen.number, TRIED))
        await pilot.pause()
        screen.query_one(PromptArea).cursor_blink = False
        await pilot.pause()
        compare(app, "try", request)


@pytest.fixture
def ablation(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Row], Decision]:
    """What the 2x2 on the demo's run file came to; with --update-screenshots it is run."""
    if request.config.getoption("--update-screenshots"):
        folder, plan = AblationFolder(tmp_path / "ablation"), ablations.demo_plan()
        begin(folder, plan)
        done = run_cells(Doing(folder, lambda: False), plan, lambda _text: None)
        assert done is not None
        ablations.record(Table(folder, plan).rows(), done[1])
    return ablations.recorded()


@pytest.mark.timeout(1200)  # seconds: the 2x2 takes about four minutes
async def test_an_ablation_decided(
    ablation: tuple[list[Row], Decision], request: pytest.FixtureRequest
) -> None:
    rows, decision = ablation
    work = ablations.Work(decision)
    async with ablations.showing(rows, work, WIDE, elapsed=280.0) as (app, pilot):
        work.end.set()
        while app.table.decision is None or not app.table.rows:
            await pilot.pause(0.05)
        await pilot.pause()
        compare(app, "ablation", request)


def test_the_recorded_run_learned() -> None:
    found = events()
    assert isinstance(found[-1], Finished)
    started = next(event for event in found if isinstance(event, Started))
    assert started.heldout_rows == 80
    assert replace(started, t=0.0).method == "simpo"

"""One damaged file each, read by everything that reads such a file."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from backprop_tui.core import runfile_io
from backprop_tui.core.errors import BackpropError, ConfigError
from backprop_tui.core.events import Evaluated, Preparing, to_line
from backprop_tui.core.facts import Facts
from backprop_tui.core.guards import Guards
from backprop_tui.core.history import History
from backprop_tui.core.lines import line
from backprop_tui.core.methods import METHODS
from backprop_tui.core.printable import printable
from backprop_tui.core.reading import read_run
from backprop_tui.core.rules import judge
from backprop_tui.core.runfile import LoraSection, ProvenanceSection, RunFile
from backprop_tui.core.runfile_guards import GuardsSection
from backprop_tui.core.runfile_keys import valid_keys
from backprop_tui.core.summary import summary
from backprop_tui.runs.event_file import EventFile
from backprop_tui.runs.lock import Lock, Owner, owner
from backprop_tui.runs.state import read_state
from backprop_tui.runs.stream import Follower
from backprop_tui.train.checkpoints import Checkpoints, RunState
from backprop_tui.train.folder import default_output
from backprop_tui.tui.panels.accuracy import AccuracyPanel
from backprop_tui.tui.panels.gpu import GpuPanel
from backprop_tui.tui.panels.log import LogPanel
from backprop_tui.tui.panels.loss import GradientPanel, LossPanel
from backprop_tui.tui.panels.margin import MarginPanel
from backprop_tui.tui.panels.memory_live import MemoryPanel
from backprop_tui.tui.panels.progress import ProgressPanel
from backprop_tui.tui.panels.rewards import RewardsPanel
from benchmarks import damage
from benchmarks.fuzz_room import Fault

ROOT = Path(__file__).parent.parent
RUN_EVENTS = ROOT / "tests" / "data" / "demo_events.jsonl"
DEMO = ROOT / "backprop_tui" / "demo" / "demo.toml"
MOST_WORDS = 4000  # characters of one message
FULL = GuardsSection(
    watch="margin", patience=3, stop_on_explosion=True, max_temperature=80, max_hours=1.5
)


def run_file(random: Random, room: Path) -> str:
    """Read it; write what is accepted, read that again, and judge it."""
    path = room / "run.toml"
    path.write_bytes(damage.run_file(random, SOURCES))
    sets = [damage.setting(random, KEYS)] if random.random() < 0.1 else []
    try:
        run, _ = runfile_io.read(path, sets, {})
    except BackpropError as error:
        _understood(error)
        return "refused"
    runfile_io.write(run, path, overwrite=True)
    again, overrides = runfile_io.read(path, (), {})
    _demand(again == run, f"{run!r} became {again!r}")
    _demand(not overrides, "nothing was set")
    for advice in judge(run, Facts()):
        _words(advice.message)
    _demand(default_output(run).parent == Path("runs"), f"goes to {default_output(run)}")
    Guards(run.guards, run.method)
    return "accepted"


def event_file(random: Random, room: Path) -> str:
    """Follow it, show it, judge it, and go on writing it."""
    path = room / "run" / "events.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(damage.events(random, EVENTS))
    follower, history, section = Follower(path), History(), random.choice((FULL, GuardsSection()))
    guards, found = Guards(section, random.choice(("simpo", "sft"))), follower.read()
    panels = _panels(history) if random.random() < 0.1 else []
    for event in found:
        history.add(event)
        for verdict in guards.judge(event):
            _words(verdict.message)
        line(event)
        for panel in panels:
            panel.take(event)
    _words(read_run(history))
    summary(history)
    for panel in panels:
        if not isinstance(panel, LogPanel):
            panel.lines(80, 12)
    _demand(read_state(path.parent).state in ("interrupted", "prepared", *ENDED), "a state")
    file = EventFile(path)
    file.append(LAST)
    file.close()
    _demand(path.read_bytes().endswith(LAST_LINE), "the last line is not whole")
    news = follower.read()
    _demand(news[-1:] == [LAST], f"the new line is not read: {news[-1:]}")
    _demand(Follower(path).read()[-1:] == [LAST], "the new line is not read anew")
    return f"{'some' if found else 'no'} events"


def checkpoint(random: Random, room: Path) -> str:
    """A damaged state beside a whole one: the whole one stays what a run goes on from."""
    folder = room / "checkpoints"
    for step, text in ((7, None), (2, STATE.as_json())):
        path = folder / f"checkpoint-{step}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "weights").write_bytes(b"1234")
        damaged = damage.json_file(random, replace(STATE, step=7).as_json())
        whole = damaged if text is None else text.encode()
        (path / "run_state.json").write_bytes(whole)
    store = Checkpoints(folder, random.choice(("accuracy", "margin", "loss")))
    steps = [one.step for one in store.whole()]
    newest, best = store.newest(), store.best()
    _demand(2 in steps and newest is not None and newest.step in steps, f"whole: {steps}")
    _demand(best is None or best.step in steps, "the best is whole")
    return "one whole" if len(steps) == 1 else "both whole"


def lock(random: Random, room: Path) -> str:
    """A lock file that says anything: unheld it has no owner, held it has one."""
    folder = room / "locked"
    folder.mkdir(exist_ok=True)
    _demand(owner(folder) is None, "nobody owns it")
    held = Lock.take(folder)
    text = json.dumps({"pid": 1, "host": platform.node(), "since": "2026-01-01T00:00:00+00:00"})
    (folder / "run.lock").write_bytes(damage.json_file(random, text))
    found = owner(folder)
    held.release()
    _demand(isinstance(found, Owner) and type(found.pid) is int, f"it has an owner: {found}")
    return "named" if found and found.pid else "unnamed"


def _panels(history: History) -> list[Any]:
    return [
        *(LossPanel(), GradientPanel(), MarginPanel(), RewardsPanel(), AccuracyPanel()),
        *(MemoryPanel(on_cpu=True), GpuPanel(), LogPanel(), ProgressPanel(history, "kto", "m")),
    ]


def _understood(error: BackpropError) -> None:
    """Every sentence of an error is one."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    _demand(not isinstance(error, ConfigError) or bool(problems), "an error without a problem")
    for text in (error.message, *(problem.message for problem in problems)):
        _words(text)


def _words(text: str) -> None:
    """A sentence for people, which no terminal takes for a command."""
    _demand(bool(text.strip()), "an empty message")
    _demand(len(text) <= MOST_WORDS, f"a message of {len(text)} characters: {text[:200]}")
    _demand("Traceback" not in text, text[:300])
    _demand(printable(text) == text, f"control characters: {text[:300]!r}")


def _demand(holds: bool, words: str) -> None:
    if not holds:
        raise Fault(words)


def _sources() -> list[str]:
    """Run files to damage: of every method its defaults, one with every table, and the demo."""
    plain = [RunFile(method=name) for name in METHODS]
    made = ProvenanceSection(packages={"torch": "2"}, dropped={"empty": 1})
    full = RunFile(lora=LoraSection(targets=["q_proj"]), guards=FULL)
    full = full.model_copy(update={"provenance": made})
    return [runfile_io.to_toml(run) for run in (*plain, full)] + [DEMO.read_text()]


SOURCES, KEYS, EVENTS = _sources(), valid_keys(), RUN_EVENTS.read_text().splitlines()
ENDED = ("finished", "stopped", "failed")
LAST = Preparing(t=3.0, stage="the end")
LAST_LINE = to_line(LAST).encode() + b"\n"
STATE = RunState(
    step=2,
    tokens=10,
    rows=4,
    evaluated_at=2,
    evaluated=Evaluated(t=1.0, step=2, rows=8, loss=0.5, margin=0.1, accuracy=0.6),
    plan={"training.seed": "0"},
    files={"weights": 4},
)

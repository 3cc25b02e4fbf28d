"""The real app under a pilot, for the wizard's tests: keys in, text on the screen out."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input

from backprop_tui.core.facts import Facts, Gpu, GpuFacts, GpuProcess
from backprop_tui.core.memory_question import MemoryAnswer, MemoryQuestion
from backprop_tui.core.runfile import RunFile
from backprop_tui.probe import memory as memory_module
from backprop_tui.probe.memory import MemoryOracle
from backprop_tui.tui import app as app_module
from backprop_tui.tui.app import BackpropApp
from backprop_tui.tui.panels.advice import Notes
from backprop_tui.tui.steps.base import Step
from backprop_tui.tui.wizard import WizardScreen

GB = 2**30
WIDE, NARROW = (120, 36), (80, 24)
NO_CARD = GpuFacts(problem="No NVIDIA driver is installed on this machine.")


def card(
    index: int = 0, name: str = "NVIDIA GeForce RTX 4060 Ti", used: int = 0, total: int = 16
) -> Gpu:
    """A card of `total` GB, `used` GB of it held by python3."""
    return Gpu(
        index=index,
        name=name,
        memory_total=total * GB,
        memory_used=used * GB,
        memory_free=(total - used) * GB,
        compute_capability=(8, 9),
        bf16=True,
        temperature=41,
        power=23.0,
        power_limit=165.0,
        utilisation=0,
        processes=(GpuProcess(pid=1234, name="python3", memory=used * GB),) if used else (),
    )


class StillOracle:
    """In place of the child process that computes exact figures: it does not answer, and ends when
    it is closed. answer: of a test that wants one, at once. asked: so far, in order."""

    answer: Callable[[MemoryQuestion], MemoryAnswer] | None = None

    def __init__(self) -> None:
        self.asked: list[MemoryQuestion] = []
        self.closed = threading.Event()

    def known(self, asked: MemoryQuestion) -> MemoryAnswer | None:
        return None

    def ask(self, asked: MemoryQuestion) -> MemoryAnswer:
        self.asked.append(asked)
        if self.answer is not None:
            return self.answer(asked)
        self.closed.wait()
        return MemoryAnswer(why="it was closed")

    def close(self) -> None:
        self.closed.set()


@dataclass
class Wizard:
    """What a test does to the app, and what it sees."""

    app: BackpropApp
    pilot: Pilot[int]

    @property
    def screen(self) -> WizardScreen:
        assert isinstance(self.app.screen, WizardScreen)
        return self.app.screen

    @property
    def step(self) -> Step:
        return self.screen.current

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Letters, as they would be typed; what is selected is replaced."""
        names = {"/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", " ": "space"}
        await self.press(*(names.get(letter, letter) for letter in text))

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Poll; fails with the screen's text."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s in vain for it:\n{self.text}"
            await self.pilot.pause(0.02)
        await self.pilot.pause()

    async def settled(self) -> None:
        """Nothing is being read any more."""
        await self.until(lambda: not self.app.reading)

    async def go(self, step: str) -> None:
        """To a step by keyboard."""
        while self.screen.step != step:
            await self.press("ctrl+n")

    async def shows(self, *texts: str) -> None:
        """Until every text is on the screen (line breaks do not count)."""
        missing = set(texts)

        def all_there() -> bool:
            shown = " ".join(self.text.split())
            missing.difference_update([text for text in missing if text in shown])
            return not missing

        await self.until(all_there)

    @property
    def text(self) -> str:
        """The screen, line by line."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def method(self) -> str:
        """The method of the plan now."""
        return self.app.plan.method

    def input(self, key: str) -> Input:
        """The control of a field."""
        return self.screen.query_one(f"#field-{key.replace('.', '-')} Input", Input)

    def notes(self, key: str) -> str:
        """The advice under a field, as it is shown."""
        notes = self.screen.query_one(f"#field-{key.replace('.', '-')} Notes", Notes)
        return " ".join(str(notes.content).split()) if notes.display else ""

    def codes(self) -> set[str]:
        """Every advice on the plan."""
        return {item.code for item in self.app.view.advice}


@asynccontextmanager
async def wizard(
    size: tuple[int, int] = WIDE,
    *,
    run: RunFile | None = None,
    facts: Facts | None = None,
    save_to: Path | None = None,
    oracle: type[MemoryOracle] | type[StillOracle] = StillOracle,
) -> AsyncIterator[Wizard]:
    """The app as a user starts it, but for the slow libraries, which stay unloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_module, "warm_imports", lambda **_: None)
        patch.setattr(memory_module, "MemoryOracle", oracle)
        app = BackpropApp(run, facts, save_to)
        async with app.run_test(size=size, notifications=True) as pilot:
            found = Wizard(app, pilot)
            await found.settled()
            yield found


def clipped(app: BackpropApp) -> list[str]:
    """Widgets that stick out of the screen or out of their parent, sideways."""
    width = app.size.width
    out = []
    for widget in app.screen.query("*"):
        region = widget.region
        if not widget.display or not region.area or not all(a.display for a in widget.ancestors):
            continue
        parent = widget.parent.region if isinstance(widget.parent, Widget) else region
        if region.x < 0 or region.right > width or region.right > parent.right:
            out.append(f"{widget!r} {region} in {parent}")
    return out

"""Tables of an ablation as a run leaves them, and the screen over them."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from textual.pilot import Pilot

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.core.cells import Field
from backprop_tui.core.decision import Decision
from backprop_tui.core.grid import Ablation, plan_ablation
from backprop_tui.runs.ablation import AblationFolder
from backprop_tui.runs.ablation_table import Row
from backprop_tui.tui.ablation import AblationApp

RECORDED = Path(__file__).parents[1] / "data" / "ablation.json"
SMALL, WIDE = (80, 24), (120, 36)
NOTHING = Field((), None, 0, {})


def demo_plan() -> Ablation:
    """The 2x2 on the demo's run file."""
    return plan_ablation(runfile_io.read(DEMO, (), {})[0])


def recorded() -> tuple[list[Row], Decision]:
    """What that came to."""
    raw = json.loads(RECORDED.read_text())
    decision = raw["decision"] | {"reasons": tuple(raw["decision"]["reasons"])}
    return [Row(**row) for row in raw["rows"]], Decision(**decision)


def record(rows: Sequence[Row], decision: Decision) -> None:
    """Keep it."""
    plain = asdict(decision) | {"intervals": None}
    text = json.dumps({"rows": [asdict(row) for row in rows], "decision": plain}, indent=1)
    RECORDED.write_text(text + "\n")


class Work:
    """The work of a screen: it waits for `end`, or for a stop."""

    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision
        self.end = threading.Event()
        self.stopped = False

    def __call__(
        self, stopping: Callable[[], bool], say: Callable[[str], None]
    ) -> tuple[Field, Decision] | None:
        say("[1/4] simpo-r8  begins")
        while not self.end.wait(0.01):
            if stopping():
                self.stopped = True
                return None
        return (NOTHING, self.decision) if self.decision else None


@asynccontextmanager
async def showing(
    rows: Sequence[Row],
    work: Work,
    size: tuple[int, int] = SMALL,
    folder: Path = Path("runs/ablate-simpo-pocket"),
    elapsed: float = 191.0,
) -> AsyncIterator[tuple[AblationApp, Pilot[int]]]:
    """The screen over these rows; its clock stands still."""
    ticks = iter([0.0])
    app = AblationApp(
        AblationFolder(folder),
        demo_plan(),
        work,
        look=lambda: list(rows),
        clock=lambda: next(ticks, elapsed),
    )
    async with app.run_test(size=size) as pilot:
        try:
            yield app, pilot
        finally:
            work.end.set()

"""A large data set: facts at once, marked as estimates, and exact counts while the user goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backprop_tui.core.facts import Facts
from backprop_tui.core.runfile_io import change
from backprop_tui.probe.data.large import look
from backprop_tui.tui.keeper import new_plan
from tests.tui.wizard_pilot import NARROW, WIDE, wizard

ROWS = 3000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pairs, one in ten of them with an empty side; counted as large from 128 KB on."""
    monkeypatch.setattr(look, "WHOLE_BYTES", 128 << 10)
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for i in range(ROWS):
            row = {"prompt": f"question {i}?", "chosen": f"good answer {i}", "rejected": f"bad {i}"}
            if i % 10 == 0:
                row["rejected"] = ""
            file.write(json.dumps(row) + "\n")
    return str(path)


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_estimates_come_first_and_exact_counts_follow(
    large: str, size: tuple[int, int]
) -> None:
    seen: list[bool] = []

    def note(facts: Facts) -> None:
        if facts.data is not None:
            seen.append(facts.data.exact)

    async with wizard(size, run=change(new_plan(), {"data.path": large})) as it:
        it.app.watch(it.app, "facts", note)
        await it.go("data")
        await it.until(lambda: it.app.facts.data and it.app.facts.data.exact)
        await it.until(lambda: it.app.facts.data and it.app.facts.data.quality)
        facts = it.app.facts.data
        assert facts is not None
        assert (facts.rows, facts.kept, facts.dropped) == (ROWS, 2700, {"empty text": 300})
        assert it.app.counted is None
        assert seen[-1]
        await it.shows("2,700 of 3,000")
        rows = it.app.view.rows
        assert (rows.train, rows.heldout) == (2430, 270)


async def test_the_first_facts_say_that_they_are_estimates(
    large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import backprop_tui.probe.data as data

    def endless(
        source: object, progress: Callable[[float], None], stop: Callable[[], bool]
    ) -> None:
        progress(0.4)
        while not stop():
            time.sleep(0.01)
        raise data.ScanStopped

    monkeypatch.setattr(data, "scan", endless)
    async with wizard(run=change(new_plan(), {"data.path": large})) as it:
        await it.go("data")
        await it.shows("about 2,", "counting", "40 % of the rows")
        assert "data" not in it.app.reading  # the run may start meanwhile
        it.app.apply({"data.path": "pocket"})  # the count is given up
        await it.settled()
        await it.shows("400 of 400")
        assert "counting" not in it.text

"""The memory part of `check`: what is needed, what is free, what would fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import typer

from backprop_tui.cli.output import as_set
from backprop_tui.core.disk import disk_needed
from backprop_tui.core.fit_words import words
from backprop_tui.core.fix import Fix
from backprop_tui.core.memory import not_modelled
from backprop_tui.core.memory_between import best_estimate
from backprop_tui.core.memory_question import MemoryAnswer, MemoryFacts
from backprop_tui.core.rules import judge
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.smallest_change import changed
from backprop_tui.core.text import plural, size
from backprop_tui.core.what_fits import (
    LARGEST_BATCH,
    Cell,
    largest_batch,
    smallest_change,
    table,
    wanted,
)
from backprop_tui.core.wrap import wrapped
from backprop_tui.probe.memory import MemoryOracle, child_log
from backprop_tui.probe.survey import Survey

FEW, ALL = 10, 500  # questions asked at most: each takes seconds the first time
BAR = 48  # cells
LABEL = 15  # cells before the text
NAME, FIGURE = 14, 8  # cells of a part's name and of its bytes
ROOM = 3  # times the need: more free memory than that is cut off
VERDICTS = {"fits": "fits", "changes": "changes", "no": "no", "unknown": "?"}
TIME_UNKNOWN = "not known yet; check --probe measures it"


def estimated(
    run: RunFile, found: Survey, output: Path, *, most: int, of_table: bool
) -> tuple[Survey, dict[str, Any]]:
    """What was found, judged by what was answered, and the memory as plain values.

    most: questions asked. of_table: those of the table too. output: where the run will write.
    """
    free_ram = psutil.virtual_memory().available
    if most:
        found = _asked(run, found, free_ram, most, of_table)
    return found, as_json(run, found, free_ram, output)


def _asked(run: RunFile, found: Survey, free_ram: int, most: int, of_table: bool) -> Survey:
    """With exact answers to what is most wanted, and advice that knows them."""
    facts, rows = found.facts, found.counts
    answers = dict(facts.memory.answers)
    told = False
    with MemoryOracle() as oracle:
        for _ in range(most):
            asked = next(iter(wanted(run, facts, rows, free_ram, of_table=of_table)), None)
            if asked is None:
                break
            if not told and oracle.known(asked) is None:
                time = "minutes" if of_table else "seconds"
                typer.echo(f"estimating the memory: {time}, the first time", err=True)
                told = True
            answers[asked] = answer = oracle.ask(asked)
            if answer == MemoryAnswer():
                note = f"the exact figure could not be computed, see {child_log()}"
                typer.echo(f"{note}; the estimate is rough", err=True)
                break
            memory = MemoryFacts(answers=dict(answers), calibration=facts.memory.calibration)
            facts = replace(facts, memory=memory)
    return replace(found, facts=facts, advice=judge(run, facts, rows, free_ram=free_ram))


def as_json(run: RunFile, found: Survey, free_ram: int, output: Path) -> dict[str, Any]:
    """Everything that is known of the plan's memory, as plain values; bytes."""
    facts, rows, plan = found.facts, found.counts, found.plan
    memory = best_estimate(run, facts, rows, free_ram)
    change = smallest_change(run, facts, rows, free_ram)
    card = facts.gpu_card if plan.device == "cuda" else None
    return {
        "needed": memory.needed if memory else None,
        "parts": memory.parts if memory else {},
        "rough": memory.rough if memory else None,
        "at": memory.at if memory else "",
        "free": memory.available if memory else card.memory_free if card else None,
        "total": memory.total if memory else card.memory_total if card else None,
        "others": [asdict(process) for process in (card.processes if card else None) or ()],
        "fits": memory.fits if memory else None,
        "words": words(run, facts, rows, free_ram),
        "change": _change(run, found, free_ram, change) if change else None,
        "largest_batch": largest_batch(run, facts, rows, free_ram),
        "table": [_plain(cell) for cell in table(run, facts, rows, free_ram)],
        "not_modelled": not_modelled(run, facts, plan),
        "disk": {
            "needed": disk_needed(run, plan, memory) if memory else None,
            "free": _free_disk(output),
        },
    }


def _change(run: RunFile, found: Survey, free_ram: int, change: Fix) -> dict[str, Any]:
    after = best_estimate(changed(run, change.changes), found.facts, found.counts, free_ram)
    rough = after.rough if after else True
    return {"label": change.label, "changes": dict(change.changes), "rough": rough}


def _plain(cell: Cell) -> dict[str, Any]:
    return {**asdict(cell), "changes": dict(cell.changes)}


def _free_disk(output: Path) -> int | None:
    """Bytes free where the run folder will be."""
    there = next((folder for folder in (output, *output.parents) if folder.exists()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None


# For people


def show(memory: dict[str, Any], *, with_table: bool = False, timed: bool = False) -> None:
    """The same as text, in 80 columns. timed: how long it takes is said elsewhere."""
    rows = [("memory", memory["words"] or "not known")]
    if memory["at"]:
        rows.append(("at the peak", memory["at"]))
    if memory["change"]:
        changes = " ".join(map(as_set, memory["change"]["changes"].items()))
        roughly = "roughly: " if memory["change"]["rough"] and not memory["rough"] else ""
        rows.append(("smallest change", f"{roughly}{memory['change']['label']}: {changes}"))
    if memory["largest_batch"] is not None:
        rows.append(("largest batch", _batch(memory["largest_batch"])))
    rows.append(("disk", _disk(memory["disk"])))
    if not timed:
        rows.append(("time", TIME_UNKNOWN))
    typer.echo("")
    first, *rest = rows
    for line in (*wrapped([first], label=LABEL + 2), *bar(memory)):
        typer.echo(line)
    for line in wrapped(rest, label=LABEL + 2):
        typer.echo(line)
    for line in _grid(memory["table"]) if with_table else ():
        typer.echo(line)
    typer.echo("")


def bar(memory: dict[str, Any], width: int = BAR) -> Iterator[str]:
    """A line a part, each bar beginning where the one above ends; then what is free, to compare."""
    parts = {name: value for name, value in memory["parts"].items() if value > 0}
    if not parts:
        return
    needed, free = memory["needed"], memory["free"]
    scale = width / max(needed, min(free or 0, ROOM * needed))
    done = 0
    for name, value in parts.items():
        start = min(round(done * scale), width - 1)
        done += value
        yield _line(name, value, " " * start + "#" * max(round(done * scale) - start, 1))
    yield _line("needed", needed, "=" * round(needed * scale))
    if free is not None:
        yield _line("free now", free, "." * min(round(free * scale), width))


def _grid(cells: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each method and precision, a column for each max_length."""
    lengths = list(dict.fromkeys(cell["max_length"] for cell in cells))
    yield ""
    yield f"{'max_length':<{LABEL + 2}}" + "".join(f"{length:>9}" for length in lengths)
    for name in dict.fromkeys((cell["method"], cell["precision"]) for cell in cells):
        found = [cell for cell in cells if (cell["method"], cell["precision"]) == name]
        marks = (f"{VERDICTS[cell['verdict']] + '~' * cell['rough']:>9}" for cell in found)
        yield f"{' '.join(name):<{LABEL + 2}}" + "".join(marks)
    yield "changes: fits with checkpointing every layer and the smallest batch; ~: roughly"


def _line(name: str, value: int, cells: str) -> str:
    return f"  {name:<{NAME}} {size(value):>{FIGURE}}  {cells}"


def _batch(most: int) -> str:
    if most == 0:
        return "not even one row fits"
    if most == LARGEST_BATCH:
        return f"{plural(most, 'row')} or more"
    return f"{plural(most, 'row')}, everything else as it is"


def _disk(disk: dict[str, int | None]) -> str:
    free = f"{size(disk['free'])} free"
    if disk["needed"] is None:
        return f"need not known; {free}"
    short = disk["free"] is not None and disk["needed"] > disk["free"]
    found = f"{size(disk['needed'])} at most for checkpoints and the result; {free}"
    return f"{found}: not enough" if short else found

"""Damaged run files, event files, checkpoints and locks, read by everything that reads them.

python -m benchmarks.fuzz --cases 50000 --write      what `make soak` runs

Half of the cases are run files, half are event files; to every fifty of them come five states of
checkpoints and a lock. A case fails when anything but a BackpropError with a sentence comes out,
when it takes over a second of processor time, when a file outside of the folder of the case is
opened for writing, made, moved or removed, or when a process is started.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random

from benchmarks.fuzz_cases import checkpoint, event_file, lock, run_file
from benchmarks.fuzz_room import LONGEST, Fault, Watchman, an_empty_room, limits, listing

RESULTS = Path(__file__).parent / "results"
SHOWN = 20  # failures
NAMES = {
    "run_file": "run files",
    "event_file": "event files",
    "checkpoint": "states of checkpoints",
    "lock": "locks",
}


@dataclass
class Report:
    """cases, outcomes: how many of each kind, and how they ended. slowest: processor seconds."""

    seconds: float = 0.0
    slowest: float = 0.0
    cases: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


WATCHMAN = Watchman()


def fuzz(cases: int, seed: int) -> Report:
    """Read that many damaged files, and small ones beside them. The seed repeats all of them."""
    report, begun = Report(), time.perf_counter()
    kinds = [run_file, event_file] * 25 + [checkpoint] * 5 + [lock]
    with an_empty_room() as room:
        beside = listing(room.parent.parent)
        for number in range(cases * len(kinds) // 50):
            kind = kinds[number % len(kinds)]
            where = f"{kind.__name__} {seed}:{number}"
            before = time.process_time()
            try:
                with limits():
                    WATCHMAN.room = str(room)
                    outcome = kind(Random(f"{seed}:{number}"), room)
            except (Fault, Exception):  # noqa: BLE001 - whatever it is, it is the finding
                report.failures.append(f"{where}\n{traceback.format_exc()[-3000:]}")
                outcome = "failed"
            finally:
                WATCHMAN.room = ""
            if WATCHMAN.seen:
                report.failures.append(f"{where}\n{WATCHMAN.seen}")
                WATCHMAN.seen.clear()
            report.slowest = max(report.slowest, time.process_time() - before)
            report.cases[kind.__name__] += 1
            report.outcomes[f"{kind.__name__}: {outcome}"] += 1
        if listing(room.parent.parent) != beside:
            report.failures.append("something beside the folder of the cases has changed")
    report.seconds = time.perf_counter() - begun
    return report


def table(report: Report, cases: int, seed: int) -> str:
    """The result as a Markdown page."""
    done = report.cases.total()
    rows = [
        f"| {NAMES[kind]} | {n:,} | {', '.join(_ended(report, kind))} |"
        for kind, n in report.cases.items()
    ]
    return "\n".join(
        [
            f"# Damaged files, {date.today()}",
            "",
            f"`python -m benchmarks.fuzz --cases {cases} --seed {seed} --write`, Python "
            f"{platform.python_version()} on {os.cpu_count()} cores ({platform.machine()}).",
            "",
            f"{done:,} cases in {report.seconds:.0f} s ({done / report.seconds:.0f} a second), the "
            f"slowest {report.slowest:.2f} s of processor time. "
            f"**Failures: {len(report.failures)}.**",
            "",
            "| damaged | cases | how they ended |",
            "|---|---|---|",
            *rows,
            "",
            "A failure is a traceback, a message without words or with control characters, over "
            f"{LONGEST:.0f} s of processor time, a file touched outside of the folder of the case, "
            "or a process started.",
            "",
        ]
    )


def _ended(report: Report, kind: str) -> list[str]:
    found = ((name.split(": "), n) for name, n in report.outcomes.most_common())
    return [f"{n:,} {words}" for (of, words), n in found if of == kind]


def main() -> None:
    """Fuzz, print what came of it, and write that down if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    report = fuzz(options.cases, options.seed)
    print("\n".join(report.failures[:SHOWN]))
    text = table(report, options.cases, options.seed)
    print(text)
    if options.write:
        (RESULTS / f"fuzz-{date.today()}.md").write_text(text)
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()

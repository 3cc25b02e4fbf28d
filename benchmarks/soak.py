"""Kill a demo run with signal 9 at many moments, resume it, and compare it with the unbroken run.

python -m benchmarks.soak --kills 40 --write      what `make soak` runs

A run counts as resumed when the joined events (every figure of every step and measurement, and
every checkpoint) and the adapter, byte for byte, are those of the unbroken run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from backprop_tui.core.events import Event
from backprop_tui.core.history import History
from backprop_tui.runs.stream import Follower

RESULTS = Path(__file__).parent / "results"
# The demo with dropout, so that random numbers count, and checkpoints in between.
CHANGES = (
    "lora.dropout=0.05",
    "training.eval_steps=4",
    "training.save_steps=6",
)
CLOCK = {
    "t",
    "tokens_per_second",
    "rows_per_second",
    "memory",
    "memory_reserved",
    "memory_peak",
    "path",
}
LONGEST = 300.0  # seconds a run may take
LOOK_EVERY = 0.002


def demo(output: Path, steps: int) -> list[str]:
    """The command of the run."""
    sets = [f"training.max_steps={steps}", *CHANGES]
    options = [text for item in sets for text in ("--set", item)]
    return ["demo", "--output", str(output), *options]


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process of its own group."""
    return subprocess.Popen(
        [sys.executable, "-m", "backprop_tui", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


def finish(arguments: Sequence[str]) -> None:
    """Run to the end. RuntimeError: it did not end well."""
    process = start(arguments)
    _, error = process.communicate(timeout=LONGEST)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {process.returncode}\n{error.decode()}")


def joined(folder: Path) -> list[dict[str, Any]]:
    """What readers make of the event stream, without what a clock or a memory says."""
    history = History()
    for event in Follower(folder / "events.jsonl").read():
        history.add(event)
    told: list[Event] = [*history.steps, *history.evaluations, *history.saved]
    return [
        {"event": type(event).__name__}
        | {name: value for name, value in asdict(event).items() if name not in CLOCK}
        for event in told
    ]


def adapter(folder: Path) -> bytes:
    """The weights that were learned."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


# When to kill: called again and again while the process runs, true at the moment.


def after(seconds: float) -> Callable[[Path], bool]:
    """So long after the start."""
    until = time.monotonic() + seconds
    return lambda folder: time.monotonic() > until


def writing(what: str) -> Callable[[Path], bool]:
    """While a checkpoint, or the adapter, is half written."""

    def now(folder: Path) -> bool:
        try:
            return any((folder / "checkpoints/.writing").glob(f"{what}*/*"))
        except FileNotFoundError:  # it became whole while this looked
            return False

    return now


def measuring(steps: int) -> Callable[[Path], bool]:
    """Between a step and the end of the measurement that follows it."""

    def now(folder: Path) -> bool:
        lines = _lines(folder)
        return bool(lines) and f'"step": {steps},' in lines[-1] and '"event": "Step"' in lines[-1]

    return now


def stepping(step: int) -> Callable[[Path], bool]:
    """Once this step is told."""
    return lambda folder: any(
        '"event": "Step"' in line and f'"step": {step},' in line for line in _lines(folder)[-5:]
    )


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Killed:
    """when: the moment, in words. step: the last one told by then. equal: whether it came to what
    the unbroken run did."""

    when: str
    step: int
    equal: bool


def kill_and_resume(folder: Path, steps: int, when: str, now: Callable[[Path], bool]) -> int:
    """Start the run, kill it at that moment, and take it up again to its end; its last step."""
    process = start(demo(folder, steps))
    end = time.monotonic() + LONGEST
    while process.poll() is None and not now(folder):
        if time.monotonic() > end:
            raise RuntimeError(f"the moment never came: {when}")
        time.sleep(LOOK_EVERY)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    lines = _lines(folder)
    told = [line for line in lines if '"event": "Step"' in line]
    if (folder / "run.toml").exists():
        if not any('"event": "Finished"' in line for line in lines):
            finish(["resume", str(folder)])
    else:
        # Killed before there was anything to go on with.
        shutil.rmtree(folder, ignore_errors=True)
        finish(demo(folder, steps))
    return len(told)


def moments(number: int, steps: int, seconds: float, seed: int) -> Iterator[tuple[str, Any]]:
    """Half of them anywhere, the others where it hurts."""
    chance = random.Random(seed)
    hurting: list[Callable[[], tuple[str, Any]]] = [
        lambda: ("inside a checkpoint", writing("checkpoint-")),
        lambda: ("inside the final save", writing("adapter")),
        lambda: ("inside a measurement", measuring(4 * chance.randint(1, (steps - 1) // 4))),
        lambda: ("first step", stepping(1)),
    ]
    for at in range(number):
        if at % 2:
            yield hurting[at // 2 % len(hurting)]()
        else:
            moment = chance.uniform(0.2, seconds)
            yield f"after {moment:.1f} s", after(moment)


def soak(number: int, steps: int, seed: int, root: Path) -> list[Killed]:
    """Kill so many runs, one after the other."""
    began = time.monotonic()
    finish(demo(root / "whole", steps))
    seconds = time.monotonic() - began
    events, weights = joined(root / "whole"), adapter(root / "whole")
    found = []
    for index, (when, now) in enumerate(moments(number, steps, seconds, seed)):
        folder = root / f"run-{index}"
        step = kill_and_resume(folder, steps, when, now)
        equal = joined(folder) == events and adapter(folder) == weights
        found.append(Killed(when, step, equal))
        print(f"{index + 1:>3}  {when:<24} step {step:>3}  {'equal' if equal else 'DIFFERENT'}")
        if equal:
            shutil.rmtree(folder)
    return found


def report(found: Sequence[Killed], steps: int, seed: int) -> str:
    """The result as Markdown."""
    lost = sum(not one.equal for one in found)
    kinds = Counter(
        one.when if "inside" in one.when or "first" in one.when else "anywhere" for one in found
    )
    lines = [
        f"Measured {date.today()} on a CPU, `python -m benchmarks.soak --kills {len(found)} "
        f"--steps {steps} --seed {seed} --write`: **killed {len(found)}, resumed "
        f"{len(found) - lost}, lost {lost}**.",
        "",
        "| killed | runs | equal to the unbroken run |",
        "|---|---|---|",
    ]
    for kind, runs in kinds.items():
        same = sum(
            one.equal for one in found if (one.when if one.when in kinds else "anywhere") == kind
        )
        lines.append(f"| {kind} | {runs} | {same} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it and print; --write keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        found = soak(given.kills, given.steps, given.seed, Path(root))
    text = report(found, given.steps, given.seed)
    print(text)
    if given.write:
        (RESULTS / f"soak-{date.today()}.md").write_text(text, encoding="utf-8")
    sys.exit(any(not one.equal for one in found))


if __name__ == "__main__":
    main()

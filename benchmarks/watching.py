"""A run watched from its folder: opening a million events, and following while one more comes.

usage: python benchmarks/watching.py [--events 1000000] [--rounds 5] [--seconds 10]

The file is made here: steps, three readings of the card to seven steps, a measurement every 500
steps; 480 bytes a line. Opening: `Follower.read` and every event into a `History`, median of fresh
processes, imports left out. Following: the processor time of a process that looks four times a
second while five steps a second are added, as a share of one core.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from backprop_tui.core.events import Evaluated, Event, GpuSampled, Preparing, Step, to_line
from backprop_tui.runs.event_file import EventFile

OPEN = """
import sys, time
from pathlib import Path
from backprop_tui.core.history import History
from backprop_tui.runs.stream import Follower
begun = time.perf_counter()
history = History()
for event in Follower(Path(sys.argv[1])).read():
    history.add(event)
print(time.perf_counter() - begun, history.last.step)
"""
FOLLOW = """
import sys, time
from pathlib import Path
from backprop_tui.runs.stream import Follower
follower, seen = Follower(Path(sys.argv[1])), 0
follower.read()
print("open", flush=True)
begun, used = time.perf_counter(), time.process_time()
while time.perf_counter() - begun < float(sys.argv[2]):
    seen += len(follower.read())
    time.sleep(0.25)
print((time.process_time() - used) / (time.perf_counter() - begun), seen)
"""
STEP = Step(
    t=1234.567891,
    step=1,
    steps=1_000_000,
    epoch=0.123456,
    loss=0.69123456789,
    learning_rate=9.87654321e-07,
    grad_norm=1.2345678,
    reward_chosen=-1.23456789,
    reward_rejected=-1.3456789,
    margin=0.1111111,
    accuracy=0.75,
    logp_chosen=-1.2345678,
    logp_rejected=-2.3456789,
    logp_chosen_sum=-123.456789,
    logp_rejected_sum=-234.56789,
    tokens=1234567,
    rows=123456,
    tokens_per_second=3933.01234,
    rows_per_second=12.345678,
    mfu=0.412345,
    memory=12345678901,
    memory_reserved=12345678901,
    memory_peak=12345678901,
)
READING = GpuSampled(
    t=1234.5,
    memory_used=12345678901,
    memory_total=12345678901,
    utilisation=98,
    temperature=71,
    power=251.25,
    power_limit=300.0,
    others=0,
)
MEASURED = Evaluated(t=2.0, step=3, rows=64, loss=1.2, margin=0.5, accuracy=0.75)


def main() -> None:
    """Measure and print rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "events.jsonl"
        last = write(path, options.events)
        size = f"{options.events:,} events, {path.stat().st_size / 1e6:.0f} MB"
        seconds = opening(path, options.rounds, last)
        print(f"| a watched run opens ({size}) | {seconds:.2f} s | 1 s |")
        share = following(path, options.seconds, last)
        print(f"| a watched run is followed ({size}) | {share:.1%} of a core | 5 % |")


def write(path: Path, events: int) -> int:
    """A run of that many events; its last step."""
    # Filled in as text: a million events need a minute to be made as values.
    plain = (
        to_line(STEP).replace('"t": 1234.567891', '"t": %f').replace('"step": 1,', '"step": %d,')
    )
    reading = to_line(READING) + "\n"
    step, lines = 0, 1
    with path.open("w") as file:
        file.write(to_line(Preparing(t=0.0, stage="loading the model")) + "\n")
        while lines < events:
            step += 1
            file.write(plain % (step * 0.5, step) + "\n")
            lines += 1
            if step % 7 < 3:
                file.write(reading)
                lines += 1
            if step % 500 == 0:
                file.write(to_line(replace(MEASURED, step=step)) + "\n")
                lines += 1
    return step


def opening(path: Path, rounds: int, last: int) -> float:
    """Seconds, the median."""
    times = []
    for _ in range(rounds):
        seconds, step = run(OPEN, path).split()
        assert int(step) == last
        times.append(float(seconds))
    return statistics.median(times)


def following(path: Path, seconds: float, last: int) -> float:
    """Processor time over time."""
    over = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "open\n"

    def add() -> None:
        file, step = EventFile(path), last
        while not over.wait(0.2):
            step += 1
            new: Event = replace(STEP, step=step, t=step * 0.5)
            file.append(new)
        file.close()

    writer = threading.Thread(target=add)
    writer.start()
    share, seen = process.communicate()[0].split()
    over.set()
    writer.join()
    assert int(seen) > seconds  # events did come, and were told
    return float(share)


def run(code: str, path: Path) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()

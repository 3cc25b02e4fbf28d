"""The figures of README's "Speed": medians and ratios measured inside one run.

usage: python benchmarks/speed.py [--rounds 5] [--steps 60]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pexpect

from backprop_tui.cli.run import DEMO
from backprop_tui.core import runfile_io
from backprop_tui.core.events import Step, from_line

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "backprop_tui"]
SIZE = (36, 120)  # lines, columns
FIRST_WORDS = "Machine"  # on the first screen


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | measured | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands(options.rounds, folder)
        first_paint(options.rounds)
        monitor(max(2, options.rounds // 2), options.steps, folder)


def commands(rounds: int, folder: Path) -> None:
    """Wall time of the quick commands against `import torch`, alternating."""
    run_file = folder / "run.toml"
    subprocess.run(
        [*COMMAND, "init", "-m", "pocket", "-d", "pocket", "-o", str(run_file)],
        check=True,
        capture_output=True,
    )
    wanted = {
        "--help": ([*COMMAND, "--help"], 0.25),
        "check": ([*COMMAND, "check", str(run_file), "--rough"], 0.5),
        "gpu": ([*COMMAND, "gpu"], 0.5),
        "import torch": ([sys.executable, "-c", "import torch"], None),
    }
    times: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds + 1):  # the first round warms the file cache and is left out
        for name, (command, _) in wanted.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - begun)
    torch = statistics.median(times["import torch"][1:])
    for name, (_, goal) in wanted.items():
        median = statistics.median(times[name][1:])
        ratio = f", {median / torch:.2f} of `import torch`" if goal else ""
        print(f"| `{name}` | {median:.2f} s{ratio} | {f'{goal} s' if goal else ''} |")


def first_paint(rounds: int) -> None:
    """From starting the process to the first screen's words reaching the terminal."""
    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        child = pexpect.spawn(COMMAND[0], COMMAND[1:], dimensions=SIZE, env=terminal())
        child.expect_exact(FIRST_WORDS, timeout=30)
        times.append(time.perf_counter() - begun)
        child.close(force=True)
    print(f"| first paint of the wizard | {statistics.median(times[1:]):.2f} s | 0.8 s |")


def monitor(rounds: int, steps: int, folder: Path) -> None:
    """Steps per second with and without the monitor, alternating; then the loop's lag."""
    alone: list[float] = []
    watched: list[float] = []
    for number in range(rounds):
        out = folder / f"alone{number}"
        subprocess.run(
            [*COMMAND, "run", str(plan(folder, out, steps))],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        alone.append(pace(out))
        out = folder / f"watched{number}"
        in_terminal(str(plan(folder, out, steps)))
        watched.append(pace(out))
    ratio = statistics.median(watched) / statistics.median(alone)
    lag_file = folder / "lag.json"
    in_terminal(str(plan(folder, folder / "lag", steps)), str(lag_file))
    lags = sorted(json.loads(lag_file.read_text()))
    p99 = lags[int(len(lags) * 0.99)]
    print(
        f"| training under the monitor | {ratio:.3f} of headless "
        f"({statistics.median(alone):.1f} steps/s) | 0.98 |"
    )
    print(f"| screen lag while training, p99 | {p99 * 1000:.0f} ms | 50 ms |")


def in_terminal(*arguments: str) -> None:
    """monitored.py in a pseudo-terminal, to its end."""
    child = pexpect.spawn(
        sys.executable,
        [str(HERE / "monitored.py"), *arguments],
        dimensions=SIZE,
        env=terminal(),
        timeout=900,
    )
    child.expect(pexpect.EOF)
    child.close()


def plan(folder: Path, output: Path, steps: int) -> Path:
    """The demo's run file with its own output and length."""
    run, _ = runfile_io.read(DEMO, [f'output="{output}"', f"training.max_steps={steps}"], env={})
    path = folder / f"{output.name}.toml"
    runfile_io.write(run, path)
    return path


def pace(folder: Path) -> float:
    """Steps per second between neighbouring steps: evaluations and saves left out."""
    events = [from_line(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    spent = [
        after.t - before.t
        for before, after in itertools.pairwise(events)
        if isinstance(before, Step) and isinstance(after, Step)
    ]
    return len(spent) / sum(spent)


def terminal() -> dict[str, str]:
    """The environment of a plain colour terminal."""
    return {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}


if __name__ == "__main__":
    main()

"""`doctor`: what is installed, what works, and what to do about what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys

import typer

from backprop_tui.cli.output import show_table
from backprop_tui.core.errors import EXIT_INPUT
from backprop_tui.core.text import size

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "textual",
    "nvidia-ml-py",
)
TRL_SERIES = "1.16"  # the trainers override details of this series
LOW_DISK = 5 * 2**30  # bytes; a few checkpoints of an 8B adapter


def doctor_command() -> None:
    """Check libraries, card, terminal and disk; say what to do about each."""
    faults: list[str] = []
    rows = [("python", f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
            faults.append(f"{name} is missing: install backprop-tui again")
        rows.append((name, version))
        if name == "trl" and not version.startswith(TRL_SERIES):
            faults.append(f"trl {version} is not {TRL_SERIES}.x, which the trainers are made for")
    rows += _card(faults)
    rows += _terminal(faults)
    free = shutil.disk_usage(os.getcwd()).free
    rows.append(("disk here", f"{size(free)} free"))
    if free < LOW_DISK:
        faults.append(f"only {size(free)} of disk left here: checkpoints may not fit")
    show_table(rows)
    typer.echo("")
    for fault in faults:
        typer.echo(f"▲ {fault}")
    typer.echo("nothing to mend" if not faults else "")
    if faults:
        raise typer.Exit(EXIT_INPUT)


def _card(faults: list[str]) -> list[tuple[str, str]]:
    """What NVML sees, what torch can use, and whether the quantising kernels load."""
    from backprop_tui.probe.gpu import probe_gpu
    from backprop_tui.train.libraries import library_report

    gpu = probe_gpu()
    names = ", ".join(card.name for card in gpu.cards) or gpu.problem or "none"
    report = library_report()
    rows = [
        ("cards", names),
        ("torch CUDA", report.cuda or "not in this build"),
        ("quantising", report.quantising),
    ]
    if gpu.cards and not report.usable:
        faults.append(
            f"NVML sees {names} but torch cannot use it: install a CUDA build of torch that "
            f"driver {gpu.driver} supports"
        )
    return rows


def _terminal(faults: list[str]) -> list[tuple[str, str]]:
    """Size, colours and whether a wizard can be drawn at all."""
    columns, lines = shutil.get_terminal_size()
    words = f"{os.environ.get('TERM', 'unknown')}, {columns}x{lines}"
    if os.environ.get("SSH_CONNECTION"):
        words += ", over SSH"
    if not sys.stdout.isatty():
        words += ", not a terminal"
    elif columns < 80 or lines < 24:
        faults.append(f"the terminal is {columns}x{lines}; the wizard needs 80x24")
    if "utf" not in (sys.stdout.encoding or "").lower():
        faults.append("the terminal is not UTF-8: set BACKPROP_TUI_ASCII=1 for plain signs")
    return [("terminal", words)]

"""A run as a process of its own, which no terminal owns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from backprop_tui.core.errors import InputError
from backprop_tui.runs.lock import owner

CONSOLE = "console.log"  # in the run folder: what the process prints
COMMAND = (sys.executable, "-P", "-m", "backprop_tui", "resume")
WITH_PARENT = (sys.executable, "-P", "-m", "backprop_tui.cli.with_parent")
LOOK = 0.05  # seconds between two looks
SAID = 4_000  # bytes of the end of what it printed


def launch(
    folder: Path, *, trust_remote_code: bool = False, with_parent: bool = False
) -> subprocess.Popen[bytes]:
    """Start a process that trains the run of a folder: from its beginning, or where it was left.

    The process leads a session of its own, so that no signal of this terminal reaches it.
    with_parent: it stops and saves when this process is gone, however that went. Raises
    InputError WRITE_REFUSED.
    """
    command = (*WITH_PARENT, str(os.getpid()), "resume") if with_parent else COMMAND
    trust = ["--trust-remote-code"] if trust_remote_code else []
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        console = os.open(folder / CONSOLE, flags, 0o600)
        try:
            return subprocess.Popen(
                [*command, *trust, "--", str(folder.resolve())],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        finally:
            os.close(console)
    except OSError as error:
        raise InputError(
            f"{folder}: the run cannot be started: {error.strerror or error}",
            hint="choose a folder you may write to with --output",
            code="WRITE_REFUSED",
        ) from error


def took_up(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process owns the run (True) or has ended before that (False)."""
    while True:
        ended = process.poll() is not None
        found = owner(folder)
        if found and found.pid == process.pid:
            return True
        if ended:
            return False
        time.sleep(LOOK)


def said_so_far(folder: Path) -> int:
    """Bytes that earlier processes of this run have printed."""
    try:
        return (folder / CONSOLE).stat().st_size
    except OSError:
        return 0


def last_said(folder: Path, after: int = 0) -> str:
    """The end of what the process printed, from so many bytes on."""
    try:
        with (folder / CONSOLE).open("rb") as file:
            file.seek(max(after, file.seek(0, os.SEEK_END) - SAID))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""

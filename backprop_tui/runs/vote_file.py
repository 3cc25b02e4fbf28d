"""RUN/votes.jsonl: each vote on disk at once, and read whatever a crash has left."""

from __future__ import annotations

import json
import os
from pathlib import Path

from backprop_tui.core.errors import InputError
from backprop_tui.core.votes import Preferences, Vote, from_line, to_line

NAME = "votes.jsonl"


def add_vote(folder: Path, vote: Vote) -> None:
    """Append a vote and see it on disk. A torn last line is ended first. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(folder / NAME, flags, 0o600)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        line = f"{chr(10) if torn else ''}{to_line(vote)}\n".encode()
        if os.write(file, line) < len(line):
            raise OSError(28, "No space left on device")
        os.fsync(file)
    finally:
        os.close(file)


def read_votes(folder: Path) -> tuple[list[Vote], int]:
    """The votes of a run, and how many lines are no vote. InputError: RUN_UNREADABLE."""
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="only the user who started a run may look at it",
            code="RUN_UNREADABLE",
        ) from error
    lines = [line for line in text.split("\n") if line.strip()]
    found = [vote for line in lines if (vote := from_line(line)) is not None]
    return found, len(lines) - len(found)


def write_preferences(made: Preferences, path: Path) -> None:
    """One JSON row a line. InputError: VOTES_NONE, OUTPUT_EXISTS, WRITE_REFUSED."""
    if not made.rows:
        why = ", ".join(f"{n:,} {reason}" for reason, n in made.left_out.items()) or "no votes"
        raise InputError(
            f"There is no vote for one side to export: {why}.",
            hint="vote first: backprop-tui try RUN --blind",
            code="VOTES_NONE",
        )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows)
    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(
            f"--export-votes: {path} exists and is not overwritten",
            hint="choose another name",
            code="OUTPUT_EXISTS",
        ) from None
    except OSError as error:
        raise InputError(
            f"--export-votes: {path} cannot be written: {error.strerror or error}",
            hint="choose a place you may write to, with space left",
            code="WRITE_REFUSED",
        ) from error

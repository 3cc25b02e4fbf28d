"""Prompts to try a model on: a run's held-out rows, or a file of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.rows import Message, prompt_of
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.split import split
from backprop_tui.probe.data import load
from backprop_tui.probe.survey import data_source, rows_for

Prompt = tuple[Message, ...]
LARGEST = 1 << 26  # bytes of a file of prompts


def heldout_prompts(run: RunFile) -> list[Prompt]:
    """The prompts a run was not trained on, each once, in the order of its split.

    InputError TRY_PROMPTS_UNUSABLE: nothing is held out, or the data is not what it was then; and
    what reading the data raises.
    """
    if not run.data.heldout:
        raise InputError(
            "This run holds no rows out, so it has no held-out prompts.",
            hint="type a prompt, or give a file with --prompts",
            code="TRY_PROMPTS_UNUSABLE",
        )
    loaded = load(data_source(run))
    made = run.provenance
    if made and made.data_sha256 and loaded.table.sha256 != made.data_sha256:
        raise InputError(
            f"{run.data.path} is not the data this run was trained on, so which rows were held "
            "out is not known.",
            hint="put it back, type a prompt, or give a file with --prompts",
            code="TRY_PROMPTS_UNUSABLE",
        )
    _, heldout = split(rows_for(run, loaded.rows), run.data.heldout, run.data.heldout_seed)
    return [prompt for prompt in dict.fromkeys(map(prompt_of, heldout)) if prompt]


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a file. JSONL: a text a line, or an object with "prompt" (text or turns) or
    "messages"; of turns those up to the last user's. Anything else: a prompt a line.

    InputError TRY_PROMPTS_UNUSABLE: it cannot be read, has none, or a line is no prompt.
    """
    try:
        if not path.is_file():
            raise OSError(2, "it is no file")
        if path.stat().st_size > LARGEST:
            raise OSError(27, f"over {LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise _unusable(f"--prompts: {path} cannot be read: {why}") from error
    found: list[Prompt] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            found.append((Message("user", line.strip()),))
            continue
        try:
            found.append(_prompt(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _unusable(f"--prompts: line {number} of {path} is no prompt") from None
    if not found:
        raise _unusable(f"--prompts: {path} has no prompt in it")
    return found


def _prompt(plain: Any) -> Prompt:
    if isinstance(plain, dict):
        plain = plain["prompt"] if "prompt" in plain else plain["messages"]
    if isinstance(plain, str):
        if not plain.strip():
            raise ValueError("empty")
        return (Message("user", plain),)
    turns = [Message(turn["role"], turn["content"]) for turn in plain]
    if not all(type(text) is str for turn in turns for text in (turn.role, turn.content)):
        raise ValueError("no text")
    last = max(i for i, turn in enumerate(turns) if turn.role == "user")
    return tuple(turns[: last + 1])


def _unusable(message: str) -> InputError:
    return InputError(
        message,
        hint='one prompt a line; in a .jsonl file a text, or {"prompt": …}, a line',
        code="TRY_PROMPTS_UNUSABLE",
    )

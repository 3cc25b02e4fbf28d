"""GGUF: one file for llama.cpp and Ollama, made by llama.cpp's own converter where that is here."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CONVERTER = "convert_hf_to_gguf.py"
FILE = "model.gguf"
TYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
LAST = 3  # lines of what the converter said


def converter() -> list[str]:
    """The words that start it: from the folder in $LLAMA_CPP or the PATH; [] where it is neither.

    On the PATH it is installed with a Python of its own; in a folder it takes this one.
    """
    folder = os.environ.get("LLAMA_CPP")
    if folder and (script := Path(folder).expanduser() / CONVERTER).is_file():
        return [sys.executable, str(script)]
    found = shutil.which(CONVERTER)
    return [found] if found else []


def arguments(folder: Path, precision: str) -> list[str]:
    """What it is told: the weights keep their type."""
    return [str(folder), "--outfile", str(folder / FILE), "--outtype", TYPES[precision]]


def command(folder: Path, precision: str) -> str:
    """The command to type where it is not here, or did not manage."""
    start = converter() or ["python", f"llama.cpp/{CONVERTER}"]
    return shlex.join([*start, *arguments(folder, precision)])


def convert(start: list[str], folder: Path, precision: str) -> str:
    """Write model.gguf into the folder. "" when it did, else what the converter said last."""
    made = folder / FILE
    try:
        done = subprocess.run(
            [*start, *arguments(folder, precision)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return f"{start[0]}: {error.strerror or error}"
    if done.returncode == 0 and made.is_file():
        return ""
    made.unlink(missing_ok=True)  # a part of one is none
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()][-LAST:]
    return "\n".join(said) or f"exit code {done.returncode}, and nothing was said"

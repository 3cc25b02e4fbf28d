"""The machine and the versions a figure belongs to, in words: no names of hosts, no paths."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def quiet() -> None:
    """Before the libraries are imported: no network, no telemetry, no chatter."""
    import warnings

    warnings.filterwarnings("ignore")
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    import logging

    logging.disable(logging.WARNING)


def machine() -> dict[str, Any]:
    """Processor, threads, card and versions."""
    import torch

    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "card_bytes": card.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def words(found: dict[str, Any]) -> str:
    """The same as a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    card = f"{found['card']}, {found['card_bytes'] / 2**30:.0f} GiB; " if "card" in found else ""
    return (
        f"{card}{found['processor']}, {found['cores']} cores, {found['threads']} threads; "
        f"Python {found['python']}, {packages}"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(names, platform.machine())


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()


def write(name: str, text: str, found: dict[str, Any]) -> None:
    """results/NAME.md and results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwritten: results/{name}.md and .json")


def slug(text: str) -> str:
    """A name of a card as part of a file's name."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def listed(text: str) -> list[str]:
    """An option's words, commas between them."""
    return text.split(",")

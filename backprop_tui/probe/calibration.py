"""What runs on this machine's cards took, kept in the user's cache for the next estimate.

One small JSON file: for every card with its driver and torch the newest observations, in bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from backprop_tui.core.calibration import Calibration, Observation, calibrated
from backprop_tui.core.facts import Gpu
from backprop_tui.core.paths import user_cache

KEPT = 32  # observations of a card, the newest


def calibration_of(card: Gpu | None, driver: str | None = None) -> Calibration:
    """What was learnt of such a card, with any driver where none is named; the stated values until
    something was. Quick."""
    return calibrated(observations(card, driver)) if card else Calibration()


def observations(card: Gpu, driver: str | None = None) -> tuple[Observation, ...]:
    """Of such a card, the oldest of a driver first; none where the file is not ours to read."""
    name, of, torch = _key(card, driver)
    return tuple(
        one
        for key, found in _read(_file()).items()
        if key == f"{name}{of}{torch}"
        or (driver is None and key.startswith(f"{name} | ") and key.endswith(torch))
        for one in found
    )


def learn(card: Gpu, driver: str | None, seen: Observation) -> None:
    """Add an observation. A folder that cannot be written to is let be: a run does not need it."""
    path = _file()
    known = _read(path)
    key = "".join(_key(card, driver))
    known[key] = (*known.get(key, ()), seen)[-KEPT:]
    with suppress(OSError):
        _write(path, known)


def _key(card: Gpu, driver: str | None) -> tuple[str, str, str]:
    """What the bytes beside tensors depend on: card, driver, torch."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "absent"
    return card.name, f" | driver {driver or 'unknown'}", f" | torch {torch}"


def _file() -> Path:
    return user_cache() / "calibration.json"


def _read(path: Path) -> dict[str, tuple[Observation, ...]]:
    """Every card's observations; a file that is not ours is set aside."""
    try:
        return {key: _observed(found) for key, found in json.loads(path.read_bytes()).items()}
    except OSError:  # none yet, or not to be read
        return {}
    except (ValueError, TypeError, AttributeError, RecursionError):
        with suppress(OSError):
            path.replace(path.with_suffix(".json.broken"))
        return {}


def _observed(found: Any) -> tuple[Observation, ...]:
    """Raises TypeError or ValueError for what is no list of observations."""
    made = tuple(Observation(**one) for one in found)
    for one in made:
        for name, value in asdict(one).items():
            if not (type(value) is int and value >= 0) and (name, value) != ("context", None):
                raise ValueError(f"{name} is no number of bytes")
    return made


def _write(path: Path, known: Mapping[str, Sequence[Observation]]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    plain = {key: [asdict(one) for one in found] for key, found in known.items()}
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1)
        os.replace(made, path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise

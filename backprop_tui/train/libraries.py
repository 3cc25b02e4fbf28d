"""Loading the training libraries, and what they say of this machine."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

# Two threads that import these packages at once can each see the other's half-made modules.
_one_at_a_time = threading.Lock()


def load_libraries(names: Iterable[str]) -> None:
    """Import them, or wait until another thread that is importing some has finished."""
    # It logs that an optional CPU kernel is not installed, which nobody can act on here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with _one_at_a_time:
        for name in names:
            importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """cuda: the CUDA version torch was built for, or None. quantising: in words."""

    cuda: str | None
    usable: bool
    quantising: str


def library_report() -> LibraryReport:
    """Imports torch and bitsandbytes; takes seconds."""
    load_libraries(["torch"])
    import torch

    try:
        load_libraries(["bitsandbytes"])  # loading its kernels is the check

        quantising = "bitsandbytes loads"
    except (ImportError, RuntimeError, OSError) as error:
        quantising = f"bitsandbytes does not load: {error}".splitlines()[0]
    return LibraryReport(torch.version.cuda, torch.cuda.is_available(), quantising)

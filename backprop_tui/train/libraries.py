"""What the training libraries say of this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """cuda: the CUDA version torch was built for, or None. quantising: in words."""

    cuda: str | None
    usable: bool
    quantising: str


def library_report() -> LibraryReport:
    """Imports torch and bitsandbytes; takes seconds."""
    import torch

    # It logs that an optional CPU kernel is not installed, which nobody can act on here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401 - loading its kernels is the check

        quantising = "bitsandbytes loads"
    except (ImportError, RuntimeError, OSError) as error:
        quantising = f"bitsandbytes does not load: {error}".splitlines()[0]
    return LibraryReport(torch.version.cuda, torch.cuda.is_available(), quantising)

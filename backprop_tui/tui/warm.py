"""Loads the slow libraries while the user fills in the form."""

from __future__ import annotations

import threading
from contextlib import suppress

BEFORE_A_CARD = ("torch", "transformers", "datasets")
# These load bitsandbytes, which takes hold of CUDA: on several cards before one is chosen.
WITH_A_CARD = ("peft", "trl")


def slow_imports(*, one_card: bool) -> tuple[str, ...]:
    """What can be loaded now. one_card: there is no choice of cards to wait for."""
    return (*BEFORE_A_CARD, *WITH_A_CARD) if one_card else BEFORE_A_CARD


def warm_imports(*, one_card: bool = False) -> threading.Thread:
    """Import them in a daemon thread, which never keeps the app from quitting."""
    names = slow_imports(one_card=one_card)
    thread = threading.Thread(target=_import_all, args=(names,), name="warm-imports", daemon=True)
    thread.start()
    return thread


def _import_all(names: tuple[str, ...]) -> None:
    from backprop_tui.train.libraries import load_libraries

    # A missing one is named by the training, where the user can read it.
    with suppress(ImportError):
        load_libraries(names)

"""Loads the slow libraries while the user fills in the form."""

from __future__ import annotations

import importlib
import threading

SLOW = ("torch", "transformers", "datasets", "peft", "trl")


def warm_imports() -> threading.Thread:
    """Import them in a daemon thread, which never keeps the app from quitting."""
    thread = threading.Thread(target=_import_all, name="warm-imports", daemon=True)
    thread.start()
    return thread


def _import_all() -> None:
    import backprop_tui.train  # noqa: F401  (quiets the libraries before they load)

    for name in SLOW:
        try:
            importlib.import_module(name)
        except ImportError:
            return  # the training says which one is missing, where the user can read it

"""A data set on the Hugging Face hub, through `datasets` (1.2 s to import: only from here)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from backprop_tui.core.errors import InputError


def read_hub(name: str, split: str | None, revision: str | None) -> Iterable[dict[str, Any]]:
    """The rows of one split ("train" when none is named). Raises InputError."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    datasets.disable_progress_bars()
    wanted = split or "train"
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            name, split=wanted, revision=revision
        )
    # Builders, file systems and the network raise whatever they like here; each becomes a
    # sentence with its own words in it.
    except Exception as error:
        raise _explained(name, wanted, error) from error
    return rows


def _explained(name: str, split: str, error: Exception) -> InputError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"}:
        return InputError(
            f"{name}: no such file, and no such data set on the Hugging Face hub ({said})",
            code="DATA_NOT_FOUND",
            hint="check the spelling; a private data set needs `hf auth login`",
        )
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "TransportError"}:
        return InputError(
            f"{name}: no such file, and the Hugging Face hub cannot be reached ({said})",
            code="DATA_NOT_FOUND",
            hint="without a network, give a local file; to name a local file, check its path",
        )
    if "Unknown split" in said:
        return InputError(
            f"{name}: {said}",
            code="DATA_SPLIT",
            hint='name one of its splits, for example: split = "test" under [data]',
        )
    return InputError(
        f"{name}: the data set cannot be loaded from the Hugging Face hub ({said})",
        code="DATA_UNREADABLE",
        hint="download one of its files and give that file",
    )

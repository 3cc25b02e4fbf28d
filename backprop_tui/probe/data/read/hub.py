"""A data set on the Hugging Face hub, through `datasets` (1.2 s to import: only from here)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from backprop_tui.core.errors import InputError

TIMEOUT = 5.0  # seconds for the first answer of the hub
SAID = 300  # characters of the library's own words

# Errors of the two libraries by name: importing them costs as much as the libraries.
NOT_THERE = {
    "DatasetNotFoundError",
    "HFValidationError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
}


def read_hub(
    name: str, config: str | None, split: str | None, revision: str | None
) -> Sequence[dict[str, Any]]:
    """The rows of one split ("train" when none is named). Raises InputError.

    config: which of its data sets, where there are several.
    When the hub does not answer, a copy in the local cache is used.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    datasets.disable_progress_bars()
    wanted = split or "train"
    # Builders, file systems and the network raise whatever they like here; each becomes a
    # sentence with its own words in it.
    try:
        with _offline_unless_it_answers(name, revision):
            rows: Sequence[dict[str, Any]] = datasets.load_dataset(
                name, config, split=wanted, revision=revision
            )
    except Exception as error:
        raise _explained(name, wanted, error) from error
    return rows


def fingerprint(rows: Iterable[Any]) -> str:
    """sha256 over the rows as canonical JSON: the same for equal rows, whatever held them.

    A hub data set is no one file, so what was read is all there is to compare with later.
    """
    digest = sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()


@contextmanager
def _offline_unless_it_answers(name: str, revision: str | None) -> Iterator[None]:
    """Ask the hub once; without an answer, keep the libraries to their cache.

    On their own they try six times, for half a minute, and say so on the screen.
    """
    import datasets
    from huggingface_hub import HfApi, constants

    from backprop_tui.probe.model_hub import NETWORK_ERRORS

    try:
        HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT)
    except NETWORK_ERRORS as error:
        if getattr(error, "response", None) is not None:
            raise  # the hub did answer: no such data set, or no access
    else:
        yield
        return
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _explained(name: str, split: str, error: Exception) -> InputError:
    said = " ".join(str(error).split()) or type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & NOT_THERE:
        return InputError(
            f"{name}: no such file, and no such data set on the Hugging Face hub",
            code="DATA_NOT_FOUND",
            hint="check the spelling and the revision; "
            "a private or gated data set needs `hf auth login`",
        )
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "TransportError"}:
        return InputError(
            f"{name}: no such file, and the Hugging Face hub cannot be reached ({said[:SAID]})",
            code="DATA_NOT_FOUND",
            hint="without a network, give a local file; to name a local file, check its path",
        )
    if "Config name is missing" in said or ("BuilderConfig" in said and "not found" in said):
        missing = "Config name is missing" in said
        return InputError(
            f"{name}: {'it holds several data sets' if missing else 'it has no such config'}: "
            f"{_listed(said)}",
            code="DATA_CONFIG",
            hint='name one, for example: config = "..." under [data]',
        )
    if "Unknown split" in said or "Should be one of" in said:
        return InputError(
            f"{name}: no split {split!r}; there are: {_listed(said)}",
            code="DATA_SPLIT",
            hint='name one of its splits, for example: split = "test" under [data]',
        )
    return InputError(
        f"{name}: the data set cannot be loaded from the Hugging Face hub ({said[:SAID]})",
        code="DATA_UNREADABLE",
        hint="download one of its files and give that file",
    )


def _listed(said: str) -> str:
    """The names in the first list of a message; the message where it holds none."""
    found = re.findall(r"\[([^\[\]]*)\]", said)
    return found[0].replace("'", "") if found else said[:SAID]

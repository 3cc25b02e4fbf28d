"""A model on the hub, read without downloading its weights or writing to the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from huggingface_hub import HfApi, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

from backprop_tui.core.errors import InputError

TIMEOUT = 5.0  # seconds to connect, and between two pieces of an answer; never tried twice
# The hub's library has its own base of transport errors, under its HTTP error; OSError is another.
NETWORK_ERRORS = tuple(
    base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception) and base is not Exception
)
LOCAL_CHOICES = "Give a local model folder, a model of the local cache, or pocket (bundled)."


class HubFiles:
    """The files of one commit. Raises InputError when the model cannot be had."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.where = name
        with _in_words(name, revision):
            info = HfApi().model_info(name, revision=revision, timeout=TIMEOUT, files_metadata=True)
        self.commit = info.sha
        self.sizes: Mapping[str, int | None] = {
            file.rfilename: file.size for file in info.siblings or () if "/" not in file.rfilename
        }

    def read(self, name: str, limit: int | None = None) -> bytes:
        url = hf_hub_url(self.where, name, revision=self.commit)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if limit is not None:
            headers["Range"] = f"bytes=0-{limit - 1}"
        content = bytearray()
        with (
            _in_words(self.where, self.commit),
            get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response,
        ):
            if response.is_error:
                response.read()  # the reason may stand in the body
            hf_raise_for_status(response)
            for piece in response.iter_bytes():
                content += piece
                if limit is not None and len(content) >= limit:
                    break  # a server that ignores Range would send the weights
        return bytes(content[:limit])


@contextmanager
def _in_words(name: str, revision: str | None) -> Iterator[None]:
    """Errors of the hub as InputError. Addresses and headers stay out of every message."""
    try:
        yield
    except HFValidationError as error:
        raise InputError(
            f"{name!r} is neither a folder here nor a valid hub id.",
            hint=LOCAL_CHOICES,
            code="MODEL_NOT_FOUND",
        ) from error
    except OfflineModeIsEnabled as error:
        raise _offline(name, "offline mode is on (HF_HUB_OFFLINE)") from error
    except NETWORK_ERRORS as error:
        raise _translated(name, revision, error) from error


def _translated(name: str, revision: str | None, error: Exception) -> InputError:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError):
        return InputError(
            f"{name} is gated: the hub gives it only to those who accepted its terms.",
            hint="Accept them on the model's page while logged in there, then run: hf auth login",
            code="MODEL_GATED",
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"{name} has no revision {revision!r} on the hub.",
            hint="Leave the revision out, or give a branch, a tag or a commit.",
            code="MODEL_NOT_FOUND",
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return InputError(
            f"{name} is no folder here, and the hub has no such model (or it is private).",
            hint="Check the spelling (owner/name). For a private model run: hf auth login",
            code="MODEL_NOT_FOUND",
        )
    if status in (401, 403):
        return InputError(
            f"{name}: the hub refuses access ({status}).",
            hint="Log in with an account that may read it: hf auth login",
            code="MODEL_GATED",
        )
    if status is not None:
        return _offline(name, f"the hub answered {status}")
    return _offline(name, f"the hub cannot be reached ({type(error).__name__})")


def _offline(name: str, reason: str) -> InputError:
    return InputError(
        f"{name} is neither a folder here nor in the local cache, and {reason}.",
        hint=f"{LOCAL_CHOICES} Or try again online.",
        code="MODEL_OFFLINE",
    )

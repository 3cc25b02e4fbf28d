"""The models in the local Hugging Face cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """One model, at the revision a plain hub id means. bytes: on disk, of that revision."""

    name: str  # hub id
    bytes: int
    commit: str
    path: str  # snapshot folder, absolute


def cached_models() -> tuple[CachedModel, ...]:
    """Every cached model with a config, by name; () when there is no cache.

    Whether one can be trained is for `probe_model` to say: weights may be missing or pickle.
    """
    from huggingface_hub import scan_cache_dir  # 0.1 s
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, ValueError, OSError):  # none yet; a file in its place; not ours to read
        return ()
    found = []
    for repository in repositories:
        if repository.repo_type != "model" or not repository.revisions:
            continue
        revision = repository.refs.get("main") or max(
            repository.revisions, key=lambda revision: revision.last_modified
        )
        if any(file.file_name == "config.json" for file in revision.files):
            found.append(
                CachedModel(
                    name=repository.repo_id,
                    bytes=revision.size_on_disk,
                    commit=revision.commit_hash,
                    path=str(revision.snapshot_path),
                )
            )
    return tuple(sorted(found, key=lambda model: model.name.casefold()))


def cached_snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a cached hub model, named after its commit; None when it is not cached."""
    from huggingface_hub import try_to_load_from_cache  # 0.15 s
    from huggingface_hub.errors import HFValidationError

    try:
        for file in ("config.json", "adapter_config.json"):
            path = try_to_load_from_cache(name, file, revision=revision)
            if isinstance(path, str):
                return Path(path).parent
    except HFValidationError:  # no hub id
        return None
    return None

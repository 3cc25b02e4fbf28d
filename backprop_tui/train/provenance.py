"""What a run was made with, and how a replay differs from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shlex
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from backprop_tui.core.effective import Effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.train.model import weights_sha256

PACKAGES = (
    "backprop-tui",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
)
# What a difference in can change the figures of a replay.
COMPARED = (
    "python",
    "platform",
    "device",
    "driver",
    "cuda",
    "threads",
    "model_commit",
    "model_sha256",
    "data_sha256",
    "chat_template_sha256",
)


def record(
    run: RunFile,
    facts: Facts,
    plan: Effective,
    *,
    chat_template: str,
    train_rows: int,
    heldout_rows: int,
    dropped: Counter[str],
    cut: Counter[str],
    overrides: dict[str, str],
) -> ProvenanceSection:
    """Everything but the weights and the data themselves. No secret goes in here."""
    import torch

    card = facts.gpu_card if plan.device == "cuda" else None
    data, model = facts.data, facts.model
    return ProvenanceSection(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        platform=platform.platform(),
        device=card.name if card else f"CPU ({platform.machine()})",
        driver=(facts.gpu.driver or "") if card and facts.gpu else "",
        cuda=torch.version.cuda or "",
        threads=torch.get_num_threads(),
        packages={name: _version(name) for name in PACKAGES},
        model_path=(model.path or "") if model else "",
        model_commit=(model.commit or "") if model else "",
        model_sha256=weights_sha256(model) if model else "",
        data_path=(data.path or "") if data else "",
        data_sha256=(data.sha256 or "") if data else "",
        chat_template_sha256=hashlib.sha256(chat_template.encode()).hexdigest(),
        learning_rate=plan.rate.reason,
        precision=plan.precision,
        rows=data.rows if data else 0,
        kept=data.kept if data else 0,
        train_rows=train_rows,
        heldout_rows=heldout_rows,
        dropped=dict(dropped),
        cut=dict(cut),
        overrides=overrides,
        engine=_engine_words(run, card.name if card else f"CPU ({platform.machine()})"),
    )


def _engine_words(run: RunFile, device: str) -> str:
    """Which engine trains. On the device of the run that this one repeats, its words, because what
    was chosen by measuring is then taken again; the lean engine writes its own before step 1."""
    from backprop_tui.train.trainers import uses_lean

    before = run.provenance
    if not uses_lean(run):
        return "TRL"
    return before.engine if before and before.device == device and _is_lean(before) else "lean"


def _is_lean(provenance: ProvenanceSection) -> bool:
    """Before the lean engine came, nothing was written, and TRL computed."""
    return provenance.engine not in ("", "TRL")


def drift(before: ProvenanceSection, now: ProvenanceSection) -> list[str]:
    """Each thing that changed since, as "torch 2.12.0 -> 2.13.0"; empty when nothing did."""
    pairs: list[tuple[str, Any, Any]] = [
        (name.replace("_", " "), getattr(before, name), getattr(now, name)) for name in COMPARED
    ]
    pairs += [
        (name, before.packages[name], now.packages.get(name, "absent")) for name in before.packages
    ]
    was, is_now = ("lean" if _is_lean(one) else "TRL" for one in (before, now))
    pairs.append(("engine", was, is_now))
    return [f"{name} {_short(a)} -> {_short(b)}" for name, a, b in pairs if a != b]


def replay_command(run_file: str, output: str) -> str:
    """The command that repeats a run, as a shell would take it."""
    return f"backprop-tui run {shlex.quote(run_file)} --output {shlex.quote(output)}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _short(value: Any) -> str:
    text = str(value) or "none"
    return f"{text[:12]}…" if len(text) == 64 else text

"""What the lean engine does between being built and its first step, and what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.core.text import count
from backprop_tui.train.engine.base import Keep
from backprop_tui.train.engine.reference import sha256
from backprop_tui.train.engine.trainer import PreferenceTrainer

SAY_EVERY = 2.0  # seconds between two words of progress


def make_ready(
    trainer: PreferenceTrainer,
    provenance: ProvenanceSection,
    stage: Callable[[str], None],
    stop_if_asked: Callable[[int], None],
    warn: Callable[..., None],
    folder: Path,
    before: ProvenanceSection | None,
) -> ProvenanceSection:
    """Measure the frozen base where the method needs it; the provenance with what was decided.

    stage: told what is going on. stop_if_asked: called between batches; what it raises ends the
    work. warn: told when the quick way is not used, and why. folder: where the measured base is
    kept. before: of the run that this one repeats, which has measured it already.
    """
    path = trainer.lean.path
    if path.why:
        warn(f"The quick way to compute is not used: {path.why}.", code="engine-slower")
    changes = {"engine": path.words(trainer.lean.head)}
    if trainer.objective.reference:
        said = 0.0

        def progress(done: int, rows: int) -> None:
            nonlocal said
            stop_if_asked(done)
            if time.monotonic() - said > SAY_EVERY:
                stage(f"measuring the base model: {count(done)} of the run's {count(rows)} rows")
                said = time.monotonic()

        recorded = None
        if before and before.reference_path:
            recorded = Path(before.reference_path), before.reference_sha256
        weights = provenance.model_sha256 or provenance.model_commit
        found = trainer.prepare(progress, Keep(folder, weights, provenance.precision, recorded))
        if found is not None and trainer.is_world_process_zero():  # its disk has the file
            if found.reused:
                stage("the base model was measured by the run before: its figures are taken")
            changes |= {
                "reference_path": str(found.path),
                "reference_sha256": sha256(found.path),
            }
    return provenance.model_copy(update=changes)

"""What the lean engine does between being built and its first step, and what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.core.text import count
from backprop_tui.train.engine.trainer import PreferenceTrainer

SAY_EVERY = 2.0  # seconds between two words of progress


def make_ready(
    trainer: PreferenceTrainer,
    provenance: ProvenanceSection,
    stage: Callable[[str], None],
    stop_if_asked: Callable[[int], None],
    warn: Callable[..., None],
) -> ProvenanceSection:
    """Measure the frozen base where the method needs it; the provenance with what was decided.

    stage: told what is going on. stop_if_asked: called between batches; what it raises ends the
    work. warn: told when the quick way is not used, and why.
    """
    path = trainer.lean.path
    if path.why:
        warn(f"The quick way to compute is not used: {path.why}.", code="engine-slower")
    if trainer.objective.reference:
        said = time.monotonic()

        def progress(done: int, rows: int) -> None:
            nonlocal said
            stop_if_asked(done)
            if time.monotonic() - said > SAY_EVERY:
                stage(f"measuring the base model: {count(done)} of {count(rows)} rows")
                said = time.monotonic()

        stage("measuring the base model, which this method compares with")
        trainer.prepare(progress)
    return provenance.model_copy(update={"engine": path.words(trainer.lean.head)})

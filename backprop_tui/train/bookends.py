"""The first and last event of a run that goes as planned, and what its speed is held against."""

from __future__ import annotations

import resource
from typing import Any

from backprop_tui.core.cards import peak_flops
from backprop_tui.core.effective import Effective
from backprop_tui.core.events import Finished, Started
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.probe.survey import Survey
from backprop_tui.train.folder import RunFolder, free_name


def started(
    t: float, run: RunFile, found: Survey, trainer: Any, world: int, shorter: float | None
) -> Started:
    """The run as it will be. found: of the rows that are really left; world: processes; shorter:
    how often the shorter held-out answer is the chosen one."""
    provenance = run.provenance or ProvenanceSection()
    parameters = list(trainer.model.parameters())
    return Started(
        t=t,
        method=run.method,
        model=run.model.id,
        data=run.data.path,
        device=provenance.device if world == 1 else f"{world} x {provenance.device}",
        output=run.output,
        steps=found.plan.steps,
        train_rows=found.counts.train,
        heldout_rows=found.counts.heldout,
        dropped=dict(provenance.dropped),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        # Of the base: a quantised weight's storage does not count its elements.
        parameters=(found.facts.model.parameters if found.facts.model else None)
        or sum(p.numel() for p in parameters),
        learning_rate=found.plan.learning_rate,
        seed=run.training.seed,
        chosen_shorter=shorter,
    )


def know_speed(callback: Any, trainer: Any, plan: Effective, device: str, world: int) -> None:
    """Tell the callback what the card could do, where its peak rate is known for this precision."""
    if plan.device != "cuda" or plan.precision not in ("bf16", "fp16", "nf4"):
        return
    from backprop_tui.train.engine.speed import flops_per_token

    peak = peak_flops(device)
    callback.flops_per_token = flops_per_token(trainer.model)
    callback.peak_flops = peak * world if peak else None


def finished(
    t: float,
    step: int,
    folder: RunFolder | None,
    world: int,
    *,
    stopped: bool,
    path: str,
    why: str,
) -> Finished:
    """A run that ended as asked. world: processes. path: of what was saved, "" for nothing. why:
    what stopped it, when that was not a person."""
    from backprop_tui.train.provenance import replay_command

    replay = ""
    if folder:
        name = folder.path.name.partition("-replay")[0]  # of a replay: the same again
        target = free_name(folder.path.with_name(f"{name}-replay"))
        replay = replay_command(str(folder.run_file), str(target))
        if world > 1:
            launcher = f"accelerate launch --multi_gpu --num_processes {world} -m backprop_tui"
            replay = f"{launcher} {replay.partition(' ')[2]}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if path:
        from backprop_tui.train.emit import memory_in_use

        peak = memory_in_use()[2] or peak
    return Finished(
        t=t,
        step=step,
        stopped=stopped,
        seconds=t,
        memory_peak=peak,
        path=path,
        replay=replay,
        why=why,
    )

"""The rows and the plan of a run when several processes share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from backprop_tui.core.effective import effective
from backprop_tui.core.errors import InputError
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.text import plural
from backprop_tui.probe.survey import Survey
from backprop_tui.train.distributed import Team


def same_rows(team: Team, found: Survey) -> None:
    """Refuse where the processes do not read the same: each would wait for what never comes."""
    mine = (found.facts.data and found.facts.data.sha256, found.counts)
    if any(other != mine for other in team.gather(mine)):
        raise InputError(
            "The processes of this run read different rows.",
            hint="data.path must name the same file on every machine",
            code="RUN_ROWS_DIFFER",
        )


def share_out(team: Team, run: RunFile, found: Survey, say: Callable[[str], None]) -> Survey:
    """The plan when every process trains on its part of the rows.

    Each accumulates as the run file says, so a step has `world` times the rows, and the plan is
    that of one process with `world` times the accumulation.
    """
    if team.alone:
        return found
    plan, world = found.plan, team.world
    training = run.training.model_copy(update={"accumulation": plan.accumulation * world})
    wide = effective(run.model_copy(update={"training": training}), found.facts, found.counts)
    rows = world * plan.batch_size * plan.accumulation
    parts = f"{world} x {plan.batch_size} x {plan.accumulation}"
    say(f"{world} processes: {parts} = {plural(rows, 'row')} a step")
    return replace(found, plan=replace(wide, accumulation=plan.accumulation))

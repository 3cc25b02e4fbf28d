"""What there is to go on from in the folder of an earlier run, and whether it is still that run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Event, Finished, Resumed
from backprop_tui.core.guards import watched
from backprop_tui.core.history import History
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.text import plural
from backprop_tui.runs.state import finished_already
from backprop_tui.runs.stream import Follower
from backprop_tui.train.checkpoints import Checkpoint, Checkpoints

# What makes it another run. Libraries and drivers may differ: that is said.
SAME = {
    "model_commit": "the model's commit",
    "model_sha256": "the model's weights",
    "data_sha256": "the data",
    "chat_template_sha256": "the chat template",
    "train_rows": "the rows trained on",
    "heldout_rows": "the rows held out",
}
# Keys that a run may change on its way.
MAY_CHANGE = (
    "output",
    "data.path",  # the rows themselves are compared
    "data.more_paths",
    "model.id",
    "machine.card",
    "guards.",
    "provenance.",
    "training.keep_best",
    "training.save_minutes",
    "training.save_steps",
    "training.batch_size",
    "training.accumulation",
    "training.checkpointing",
    "training.checkpoint_every",
)


class NotResumed(InputError):
    """The run is left as it is, its record too."""


@dataclass(frozen=True, slots=True)
class TakenUp:
    """events: all so far. seconds: how long the run lasted already. checkpoint: what it goes on
    from, None to begin anew."""

    events: list[Event]
    seconds: float
    checkpoint: Checkpoint | None

    def resumed(self, t: float) -> Resumed:
        """The event that says so."""
        if self.checkpoint is None:
            return Resumed(t=t, step=0, checkpoint="")
        return Resumed(t=t, step=self.checkpoint.step, checkpoint=str(self.checkpoint.path))


def taken_up(folder: Path, run: RunFile, *, tidy: bool) -> TakenUp:
    """What the run has done, and its newest whole checkpoint.

    tidy: remove what a killed process left half written; for the one process that owns the run.

    NotResumed: it came to its end, or the run file was changed since.
    """
    events = Follower(folder / "events.jsonl", whole=True).read()
    history = History()
    for event in events:
        history.add(event)
    ended = history.ended
    if isinstance(ended, Finished) and not ended.stopped:
        known = finished_already(folder, ended)
        raise NotResumed(known.message, hint=known.hint, code=known.code)
    store = Checkpoints(folder / "checkpoints", watched(run.guards, run.method))
    if tidy:
        store.clear()
    checkpoint = store.newest()
    before = {
        **plan_of(RunFile(method=run.method)),
        **(checkpoint.state.plan if checkpoint else {}),
    }
    if checkpoint and (changed := _changed(before, plan_of(run), _amended(run))):
        raise NotResumed(
            f"{folder / 'run.toml'} was changed since step {checkpoint.step}: "
            f"{'; '.join(changed)}.",
            hint="put it back to resume; or start a new run from it with backprop-tui run "
            "--output ANOTHER",
            code="RUN_CHANGED",
        )
    seconds = max((event.t for event in events), default=0.0)
    hours = run.guards.max_hours
    if hours is not None and seconds >= hours * 3600:
        raise NotResumed(
            f"{folder}: the {hours:g} hours of guards.max_hours are over.",
            hint=f"raise guards.max_hours in {folder / 'run.toml'}, and resume again",
            code="RUN_TIME_OVER",
        )
    return TakenUp(events, seconds, checkpoint)


def going_on(before: ProvenanceSection, now: ProvenanceSection, folder: Path) -> ProvenanceSection:
    """The provenance of a run that is taken up again. NotResumed: it would be another run."""
    if before.started:
        differ = [
            words for name, words in SAME.items() if getattr(before, name) != getattr(now, name)
        ]
        if differ:
            raise NotResumed(
                f"{folder} cannot be resumed: since it was started {', '.join(differ)} changed.",
                hint="bring back what it was, or start a new run",
                code="RUN_CHANGED",
            )
    kept = ("started", "lowered", "amended", "order_batch", "overrides")
    return now.model_copy(
        update={name: getattr(before, name) for name in kept if getattr(before, name)}
    )


def plan_of(run: RunFile) -> dict[str, str]:
    """Every key that decides the figures, dotted, with its value as text. Of batch and
    accumulation it is the rows of a step."""
    plain = run.model_dump(mode="json", by_alias=True, exclude_none=True)
    keys = {key: value for key, value in _flat(plain, "") if not key.startswith(MAY_CHANGE)}
    return keys | {"batch_size x accumulation": str(run.effective_batch)}


def _amended(run: RunFile) -> frozenset[str]:
    """Keys that the run itself changed on its way."""
    return frozenset(run.provenance.amended if run.provenance else ())


def _flat(values: dict[str, Any], start: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        found += (
            _flat(value, f"{start}{name}.")
            if isinstance(value, dict)
            else [(f"{start}{name}", str(value))]
        )
    return found


def _changed(before: dict[str, str], now: dict[str, str], amended: frozenset[str]) -> list[str]:
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    keys = [key for key in keys if key not in amended]
    shown = [f"{key} {before.get(key, 'absent')} -> {now.get(key, 'absent')}" for key in keys[:3]]
    more = len(keys) - len(shown)
    return [*shown, f"and {plural(more, 'other key')}"] if more else shown

"""What happened in a run: one frozen value each, one JSON line each, both ways.

Live panels, the headless log, `events.jsonl` and the tests read the same events.
`t` is seconds since the start of the run. Every number that is not a time is the
same in a replay on the same machine (float32, CPU).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, get_args

from backprop_tui.core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_STOPPED
from backprop_tui.core.event_fields import checked, checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """A stage before the first step: "loading the model", "tokenising 640 pairs"."""

    t: float
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Training is about to take its first step.

    chosen_shorter: how often, 0..1, taking the shorter answer (in tokens) is right on the held-out
    rows, ties counting half; kto: over all pairs of a good and a bad row. None: no such rows.
    """

    t: float
    method: str
    model: str
    data: str
    device: str  # the card's name, or "CPU (…)"
    output: str
    steps: int
    train_rows: int
    heldout_rows: int
    dropped: dict[str, int]
    trainable: int  # parameters
    parameters: int
    learning_rate: float
    seed: int
    chosen_shorter: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step, its figures means over its rows; the same words for every method.

    Rewards are the method's own (simpo: beta x mean log-prob per token). margin: chosen minus
    rejected reward. accuracy: how often the chosen reward is the higher one, ties counting half
    (kto: over all pairs of a good and a bad row). logp_*: mean log-probability per token of an
    answer, averaged over answers; logp_*_sum: of a whole answer. None where the method has no
    such figure or the step had no such row.
    """

    t: float
    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float | None = None
    reward_chosen: float | None = None
    reward_rejected: float | None = None
    margin: float | None = None
    accuracy: float | None = None
    logp_chosen: float | None = None
    logp_rejected: float | None = None
    logp_chosen_sum: float | None = None
    logp_rejected_sum: float | None = None
    kl: float | None = None  # kto: its z0, the estimated distance from the reference
    tokens: int = 0  # cumulative, padding left out
    rows: int = 0  # cumulative: pairs; kto: judged answers; sft: conversations
    tokens_per_second: float | None = None
    rows_per_second: float | None = None
    mfu: float | None = None  # 0..1: share of the card's peak; None: peak or model unknown
    memory: int | None = None  # bytes held by tensors (CUDA) or by the process (CPU)
    memory_reserved: int | None = None  # CUDA only
    memory_peak: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The held-out rows, measured; the figures are those of Step.

    *_low, *_high: 95 % bootstrap interval over the pairs; None without pairs or with TRL's trainer.
    """

    t: float
    step: int
    rows: int
    loss: float
    reward_chosen: float | None = None
    reward_rejected: float | None = None
    margin: float | None = None
    accuracy: float | None = None
    logp_chosen: float | None = None
    logp_rejected: float | None = None
    logp_chosen_sum: float | None = None
    logp_rejected_sum: float | None = None
    kl: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSampled:
    """A reading of the card between steps. Memory in bytes, utilisation in percent."""

    t: float
    memory_used: int | None = None
    memory_total: int | None = None
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    others: int | None = None  # bytes that other processes hold on the card
    throttle: str = ""  # why the card holds itself back: "thermal", "power", ...; "" when it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The heaviest batch was tried before step 1, and what it took.

    estimate, peak: bytes of the whole process on the card; on a CPU of tensors alone. free: bytes
    that were free for it before. seconds: one optimizer step.
    """

    t: float
    estimate: int | None
    peak: int
    free: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know; the run goes on."""

    t: float
    code: str
    message: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Weights are on disk, whole."""

    t: float
    step: int
    path: str
    kind: str  # "checkpoint" | "adapter" | "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Training waits, its state in memory. why: "you asked for it", a full disk, a hot card."""

    t: float
    step: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """Training goes on after a pause."""

    t: float
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """The plan was changed while it ran, so that the run could go on. changes: key -> new value."""

    t: float
    step: int
    why: str
    changes: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A process took the run up again after `step`; what an earlier one did later is void.

    checkpoint: what it goes on from, "" when it begins anew: then the first measurement is void
    too.
    """

    t: float
    step: int
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run ended as planned, or was stopped and saved."""

    t: float
    step: int
    stopped: bool
    seconds: float
    memory_peak: int | None
    path: str  # the folder of the adapter or model; "" when nothing had been learned yet
    replay: str  # the command that repeats the run
    why: str = ""  # what stopped it, when that was not a person

    @property
    def exit_code(self) -> int:
        """0 done, 4 stopped and saved, 130 stopped before there was anything to save."""
        if not self.stopped:
            return EXIT_OK
        return EXIT_STOPPED if self.path else EXIT_INTERRUPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run could not go on. `message` is for people; the traceback is in the log."""

    t: float
    code: str
    message: str
    hint: str
    log: str  # path, "" when the run never got a folder
    exit_code: int = 3  # 1 when the user's input was refused


Event = (
    Preparing
    | Probed
    | Started
    | Step
    | Evaluated
    | GpuSampled
    | Warned
    | Saved
    | Paused
    | Continued
    | Amended
    | Resumed
    | Finished
    | Failed
)
EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_CHECKS = {name: checks(kind) for name, kind in EVENTS.items()}


def to_line(event: Event) -> str:
    """One JSON line, without the newline. Non-finite numbers become null: JSON has none."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(event).items()
    }
    return json.dumps({"event": type(event).__name__, **plain}, ensure_ascii=False)


def from_line(line: str) -> Event | None:
    """The event of a line; None for a torn or foreign line, and for a value of another type.

    Unknown keys are ignored. A number that was not finite is nan, or None where that is allowed.
    """
    try:
        plain: dict[str, Any] = json.loads(line)
        name = plain.pop("event")
        return EVENTS[name](**checked(plain, _CHECKS[name]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

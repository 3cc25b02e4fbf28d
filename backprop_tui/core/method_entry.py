"""What is said of a method in METHODS."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_tui.core.facts import Shape

MethodName = str  # a key of METHODS
ANY = float("inf")  # the last bound of a rate ladder


@dataclass(frozen=True, slots=True)
class Knob:
    """A number of the objective itself. Every knob must be a finite number above 0."""

    name: str
    default: float
    help: str
    source: str


@dataclass(frozen=True, slots=True)
class Preset:
    """Published settings. learning_rate is for full fine-tuning, None where none is published
    for these numbers alone."""

    name: str
    knobs: tuple[tuple[str, float], ...]
    learning_rate: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    shapes: data shapes it can train on, the natural one first.
    reference: needs log-probabilities of the frozen base (adapter switched off).
    loss_at_start: the loss of a policy that does not yet prefer either side, where it has a
        fixed value; it depends on the knobs, so it is said in words.
    rates: rows kept for training, up to (not including) the bound -> learning rate when none is
        given. Full fine-tuning takes full_rate where there is one. rates_source: whose they are.
    other: one of the other objectives, which are never recommended.
    trl: TRL has a trainer for it.
    """

    name: MethodName
    title: str
    summary: str
    shapes: tuple[Shape, ...]
    reference: bool
    knobs: tuple[Knob, ...]
    source: str
    loss_at_start: str
    rates: tuple[tuple[float, float], ...]
    full_rate: float | None = None
    rates_source: str = ""
    presets: tuple[Preset, ...] = ()
    other: bool = False
    trl: bool = False

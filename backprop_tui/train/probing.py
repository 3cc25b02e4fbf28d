"""What a run would take, measured without running it: its heaviest batch is tried once."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backprop_tui.core.control import Control
from backprop_tui.core.disk import at_most
from backprop_tui.core.effective import Effective
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Event, Failed, Probed
from backprop_tui.core.facts import ModelFacts
from backprop_tui.core.runfile import RunFile
from backprop_tui.train.runner import broken, refused
from backprop_tui.train.session import Session
from backprop_tui.train.trial import Tried

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "chat_template*", "vocab*", "merges.txt")


@dataclass(frozen=True, slots=True)
class Probe:
    """measured: the heaviest batch. lowered: keys that had to be, for it to fit. plan: as it would
    be trained. seconds: of the whole run. disk: bytes it needs at most."""

    measured: Probed
    lowered: dict[str, str]
    plan: Effective
    seconds: float
    disk: int


def probe(
    run: RunFile, emit: Callable[[Event], None], *, trust_remote_code: bool = False
) -> Probe | Failed:
    """Load the model and the data, try, and leave nothing behind; never raises.

    emit: told what is going on, as `train` tells it.
    """
    measured: list[Probed] = []

    def hear(event: Event) -> None:
        if isinstance(event, Probed):
            measured.append(event)
        emit(event)

    with tempfile.TemporaryDirectory() as folder:
        run = run.model_copy(update={"output": str(Path(folder) / "run")})
        session = Session(run, hear, Control(), {}, trust_remote_code, strict=False)
        session.probing = True
        try:
            fitted, _ = session.prepare()
        except BackpropError as error:
            return replace(refused(session, error), log="")  # it was in the folder
        except Exception as error:  # noqa: BLE001 - the boundary: logged, shown as a sentence
            session.folder = None  # which is gone at once, and its log with it
            return broken(session, error)
        finally:
            session.close()
        assert fitted.tried is not None
        plan, made = fitted.found.plan, session.run.provenance
        return Probe(
            measured=measured[-1],
            lowered=dict(made.lowered) if made else {},
            plan=plan,
            seconds=whole_run(plan, fitted.tried, heldout=fitted.found.counts.heldout),
            disk=disk(plan, fitted.tried, fitted.found.facts.model),
        )


def whole_run(plan: Effective, took: Tried, *, heldout: int) -> float:
    """Seconds of all steps and of measuring the held-out rows: before, in between, at the end."""
    times = 1 + math.ceil(plan.steps / plan.eval_steps) if heldout else 0
    return plan.steps * took.step + times * took.measuring


def disk(plan: Effective, took: Tried, model: ModelFacts | None) -> int:
    """Bytes of the checkpoints that are there at once and of the result, tokenizers included."""
    folder = Path(model.path) if model and model.path else None
    files = {file for name in TOKENIZER for file in folder.glob(name)} if folder else set()
    tokenizer = sum(file.stat().st_size for file in files)
    return at_most(plan.steps, took.saved + tokenizer, took.learned + tokenizer)

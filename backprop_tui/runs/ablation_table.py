"""The table of an ablation at this moment, read from its folder by any process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from backprop_tui.core import runfile_io
from backprop_tui.core.cells import (
    BASE,
    CellScores,
    Field,
    Missing,
    cleanliness,
    compared,
)
from backprop_tui.core.errors import BackpropError
from backprop_tui.core.events import Failed, Finished, Step
from backprop_tui.core.grid import Ablation, Cell
from backprop_tui.core.history import History
from backprop_tui.core.runfile import ProvenanceSection
from backprop_tui.core.scores import PairLogps, right
from backprop_tui.runs.ablation import AblationFolder, read_scores
from backprop_tui.runs.lock import owner
from backprop_tui.runs.requests import is_run
from backprop_tui.runs.state import read_state
from backprop_tui.runs.stream import Follower

WINDOW = 10  # steps that the train margin is a mean of
CellState = Literal["waiting", "running", "trained", "scoring", "scored", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Row:
    """One cell as it stands. right, n, margin, clean: over its own held-out pairs, per token;
    None before it was scored. train: nats per token. heldout: its own last held-out accuracy
    and loss. rate: learning rate. seconds: of training. why: of a failure."""

    name: str
    state: CellState
    step: int = 0
    steps: int | None = None
    right: float | None = None
    n: int | None = None
    margin: float | None = None
    clean: float | None = None
    train: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    rate: float | None = None
    seconds: float | None = None
    why: str = ""


class Table:
    """The rows of an ablation; each look reads only what is new."""

    def __init__(self, folder: AblationFolder, plan: Ablation) -> None:
        self.folder, self.plan = folder, plan
        self._seen: dict[str, tuple[Follower, History]] = {}
        self._scored: dict[str, tuple[int, tuple[PairLogps, ...]]] = {}

    def rows(self) -> list[Row]:
        """The base first, then the cells in order. Raises OSError when a folder may not be read."""
        return [self._base(), *(self.row(cell) for cell in self.plan.cells)]

    def row(self, cell: Cell) -> Row:
        """One cell."""
        path = self.folder.cell(cell.name)
        if not is_run(path):
            why = self.refusal(cell.name)
            return Row(cell.name, "failed" if why else "waiting", why=why)
        owned = owner(path) is not None
        history = self.history(cell)
        pairs = self.pairs(cell.name)
        last, started, ended = history.last, history.started, history.ended
        measured = history.evaluations[-1] if history.evaluations else None
        found = Row(
            cell.name,
            "waiting",
            step=last.step if last else 0,
            steps=last.steps if last else started.steps if started else None,
            train=train_margin(history.steps),
            accuracy=measured.accuracy if measured else None,
            loss=measured.loss if measured else None,
            rate=started.learning_rate if started else None,
            seconds=ended.t if ended else last.t if last else None,
        )
        if owned:
            return replace(found, state="running")
        if isinstance(ended, Failed):
            return replace(found, state="failed", why=ended.message)
        if isinstance(ended, Finished) and not ended.stopped:
            if pairs is not None:
                return _scored(found, pairs)
            found = replace(found, state="trained")
        else:
            found = replace(found, state="stopped")
        why = self.refusal(cell.name)
        return replace(found, state="failed", why=why) if why else found

    def history(self, cell: Cell) -> History:
        """What its events say so far."""
        follower, history = self._seen.get(cell.name) or (
            Follower(self.folder.cell(cell.name) / "events.jsonl", whole=True),
            History(),
        )
        events = follower.read()
        if follower.restarted:
            history = History()
        for event in events:
            history.add(event)
        self._seen[cell.name] = follower, history
        return history

    def pairs(self, name: str) -> tuple[PairLogps, ...] | None:
        """Its scores, read once while the file stays the same."""
        path = self.folder.scores(name)
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return None
        known = self._scored.get(name)
        if known is None or known[0] != stamp:
            found = read_scores(path)
            if found is None:
                return None
            known = self._scored[name] = stamp, found
        return known[1]

    def refusal(self, name: str) -> str:
        """Why a cell that has finished could not be scored; "" where nothing says so."""
        try:
            raw = json.loads(self.folder.scores(name).read_text(encoding="utf-8"))
            return str(raw.get("error", ""))
        except (OSError, ValueError, AttributeError):
            return ""

    def field(self) -> Field:
        """What can be compared now."""
        cells: list[CellScores] = []
        missing: list[Missing] = []
        first: tuple[str, ...] | None = None
        for cell in self.plan.cells:
            row = self.row(cell)
            pairs = self.pairs(cell.name)
            if row.state == "scored" and pairs:
                made = self._made(cell)
                first = first or made
                if made != first:
                    why = "was trained on other data, or another model, than the first cell"
                    missing.append(Missing(cell.name, cell.setting, why))
                    continue
                cells.append(_scores(cell, pairs, row.train))
            else:
                missing.append(Missing(cell.name, cell.setting, _missing_words(row)))
        return compared(self.plan.settings, cells, self.pairs(BASE) or (), missing)

    def _made(self, cell: Cell) -> tuple[str, ...]:
        """Hashes of what a cell was trained on."""
        try:
            run, _ = runfile_io.read(self.folder.cell(cell.name) / "run.toml", (), {})
        except BackpropError:
            return ()
        made = run.provenance or ProvenanceSection()
        return made.data_sha256, made.model_sha256, made.chat_template_sha256

    def _base(self) -> Row:
        pairs = self.pairs(BASE)
        if pairs:
            return _scored(Row(BASE, "waiting"), pairs)
        why = self.refusal(BASE)
        return Row(BASE, "failed" if why else "waiting", why=why)


def train_margin(steps: Sequence[Step]) -> float | None:
    """Log-probability per token of the chosen answers minus the rejected, mean over the last ten
    steps; the same words for every objective."""
    gaps = [
        step.logp_chosen - step.logp_rejected
        for step in steps[-WINDOW:]
        if step.logp_chosen is not None and step.logp_rejected is not None
    ]
    return fmean(gaps) if gaps else None


def seconds_a_step(rows: Iterable[Row]) -> float | None:
    """Of the cells that have taken steps, start included; None before any has."""
    timed = [row for row in rows if row.step and row.seconds]
    steps = sum(row.step for row in timed)
    return sum(row.seconds or 0.0 for row in timed) / steps if steps else None


def finished(folder: AblationFolder, name: str) -> bool:
    """Whether a cell's training has come to its end."""
    try:
        return read_state(folder.cell(name)).state == "finished"
    except BackpropError:
        return False


def _scored(row: Row, pairs: Sequence[PairLogps]) -> Row:
    margins = [pair.margin_per_token for pair in pairs]
    return replace(
        row,
        state="scored",
        right=sum(map(right, margins)),
        n=len(margins),
        margin=fmean(margins) if margins else None,
        clean=cleanliness(margins) if len(margins) > 1 else None,
    )


def _scores(cell: Cell, pairs: tuple[PairLogps, ...], train: float | None) -> CellScores:
    apart = {
        key: value
        for key, value in cell.changes.items()
        if key not in ("lora.rank", "lora.alpha", "training.seed")
    }
    return CellScores(
        name=cell.name,
        setting=cell.setting,
        method=cell.run.method,
        rank=cell.run.lora.rank if cell.run.lora else None,
        pairs=pairs,
        train_margin=train,
        peers=json.dumps(apart, sort_keys=True),
    )


def _missing_words(row: Row) -> str:
    match row.state:
        case "failed":
            return f"failed: {row.why.splitlines()[0] if row.why else 'no reason was given'}"
        case "scored":
            return "has no held-out pairs"
        case "trained":
            return "is not scored yet"
        case _:
            return "is not finished"

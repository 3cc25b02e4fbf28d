"""Several runs held against each other: settings, data, figures, curves, evaluations. Pure.

Nothing here says which run is the better one: that takes the same held-out rows, and more than two
overlapping intervals. What can be compared, and what cannot, is said in sentences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backprop_tui.core.comparison_evals import Evals, Evaluation, side_by_side
from backprop_tui.core.comparison_figures import Measured, figures_of, measured
from backprop_tui.core.events import Amended
from backprop_tui.core.history import History
from backprop_tui.core.runfile import ProvenanceSection, RunFile
from backprop_tui.core.text import count

# Of the same file these decide which rows are held out, and what of them the model reads.
SPLIT_KEYS = (
    *("data.heldout", "data.heldout_seed", "data.more_paths", "data.config", "data.split"),
    *("data.revision", "data.shape", "data.columns", "data.labels"),
)
LENGTH_KEYS = ("data.max_length", "data.cut_answers")
MADE_WITH = ("device", "precision", "engine", "threads", "driver", "cuda", "python", "platform")
HASHES = ("model_commit", "model_sha256", "chat_template_sha256")
SHORT = 12  # characters of a hash that are shown

SCALES = (
    "Rewards, and so margins and losses, of different methods are on different scales: across "
    "methods compare the accuracy, and eval's length-normalised margin."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A run to compare. state: "running", "finished", … plan: None where run.toml is unusable."""

    name: str
    path: str
    state: str
    history: History
    plan: RunFile | None
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One thing, and what it is in each run, in their order; None where a run has no such thing."""

    key: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that differ, and how many are the same in every run."""

    differ: tuple[Row, ...]
    same: int


@dataclass(frozen=True, slots=True)
class SameRows:
    """Whether the held-out rows are the same: None where that is not known. why: a sentence."""

    same: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it. notes: plain sentences on what may and may not be compared."""

    subjects: tuple[Subject, ...]
    settings: Group
    made_with: Group
    data: Group
    heldout: SameRows
    measured: tuple[Measured, ...]
    figures: tuple[Row, ...]
    evals: tuple[Evals, ...]
    notes: tuple[str, ...]


def compare(subjects: Sequence[Subject]) -> Comparison:
    """Two runs or more, in the order given."""
    runs = tuple(subjects)
    found = tuple(measured(run.history, run.plan) for run in runs)
    heldout = same_rows(runs)
    evals, notes = side_by_side(
        [run.path for run in runs], [run.evaluations for run in runs], same_heldout=heldout.same
    )
    return Comparison(
        subjects=runs,
        settings=_group([_settings(run.plan) for run in runs]),
        made_with=_group([_made_with(run) for run in runs]),
        data=_group([_data(run) for run in runs]),
        heldout=heldout,
        measured=found,
        figures=tuple(Row(key, values) for key, values in figures_of(found)),
        evals=evals,
        notes=(*_notes(runs, found, heldout), *notes),
    )


def flat(plan: RunFile) -> dict[str, str]:
    """Dotted run-file keys and their values in words, without provenance and output folder."""
    plain = plan.model_dump(mode="json", by_alias=True, exclude={"provenance", "output", "schema"})
    keys: dict[str, str] = {}
    for name, value in plain.items():
        if name == "schema":
            continue
        if isinstance(value, dict):
            keys |= {f"{name}.{key}": _words(inner) for key, inner in value.items()}
        elif value is not None:
            keys[name] = _words(value)
    if plan.lora is None:
        keys["lora"] = "none: every weight is trained"
    return keys


def same_rows(runs: Sequence[Subject]) -> SameRows:
    """Whether every run is measured on the same held-out rows, and reads the same of them."""
    plans = [run.plan for run in runs]
    made = [plan.provenance for plan in plans if plan and plan.provenance]
    sizes = [_heldout_rows(run) for run in runs]
    if 0 in sizes:
        return SameRows(False, "A run holds no rows out, so there is nothing to compare it on.")
    if len(made) < len(runs) or not all(one.data_sha256 for one in made):
        return SameRows(
            None,
            "Whether the held-out rows are the same is not known: a run has no hash of its data. "
            "Compare the held-out figures only if you know that they are.",
        )
    keys = [flat(plan) for plan in plans if plan]
    apart = [key for key in SPLIT_KEYS if len({one.get(key) for one in keys}) > 1]
    if len({one.data_sha256 for one in made}) > 1:
        apart.insert(0, "the data file itself")
    elif len({_reading(plan.method) for plan in plans if plan}) > 1:
        apart.append("method (each reads the rows in its own way: kto apart, sft one side)")
    elif not apart and len(set(sizes)) > 1:
        apart.append("their number")
    if apart:
        return SameRows(
            False,
            f"The held-out rows are not the same (they differ in {', '.join(apart)}), so the "
            "held-out figures cannot be compared. backprop-tui eval RUN --data FILE measures "
            "each run on one file.",
        )
    lengths = [key for key in LENGTH_KEYS if len({one.get(key) for one in keys}) > 1]
    lost = {json.dumps([one.dropped, one.cut], sort_keys=True) for one in made}
    if len(lost) > 1 or (lengths and any(one.cut for one in made)):
        return SameRows(
            False,
            "The held-out rows come from the same split but were cut or dropped differently "
            f"({', '.join(lengths) or 'by the tokenizer or chat template'}), so the held-out "
            "figures cannot be compared closely.",
        )
    return SameRows(True, f"The held-out rows are the same in every run: {count(sizes[0])}.")


def _reading(method: str) -> str:
    """How a method reads a pair; the split follows from the rows as they are read."""
    return method if method in ("sft", "kto") else "pairs"


def _heldout_rows(run: Subject) -> int | None:
    made = run.plan.provenance if run.plan else None
    started = run.history.started
    return made.heldout_rows if made else started.heldout_rows if started else None


def _settings(plan: RunFile | None) -> dict[str, str]:
    keys = flat(plan) if plan else {}
    return {key: value for key, value in keys.items() if not key.startswith("data.")}


def _made_with(run: Subject) -> dict[str, str]:
    """What decided the figures besides the run file: the rate really used, versions, changes."""
    made = (run.plan.provenance if run.plan else None) or ProvenanceSection()
    keys = {name: str(getattr(made, name) or "") for name in MADE_WITH}
    keys |= {name: _short(getattr(made, name)) for name in HASHES}
    started = run.history.started
    if not keys["device"] and started:
        keys["device"] = started.device
    keys["rate used"] = made.learning_rate or (f"{started.learning_rate:g}" if started else "")
    if started:
        keys["trainable parameters"] = count(started.trainable)
    keys |= made.packages
    keys |= {f"lowered: {key}": value for key, value in made.lowered.items()}
    changed = dict(made.amended)
    for event in run.history.amended:
        changed |= _amended(event, changed)
    keys |= {f"changed: {key}": value for key, value in changed.items()}
    return {key: value for key, value in keys.items() if value}


def _amended(event: Amended, known: dict[str, str]) -> dict[str, str]:
    return {
        key: f"{value} from step {event.step}"
        for key, value in event.changes.items()
        if key not in known
    }


def _data(run: Subject) -> dict[str, str]:
    plan, started = run.plan, run.history.started
    keys = {key: v for key, v in (flat(plan) if plan else {}).items() if key.startswith("data.")}
    made = plan.provenance if plan else None
    if made:
        keys |= {
            "file": made.data_path,
            "sha256": _short(made.data_sha256),
            "rows in the file": count(made.rows),
            "rows kept": count(made.kept),
        }
        keys |= {f"dropped: {reason}": count(n) for reason, n in made.dropped.items() if n}
        keys |= {f"cut: {reason}": count(n) for reason, n in made.cut.items() if n}
    elif started:
        keys["data.path"] = keys.get("data.path") or started.data
        keys |= {f"dropped: {reason}": count(n) for reason, n in started.dropped.items() if n}
    if made or started:
        train = made.train_rows if made else started.train_rows if started else 0
        keys |= {"train rows": count(train), "held-out rows": count(_heldout_rows(run))}
    return {key: value for key, value in keys.items() if value}


def _group(tables: Sequence[dict[str, str]]) -> Group:
    keys = list(dict.fromkeys(key for table in tables for key in table))
    rows = [Row(key, tuple(table.get(key) for table in tables)) for key in keys]
    differ = tuple(row for row in rows if row.differs)
    return Group(differ, len(rows) - len(differ))


def _notes(
    runs: Sequence[Subject], found: Sequence[Measured], heldout: SameRows
) -> tuple[str, ...]:
    notes = []
    if len({one.method for one in found if one.method}) > 1:
        notes.append(SCALES)
    elif len({_knobs(run.plan) for run in runs}) > 1:
        notes.append(
            "Margins and losses go with the method's own numbers (beta and the like), which differ "
            "here: compare the accuracy."
        )
    spans = [one.interval for one in found]
    if heldout.same and len(runs) > 1 and all(spans):
        low = max(span[0] for span in spans if span)
        high = min(span[1] for span in spans if span)
        notes.append(
            "All intervals of the held-out accuracy overlap: the difference may be chance. "
            "backprop-tui eval tells more of each run: it compares it with its base row by row."
            if low <= high
            else "Some intervals of the held-out accuracy do not overlap: that difference is more "
            "than the chance of which rows were held out. Another seed may still move it."
        )
    late = [run.name for run in runs if run.state in ("running", "paused", "interrupted")]
    if late:
        notes.append(f"Not at its end, so these are figures so far: {', '.join(late)}.")
    lost = [run.name for run in runs if run.plan is None]
    if lost:
        notes.append(
            f"run.toml is absent or damaged, so settings are not known: {', '.join(lost)}."
        )
    return tuple(notes)


def _knobs(plan: RunFile | None) -> str:
    return json.dumps(plan.knobs, sort_keys=True) if plan else ""


def _short(sha: str) -> str:
    return f"{sha[:SHORT]}…" if len(sha) > SHORT else sha


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "not set" if value is None or value == "" else str(value)

"""The order of an evaluation: what is asked for, each pass, the figures, the gates, the summary."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backprop_tui.core.errors import InputError
from backprop_tui.core.gate import GateResult, check_gate, judge_gate
from backprop_tui.core.metrics import METRICS
from backprop_tui.core.plain import finite
from backprop_tui.core.scores import Figure
from backprop_tui.core.text import plural
from backprop_tui.probe.data import DataSource
from backprop_tui.train.evals import figures
from backprop_tui.train.evals.generate import MAX_NEW, Text
from backprop_tui.train.evals.material import Material, encoded, read_file, read_heldout
from backprop_tui.train.evals.passes import Evaluation, Progress, never, quiet
from backprop_tui.train.evals.score import Score, as_pair
from backprop_tui.train.evals.store import SCHEMA, write_summary
from backprop_tui.train.evals.subject import Side, Subject
from backprop_tui.train.evals.weights import tokenizer_of

IMPLIED = 100  # rows answered where a gate or a pattern needs texts and --generate says nothing
_TEXTS = [name for name, metric in METRICS.items() if metric.needs == "text"]
NOT_FINITE = "a score that is no finite number"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured. texts: rows that are answered; None: only where something needs them.
    gates: metric and largest regression."""

    limit: int | None = None
    texts: int | None = None
    max_new: int = MAX_NEW
    pattern: str | None = None
    gates: tuple[tuple[str, float], ...] = ()

    def check(self) -> None:
        """InputError EVAL_GATE_INVALID, EVAL_PATTERN_INVALID: before anything is read."""
        for metric, bound in self.gates:
            check_gate(metric, bound)
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise InputError(
                f"--regex {self.pattern}: it is no regular expression: {error}",
                hint="Python's syntax; a dot stands for any sign, \\. for a dot",
                code="EVAL_PATTERN_INVALID",
            ) from error

    @property
    def rows_of_texts(self) -> int:
        """How many rows are answered at most."""
        if self.texts is not None:
            return self.texts
        # A gate on regex without a pattern fails whatever is written.
        needed = self.pattern or any(
            METRICS[name].needs == "text" and name != "regex" for name, _ in self.gates
        )
        return IMPLIED if needed else 0


@dataclass(frozen=True, slots=True)
class Result:
    """An evaluation that is done. scores: of every row by each side, by number. absent: metrics
    that could not be computed, and why."""

    folder: Path
    material: Material
    scores: dict[Side, dict[int, Score]]
    figures: tuple[Figure, ...]
    absent: dict[str, str]
    unused: dict[str, int]
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...]
    summary: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(gate.passed for gate in self.gates)


def evaluate(
    subject: Subject,
    source: DataSource | None,
    asked: Asked,
    say: Callable[[str], None] = quiet,
    *,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = never,
    trust_remote_code: bool = False,
) -> Result:
    """Measure a subject on a data set, or on its own held-out rows (source None).

    InputError: what Asked.check, read_heldout, read_file, encoded and Evaluation raise. Stopped:
    `stopping` said so.
    """
    asked.check()
    say("reading the data")
    if source is None and subject.folder is None:
        raise InputError(
            f"{subject.name} is a model, and has no held-out rows of its own.",
            hint="name rows to measure with --data FILE",
            code="EVAL_NO_HELDOUT",
        )
    read = read_file(source, subject.run) if source else read_heldout(subject.run, subject.folder)
    tokenizer = tokenizer_of(subject, trust_remote_code=trust_remote_code)
    material = encoded(
        read,
        tokenizer,
        max_length=subject.plan.max_length,
        cut_answers=subject.run.data.cut_answers,
        limit=asked.limit,
    )
    with Evaluation(
        subject,
        material,
        tokenizer,
        say,
        progress=progress,
        stopping=stopping,
        trust_remote_code=trust_remote_code,
    ) as evaluation:
        return _measured(evaluation, asked)


def _measured(evaluation: Evaluation, asked: Asked) -> Result:
    subject, material = evaluation.subject, evaluation.material
    sides = subject.sides
    # A side after the other: after full fine-tuning they are two models.
    scores: dict[Side, dict[int, Score]] = {}
    texts: dict[Side, dict[int, Text]] = {}
    for side in sides:
        scores[side] = evaluation.scores(side)
        if asked.rows_of_texts:
            texts[side] = evaluation.texts(side, asked.rows_of_texts, asked.max_new)
    unused = dict(material.unused)
    used = [item for item in material.items if all(item.number in scores[side] for side in sides)]
    if lost := len(material.items) - len(used):
        unused[NOT_FINITE] = lost
    found = _scored(material, [item.number for item in used], scores, sides)
    absent = _absent(material, found, asked)
    if texts:
        written = list(texts["tuned"])
        references = {
            item.number: item.reference for item in material.items if item.reference is not None
        }
        found += figures.of_texts(
            list(texts["tuned"].values()),
            [texts["base"][number] for number in written] if "base" in texts else None,
            references,
            asked.pattern,
        )
        if not written:
            absent |= dict.fromkeys(_TEXTS, "no row could be answered")
        elif "final_number" not in {one.name for one in found} and "final_number" in absent:
            absent["final_number"] = "no reference has a number"
    absent = {name: why for name, why in absent.items() if name not in {f.name for f in found}}
    gates = tuple(_judged(found, metric, bound, absent, lost) for metric, bound in asked.gates)
    warnings = list(evaluation.warnings)
    if material.trained_on:
        warnings.append(
            f"{material.path} is the file the run was trained on: figures of rows it has learned "
            "say nothing of others."
        )
    warnings += [gate.warning for gate in gates if gate.warning]
    if asked.rows_of_texts and evaluation.unanswered:
        warnings.append(evaluation.unanswered)
    summary = _summary(evaluation, asked, found, absent, unused, gates, warnings, len(used))
    write_summary(evaluation.folder.path, summary)
    return Result(
        evaluation.folder.path,
        material,
        scores,
        tuple(found),
        absent,
        unused,
        gates,
        tuple(warnings),
        summary,
    )


def _scored(
    material: Material,
    numbers: list[int],
    scores: dict[Side, dict[int, Score]],
    sides: tuple[Side, ...],
) -> list[Figure]:
    """Figures of the scores, by what the rows are."""
    if not numbers:
        return []
    each = {side: [scores[side][number] for number in numbers] for side in sides}
    tuned, base = each["tuned"], each.get("base")
    if material.kind == "pairs":
        return figures.of_pairs(
            list(map(as_pair, tuned)), list(map(as_pair, base)) if base else None
        )
    if material.kind == "marked":
        marks = {item.number: bool(item.label) for item in material.items}
        return figures.of_marked(tuned, base, [marks[number] for number in numbers])
    return figures.of_answers(tuned, base)


def _absent(material: Material, found: list[Figure], asked: Asked) -> dict[str, str]:
    """Metrics that were not computed, and why."""
    there = {figure.name for figure in found}
    why = {
        "pairs": "no row has a finite score",
        "marked": "good and bad answers are needed",
        "chats": "conversations have one answer each, and accuracy and margin compare two",
    }
    absent = {}
    for name, metric in METRICS.items():
        if name in there:
            continue
        if metric.needs == "pairs":
            absent[name] = why[material.kind]
        elif metric.needs == "answers":
            absent[name] = "no good answer has a finite score"
        elif name == "regex" and asked.pattern is None:
            absent[name] = "no --regex was given"
        elif not asked.rows_of_texts:
            absent[name] = "nothing was generated; --generate N has N rows answered"
        else:
            absent[name] = "no row has a reference to compare with"
    return absent


def _judged(
    found: list[Figure], metric: str, bound: float, absent: dict[str, str], lost: int
) -> GateResult:
    """lost: rows without a finite score. Those that are left tell nothing of a broken model."""
    result = judge_gate(found, metric, bound)
    why = absent.get(metric) if result.regression is None else None
    if why is None and lost and METRICS[metric].needs != "text":
        why = f"{plural(lost, 'row')} with {NOT_FINITE}"
    if why is None:
        return result
    return GateResult(metric, False, None, f"{metric} cannot be computed: {why}", result.warning)


def _summary(
    evaluation: Evaluation,
    asked: Asked,
    found: list[Figure],
    absent: dict[str, str],
    unused: dict[str, int],
    gates: tuple[GateResult, ...],
    warnings: list[str],
    used: int,
) -> dict[str, Any]:
    """What summary.json holds: no times, so that the same evaluation writes the same bytes."""
    subject, material = evaluation.subject, evaluation.material
    plain: dict[str, Any] = {
        "schema": SCHEMA,
        "target": subject.name,
        "name": evaluation.folder.path.name,
        "rows_of": material.name,
        "heldout": material.heldout,
        "data": material.path,
        "data_sha256": material.sha256,
        "kind": material.kind,
        "rows": used,
        "rows_in_data": material.rows,
        "unused": unused,
        "cut": material.cut,
        "settings": {
            "max_length": subject.plan.max_length,
            "precision": subject.plan.precision,
            "device": subject.plan.device,
            "limit": asked.limit,
            "generate": asked.rows_of_texts,
            "max_new_tokens": asked.max_new if asked.rows_of_texts else None,
            "regex": asked.pattern,
        },
        "figures": [asdict(one) for one in found],
        "absent": absent,
        "gates": [asdict(one) for one in gates],
        "warnings": warnings,
        "of": evaluation.folder.identity,
    }
    found_again: dict[str, Any] = finite(plain)
    return found_again

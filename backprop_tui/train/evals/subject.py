"""What is evaluated: a finished run, or a model by itself; judged before anything slow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backprop_tui.core import runfile_io
from backprop_tui.core.effective import Effective, effective
from backprop_tui.core.errors import InputError
from backprop_tui.core.events import Step
from backprop_tui.core.facts import Facts, ModelFacts
from backprop_tui.core.runfile import RunFile
from backprop_tui.probe.gpu import probe_gpu
from backprop_tui.probe.model import probe_model
from backprop_tui.runs.evals import result_sha256
from backprop_tui.runs.requests import is_run
from backprop_tui.runs.state import RUNS
from backprop_tui.train.exporting import with_result
from backprop_tui.train.model import weights_sha256

Side = Literal["tuned", "base"]
TOKENS = 4096  # read at once, where no run says what there is room for


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure, and what it is compared with.

    folder: of the run; None for a model by itself, which is then the tuned side alone. facts: of
    the base model, or of that model. weights: the run's adapter or model folder. tokens: read at
    once at most, what training had room for with its gradients.
    """

    name: str
    folder: Path | None
    run: RunFile
    facts: ModelFacts
    weights: Path | None
    plan: Effective
    tokens: int
    text_tokens: int

    @property
    def sides(self) -> tuple[Side, ...]:
        """The tuned one first."""
        return ("tuned", "base") if self.weights else ("tuned",)

    @property
    def adapter(self) -> Path | None:
        """Where tuned is base + adapter."""
        return self.weights if self.run.lora else None

    @property
    def home(self) -> Path:
        """The folder that holds its evaluations."""
        return self.folder / "evals" if self.folder else Path("evals") / self.name

    def identity(self) -> dict[str, str]:
        """Hashes of the weights of both sides, and how they are held. Reads the result's files."""
        base = weights_sha256(self.facts) or self.facts.commit or ""
        return {
            "tuned": result_sha256(self.weights) if self.weights else base,
            "base": base,
            "precision": self.plan.precision,
            "device": self.plan.device,
        }


def find_subject(
    target: str,
    *,
    device: str | None = None,
    batch_tokens: int | None = None,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> Subject:
    """A run folder, its name under ./runs, a model folder, a hub id or "pocket".

    InputError: what run_subject and probe_model raise.
    """
    given = Path(target).expanduser()
    for folder in (given, RUNS / target):
        if is_run(folder):
            return run_subject(
                folder,
                device=device,
                batch_tokens=batch_tokens,
                max_length=max_length,
                trust_remote_code=trust_remote_code,
            )
    try:
        facts = probe_model(target, trust_remote_code=trust_remote_code)
    except InputError as error:
        names = [path.name for path in RUNS.iterdir() if is_run(path)] if RUNS.is_dir() else []
        near = difflib.get_close_matches(target, names, 1)
        hint = f"did you mean the run {near[0]}?" if near else error.hint
        raise InputError(error.message, hint=hint, code=error.code) from error
    run = _with(runfile_io.parse({"model": {"id": target}}), device, max_length)
    plan = _plan(_trusted(facts), run)
    name = Path(facts.name).name or "model"
    most = batch_tokens or TOKENS
    return Subject(name, None, run, facts, None, plan, most, most)


def run_subject(
    folder: Path,
    *,
    device: str | None = None,
    batch_tokens: int | None = None,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> Subject:
    """The result of a run, and the very base it was trained on.

    InputError: RUN_OWNED while it is being trained, RUN_NOTHING_LEARNED, EVAL_BASE_CHANGED,
    model-remote-code, what reading its run file and probe_model raise.
    """
    run, history, weights = with_result(folder)
    name = "adapter_model.safetensors" if run.lora else "config.json"
    if not (weights / name).is_file():
        raise InputError(
            f"{folder}: this run has no result: {weights} has no {name}.",
            hint="weights are read from safetensors alone",
            code="RUN_NOTHING_LEARNED",
        )
    made = run.provenance
    facts = probe_model(
        run.model.id,
        revision=(made.model_commit if made else "") or run.model.revision,
        trust_remote_code=trust_remote_code,
    )
    if made and made.model_sha256 and weights_sha256(facts) != made.model_sha256:
        raise InputError(
            f"{facts.path}: its weights are not those {folder} was trained on.",
            hint="put them back; there is nothing else the run can be compared with",
            code="EVAL_BASE_CHANGED",
        )
    run = _with(run, device, max_length)
    plan = _plan(_trusted(facts), run)
    if made and made.precision:
        plan = replace(plan, precision=made.precision)
    most = batch_tokens or run.training.batch_tokens or tokens_of(run, history.steps)
    texts = batch_tokens or max(most, TOKENS)
    return Subject(folder.resolve().name, folder, run, facts, weights, plan, most, texts)


def tokens_of(run: RunFile, steps: Iterable[Step]) -> int:
    """Tokens of a batch in the heaviest step of a training, so that no more are read at once
    without gradients than were with them."""
    before = most = 0
    for step in steps:
        most, before = max(most, step.tokens - before), step.tokens
    batches = run.training.accumulation
    return most // batches or run.training.batch_size * run.data.max_length


def _with(run: RunFile, device: str | None, max_length: int | None) -> RunFile:
    changes = {"machine.device": device, "data.max_length": max_length}
    return runfile_io.change(run, {key: value for key, value in changes.items() if value})


def _plan(facts: ModelFacts, run: RunFile) -> Effective:
    return effective(run, Facts(gpu=probe_gpu(), model=facts, card=run.machine.card))


def _trusted(facts: ModelFacts) -> ModelFacts:
    """InputError: it needs code of its own that nobody has trusted."""
    if facts.remote_code:
        raise InputError(
            f"{facts.name} needs code of its own, which would run with your rights.",
            hint="read that code; then evaluate with --trust-remote-code",
            code="model-remote-code",
        )
    return facts

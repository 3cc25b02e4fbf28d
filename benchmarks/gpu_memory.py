"""Predicted against reserved memory on a CUDA card, over a grid of plans.

usage: python -m benchmarks.gpu --memory [--minutes 10] [--json PATH] [--write]
       python -m benchmarks.gpu --memory --tiny --cpu

Predicted: `probe.memory`, from the config alone. Real: the preflight of a run, which tries the
heaviest batch on a model with random weights, by torch.cuda.max_memory_reserved; with --cpu, by
counting tensors. "before": with the stated slack and workspace; "after": with what the other runs
of the table teach, so a run never teaches about itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backprop_tui.core.calibration import Calibration, Observation, calibrated
from backprop_tui.core.memory_question import MemoryQuestion, Row
from benchmarks import engine_machine
from benchmarks.engine_cells import Base, Budget, forget, reason
from benchmarks.engine_data import FIRST_ID
from benchmarks.engine_models import EIGHT_BILLION, ONE_BILLION, TINY, Shape
from benchmarks.engine_sides import Setting, build

MODELS = {"8b-nf4": (EIGHT_BILLION, "nf4"), "1b-bf16": (ONE_BILLION, "bf16")}
TINY_MODELS = {"8b-nf4": (TINY, "nf4"), "1b-bf16": (TINY, "bf16")}
# Method, longest row in tokens, checkpointing; the batch has this many rows.
GRID = {
    "8b-nf4": (
        ("orpo", 1024, True, 2),
        ("sft", 1024, True, 2),
        ("dpo", 2048, True, 2),
        ("kto", 1024, True, 4),
        ("simpo", 2048, True, 4),
        ("orpo", 1024, False, 1),
        ("sft", 2048, True, 4),
    ),
    "1b-bf16": (
        ("orpo", 1024, True, 4),
        ("orpo", 1024, False, 4),
        ("sft", 1024, True, 4),
        ("sft", 2048, False, 4),
        ("dpo", 2048, False, 4),
        ("kto", 1024, False, 8),
        ("simpo", 2048, True, 8),
    ),
}
HEADER = (
    *("model", "method", "longest row", "checkpointing", "batch"),
    *("predicted", "real", "before", "after"),
)
SHRINK = 16  # tiny: rows this many times shorter
ENOUGH = 2  # observations to learn from


@dataclass(frozen=True, slots=True)
class Cell:
    """One plan: bytes predicted of tensors, and what was really held."""

    model: str
    method: str
    longest: int
    checkpointing: bool
    batch: int
    predicted: int = 0
    real: int = 0
    failed: str = ""


def measure(options: argparse.Namespace, budget: Budget) -> list[Cell]:
    """Every cell there is time for; each is printed and written once it is there."""
    found: list[Cell] = []
    with ExitStack() as open_:
        from backprop_tui.probe.memory import MemoryOracle

        oracle = open_.enter_context(MemoryOracle())
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        for name in options.models:
            base = Base(_setting(name, "orpo", 64, True, 1, options))
            for method, longest, checkpointing, batch in GRID[name]:
                cell = Cell(name, method, longest, checkpointing, batch)
                what = f"{name}: {method} {longest} {checkpointing}, memory"
                if method not in options.methods or not budget.allows(what):
                    continue
                with budget.timed(what):
                    found.append(_measured(cell, options, base, oracle, folder))
                save(found, options, budget)
            base.drop()
    return found


def _setting(
    name: str, method: str, longest: int, checkpointing: bool, batch: int, options: Any
) -> Setting:
    shape, precision = (TINY_MODELS if options.tiny else MODELS)[name]
    return Setting(
        engine="lean",
        method=method,
        shape=shape,
        batch=batch // 2 if method == "kto" else batch,  # it counts pairs
        checkpointing=checkpointing,
        precision=precision,  # type: ignore[arg-type]
        device="cpu" if options.cpu else "cuda",
        max_length=longest,
    )


def _measured(cell: Cell, options: Any, base: Base, oracle: Any, folder: Path) -> Cell:
    from backprop_tui.train.meter import CardMeter, TensorMeter
    from backprop_tui.train.model import stay_as_loaded
    from backprop_tui.train.trial import tried

    longest = cell.longest // (SHRINK if options.tiny else 1)
    setting = _setting(cell.model, cell.method, longest, cell.checkpointing, cell.batch, options)
    lengths = rows_of(cell.method, longest, cell.batch)
    answer = oracle.ask(asked(setting, lengths, cell.batch))
    cell = replace(cell, predicted=answer.tensors)
    if answer.parts is None:
        return replace(cell, failed=f"not predicted: {answer.why}")
    meter: Any = TensorMeter() if options.cpu else CardMeter(None, Calibration())
    forget(setting)
    trainer: Any = None
    try:
        model = base.get()
        stay_as_loaded(model)
        dtypes = {name: one.dtype for name, one in model.named_parameters()}
        rows = encoded(cell.method, lengths)
        trainer, checked = _built(setting, model, rows, folder)
        if hasattr(trainer, "prepare"):
            trainer.prepare()
        tried(trainer, rows, [], meter)
    except Exception as error:  # noqa: BLE001 - of any kind: the other cells are still wanted
        base.drop()
        return replace(cell, failed=reason(error))
    _release(trainer, dtypes)
    return replace(cell, real=max(checked, meter.peak if options.cpu else meter.reserved))


def _built(setting: Setting, model: Any, rows: list[Any], folder: Path) -> tuple[Any, int]:
    """The trainer, and the peak of building it: the lean engine checks itself there."""
    import torch

    from backprop_tui.train.memory.fakes import quantisation_state
    from backprop_tui.train.memory.peak import PeakBytes

    if setting.device == "cuda":
        trainer = build(setting, model, rows, folder)
        _worst(trainer)
        return trainer, torch.cuda.max_memory_reserved()
    memory = PeakBytes()
    memory.hold(*model.parameters(), *model.buffers(), *quantisation_state(model))
    with memory:
        trainer = build(setting, model, rows, folder)
    _worst(trainer)
    return trainer, memory.peak


def _worst(trainer: Any) -> None:
    """Each answer of kto borrows the longest one, which is what was asked about."""
    from backprop_tui.train.engine.batch import RowSet
    from backprop_tui.train.memory.stage import borrow_longest

    if isinstance(trainer.train_dataset, RowSet):
        borrow_longest(trainer.train_dataset)


def rows_of(method: str, longest: int, batch: int) -> tuple[Row, ...]:
    """Lengths as they fall into a batch: one row as long as may be, the others shorter."""
    found: list[Row] = []
    for number in range(batch):
        whole = longest - longest * number // (2 * batch)
        prompt = whole // 3
        answers = (whole - prompt, (whole - prompt) * 2 // 3)
        found.append((prompt, *answers[: 1 if method in ("sft", "kto") else 2]))
    return tuple(found)


def encoded(method: str, lengths: Sequence[Row]) -> list[Any]:
    """Rows of any tokens with these lengths."""
    from backprop_tui.train.encoded import IGNORE, EncodedChat, EncodedLabelled, EncodedPair

    made: list[Any] = []
    for number, (prompt, *answers) in enumerate(lengths):
        ids = [[FIRST_ID + number] * length for length in (prompt, *answers)]
        if method == "sft":
            made.append(EncodedChat(number, ids[0] + ids[1], [IGNORE] * prompt + ids[1]))
        elif method == "kto":
            made.append(EncodedLabelled(number, ids[0], ids[1], label=number % 2 == 0))
        else:
            made.append(EncodedPair(number, ids[0], ids[1], ids[2]))
    return made


def asked(setting: Setting, lengths: tuple[Row, ...], batch: int) -> MemoryQuestion:
    """What the wizard would ask for this plan."""
    return MemoryQuestion(
        config=config_of(setting.shape),
        method=setting.method,
        engine="trl" if setting.method == "sft" else "lean",
        precision=setting.precision,
        lora=(16, "all-linear"),
        checkpoint_every=int(setting.checkpointing),
        optimizer="paged_adamw_8bit" if setting.device == "cuda" else "adamw",
        rows=lengths[:batch],
        max_length=setting.max_length,
        batch_tokens=None,
        accumulates=False,
        on_card=setting.device == "cuda",
    )


def config_of(shape: Shape) -> str:
    """The config.json of a model of this shape."""
    sizes = asdict(shape) | {"max_position_embeddings": 8_192}
    return json.dumps({"model_type": "llama", **sizes}, sort_keys=True)


def _release(trainer: Any, dtypes: dict[str, Any]) -> None:
    """The model inside as it was, for the next cell."""
    if hasattr(trainer, "lean"):
        trainer.lean.remove()
    base = trainer.model.unload()
    base.activation_checkpointing_disable()
    base.disable_input_require_grads()
    for name, one in base.named_parameters():
        one.grad = None
        one.requires_grad_(False)
        if one.dtype != dtypes.get(name, one.dtype):  # some trainers widen a few
            one.data = one.data.to(dtypes[name])


def said(tensors: int, learnt: Calibration) -> int:
    """Bytes reserved, as it is said; the context is not among them."""
    return tensors + learnt.overhead(tensors) - learnt.context


def table(found: Sequence[Cell], *, on_card: bool) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for cell in found:
        plan = f"{cell.model} | {cell.method} | {cell.longest} | "
        plan += f"{'on' if cell.checkpointing else 'off'} | {cell.batch}"
        if cell.failed:
            lines.append(f"| {plan} | {_mib(cell.predicted)} | {cell.failed} | | |")
            continue
        others = [
            Observation(predicted=one.predicted, reserved=one.real)
            for one in found
            if one is not cell and not one.failed
        ]
        before, after = "", ""
        if on_card:
            before = _off(said(cell.predicted, Calibration()), cell.real)
            if len(others) >= ENOUGH:
                after = _off(said(cell.predicted, calibrated(others)), cell.real)
        else:
            before = _off(cell.predicted, cell.real)
        lines.append(
            f"| {plan} | {_mib(cell.predicted)} | {_mib(cell.real)} | {before} | {after} |"
        )
    return "\n".join(lines)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


def _off(predicted: int, real: int) -> str:
    return f"{100 * (predicted / real - 1):+.2f} %"


def page(found: Sequence[Cell], options: argparse.Namespace, budget: Budget) -> str:
    """Everything measured so far, as Markdown."""
    skipped = "".join(f"\n- {text}" for text in budget.skipped)
    return (
        "# Memory: predicted against reserved, on a card\n\n"
        f"{engine_machine.today()}. {engine_machine.words(engine_machine.machine())}. "
        f"{budget.spent / 60:.1f} minutes. Predicted: tensors alone. before, after: the error of "
        "what is said to be reserved, with the stated and with the learnt slack. "
        "`python -m benchmarks.gpu --memory` makes this page.\n\n"
        f"{table(found, on_card=not options.cpu)}\n"
        + (f"\nLeft out:\n{skipped}\n" if skipped else "")
    )


def save(found: Sequence[Cell], options: argparse.Namespace, budget: Budget) -> None:
    """Write what there is."""
    values = {
        "date": engine_machine.today(),
        "machine": engine_machine.machine(),
        "tiny": options.tiny,
        "cpu": options.cpu,
        "skipped": budget.skipped,
        "cells": [asdict(one) for one in found],
    }
    if options.json:
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.write:
        card = engine_machine.slug(values["machine"].get("card", "cpu"))
        name = f"memory-{engine_machine.today()}-{card}"
        engine_machine.write(name, page(found, options, budget), values)

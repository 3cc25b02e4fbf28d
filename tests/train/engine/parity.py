"""Both engines on the same rows, weights and batches: what differs between them, measured.

All measures are relative, |a - b| / |b| with b TRL's. loss: of each step, by its size. rewards:
the chosen and the rejected side's means of all steps, as one vector by its norm, because a single
mean may be near zero. Gradients and adapters: each LoRA tensor by its norm.
"""

from __future__ import annotations

import functools
import gc
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from backprop_tui.core.control import Control
from backprop_tui.core.effective import effective
from backprop_tui.core.facts import Facts
from backprop_tui.core.methods import METHODS
from backprop_tui.core.runfile import RunFile
from backprop_tui.core.runfile_io import change
from backprop_tui.probe.model import probe_model
from backprop_tui.train.emit import EventCallback
from backprop_tui.train.encoded import EncodedLabelled, EncodedPair
from backprop_tui.train.model import load_model, load_tokenizer
from backprop_tui.train.trainers import TrainerInput, build_trainer
from tests.conftest import pocket_run

COMPARED = tuple(name for name, method in METHODS.items() if method.trl and name != "sft")
BATCH = 4
WORDS = 2048  # of the bundled tokenizer


@dataclass(frozen=True)
class Trained:
    """What a training left behind. logs: one a step. gradients: of the first step, by the
    tensor's name. adapter: at the end."""

    logs: list[dict[str, float]]
    gradients: dict[str, Tensor]
    adapter: dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """The largest of each kind. gradient: of the first step. adapter: at the end."""

    loss: float
    rewards: float
    gradient: float
    adapter: float


def rows_of(method: str, count: int = 2 * BATCH) -> list[Any]:
    """Rows of very different lengths, made from a seed."""
    draw = random.Random(7)

    def ids(least: int, most: int) -> list[int]:
        return [draw.randrange(10, WORDS) for _ in range(draw.randint(least, most))]

    if method == "kto":
        return [EncodedLabelled(n, ids(3, 20), ids(2, 25), n % 3 != 0) for n in range(count)]
    return [EncodedPair(n, ids(3, 20), ids(2, 25), ids(2, 25)) for n in range(count)]


def small_model(layers: int = 2) -> Any:
    """A random llama with grouped heads, float32, that reads the bundled tokenizer's words."""
    torch.manual_seed(3)
    config = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        vocab_size=WORDS,
        initializer_range=0.1,
    )
    return LlamaForCausalLM(config)


def build(
    run: RunFile, rows: list[Any], folder: Path, base: Any = None, heldout: list[Any] | None = None
) -> Any:
    """The trainer of the run's engine for these rows, on the bundled model or another."""
    facts = Facts(model=probe_model("pocket"))
    assert facts.model is not None
    plan = effective(run, facts)
    tokenizer = load_tokenizer(run, facts.model, trust_remote_code=False)
    model = base or load_model(run, plan, facts.model, trust_remote_code=False)
    callback = EventCallback(lambda _event: None, Control(), lambda: 0.0)
    trainer = build_trainer(
        TrainerInput(
            run=run,
            plan=plan,
            model=model,
            tokenizer=tokenizer,
            train=rows,
            heldout=heldout or [],
            checkpoints=folder / "checkpoints",
            callback=callback,
        )
    )
    forget_imports(run.engine)
    return trainer


@functools.cache
def forget_imports(_engine: str) -> None:
    """Let the garbage collector pass over what the libraries made when they were imported: the
    trainers call it after every training, and it would take longer than a training does here."""
    gc.freeze()


def trained(
    method: str, engine: str, folder: Path, steps: int, rows: list[Any], base: Any = None
) -> Trained:
    """Train with one engine on these rows in this order, from an adapter that already does
    something."""
    run = change(
        pocket_run(method, folder / engine),
        {
            "engine": engine,
            "model.precision": "fp32",
            "training.max_steps": steps,
            "training.save_steps": 10 * steps,
            "training.max_grad_norm": 1e9,
            "data.heldout_seed": 5,  # decides kto's mismatched answers, in both engines
        },
    )
    trainer = build(run, rows, folder / engine, base)
    shake(trainer.model)
    fill_reference(trainer)
    trainer._get_train_sampler = lambda *_: SequentialSampler(trainer.train_dataset)
    first = FirstGradients()
    trainer.add_callback(first)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    adapter = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if "lora" in n}
    return Trained(logs, first.found, adapter)


def shake(model: Any) -> None:
    """Give lora_B, which starts at zero, small values: else lora_A has no gradient."""
    draw = torch.Generator().manual_seed(11)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.02 * torch.randn(parameter.shape, generator=draw)


def fill_reference(trainer: Any) -> None:
    """What a run does before its first step. TRL's trainers do it while they train."""
    if hasattr(trainer, "prepare"):
        trainer.prepare()


class FirstGradients(TrainerCallback):  # type: ignore[misc]
    """Keeps the adapter's gradients of the first step."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, *_: Any, model: Any, **_named: Any) -> None:
        """After the backward pass, before the weights move."""
        if not self.found:
            self.found = {
                name: parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if "lora" in name
            }


def difference(lean: Trained, trl: Trained) -> Difference:
    """How far the lean engine is from TRL's trainer."""
    losses = [(a["loss"], b["loss"]) for a, b in zip(lean.logs, trl.logs, strict=True)]
    rewards = [
        (
            torch.tensor([log[key] for log in lean.logs]),
            torch.tensor([log[key] for log in trl.logs]),
        )
        for key in ("rewards/chosen", "rewards/rejected")
    ]
    return Difference(
        loss=max(abs(a - b) / abs(b) for a, b in losses),
        rewards=max(relative(a, b) for a, b in rewards),
        gradient=worst(lean.gradients, trl.gradients),
        adapter=worst(lean.adapter, trl.adapter),
    )


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest relative difference of any tensor."""
    assert a.keys() == b.keys()
    return max(relative(a[name], b[name]) for name in b)


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())

"""Event streams as the trainer emits them: deterministic, real-looking, one per method."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from backprop_tui.core.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    GpuSampled,
    Preparing,
    Probed,
    Saved,
    Started,
    Step,
    Warned,
)

GB = 2**30
MB = 2**20
PACE = 0.3  # seconds a step
START = {"simpo": 1.31, "orpo": 1.62, "kto": 0.5}  # loss of a model without a preference
FALL = {"simpo": 0.62, "orpo": 0.48, "kto": 0.17}
FIRST_STEP = 6.0  # seconds of preparation


def preparing(method: str = "simpo") -> list[Event]:
    """The stages before the first step, with a warning among them."""
    rows = {"sft": "1,000 conversations", "kto": "1,200 answers"}.get(method, "640 pairs")
    return [
        Preparing(t=0.0, stage=f"reading {rows}"),
        Preparing(t=0.9, stage="loading the model"),
        Preparing(t=4.1, stage=f"tokenising {rows}"),
    ]


def started(method: str = "simpo", *, steps: int = 240, device: str = "cpu") -> Started:
    """The event before the first step."""
    cuda = device != "cpu"
    return Started(
        t=FIRST_STEP,
        method=method,
        model="Qwen/Qwen2.5-7B-Instruct" if cuda else "pocket",
        data="/data/ultrafeedback_str_train.jsonl",
        device=device,
        output=f"runs/{method}-pocket",
        steps=steps,
        train_rows=565,
        heldout_rows=63,
        dropped={"identical sides": 4, "answer too long": 8},
        trainable=40_370_176 if cuda else 221_184,
        parameters=7_615_616_512 if cuda else 2_800_000,
        learning_rate=1e-6 if cuda else 2e-3,
        seed=0,
    )


def warned(t: float = 5.0) -> Warned:
    """A warning with its code and source."""
    return Warned(
        t=t,
        code="simpo-lr-clamped",
        message="The learning rate 1e-05 was lowered to 1e-06: SimPO at 1e-05 and above gives "
        "incoherent or repetitive output. training.lr_clamp = false keeps yours.",
        source="SimPO repository, README",
    )


def _rise(step: int, steps: int, height: float) -> float:
    return height * (1 - math.exp(-4 * step / max(steps, 1)))


def step_event(
    method: str, step: int, steps: int, rng: random.Random, *, cuda: bool = False
) -> Step:
    """One step of a run that learns."""
    rise = _rise(step, steps, 1.0)
    memory = int(8.4 * GB + 0.2 * GB * rng.random()) if cuda else int(1_210 * MB + 90 * MB * rise)
    common = {
        "t": FIRST_STEP + PACE * step,
        "step": step,
        "steps": steps,
        "epoch": 3 * step / steps,
        "learning_rate": 1e-6 * (1 - step / (steps + 1)),
        "grad_norm": 1.4 - 0.6 * rise + 0.2 * rng.random(),
        "tokens": 1_180 * step,
        "rows": 4 * step,
        "tokens_per_second": 3_933 + rng.uniform(-60, 60),
        "rows_per_second": 4 / PACE,
        "mfu": 0.41 if cuda else None,
        "memory": memory,
        "memory_reserved": int(9.8 * GB) if cuda else None,
        "memory_peak": int(10.1 * GB) if cuda else int(1_310 * MB + 60 * MB * rise),
    }
    if method == "sft":
        return Step(loss=2.31 - 1.12 * rise + rng.gauss(0, 0.06), **common)  # type: ignore[arg-type]
    chosen = -1.02 - 0.22 * rise + rng.gauss(0, 0.03)
    rejected = chosen - _rise(step, steps, 0.95) + rng.gauss(0, 0.07)
    margin = chosen - rejected
    loss = START[method] - FALL[method] * rise
    pairs = 16
    right = sum(rng.random() < 0.5 + 0.44 * rise for _ in range(pairs))
    return Step(
        loss=loss + rng.gauss(0, 0.03),
        reward_chosen=chosen,
        reward_rejected=rejected,
        margin=margin,
        accuracy=right / pairs,
        logp_chosen=chosen / 2,
        logp_rejected=rejected / 2,
        logp_chosen_sum=30 * chosen,
        logp_rejected_sum=30 * rejected,
        kl=max(0.0, 1.8 * rise + rng.gauss(0, 0.1)) if method == "kto" else None,
        **common,  # type: ignore[arg-type]
    )


def evaluated(method: str, step: int, steps: int, *, inflating: bool = False) -> Evaluated:
    """The held-out rows at a step. inflating: they do not follow the training rows."""
    rise = 0.02 if inflating else 0.85 * _rise(step, steps, 1.0)
    t = FIRST_STEP + PACE * step + 0.1
    if method == "sft":
        return Evaluated(t=t, step=step, rows=63, loss=2.29 - 1.0 * rise)
    right = round(63 * (0.5 + 0.44 * rise))
    return Evaluated(
        t=t,
        step=step,
        rows=63,
        loss=START[method] - 0.7 * FALL[method] * rise,
        reward_chosen=-1.03 - 0.2 * rise,
        reward_rejected=-1.05 - 0.93 * rise,
        margin=0.02 + 0.73 * rise,
        accuracy=right / 63,
        logp_chosen=-0.515 - 0.1 * rise,
        logp_rejected=-0.525 - 0.465 * rise,
        logp_chosen_sum=-30.9 - 6.0 * rise,
        logp_rejected_sum=-31.5 - 27.9 * rise,
        kl=1.6 * rise if method == "kto" else None,
    )


def probed() -> Probed:
    """What the heaviest batch took before step 1."""
    return Probed(
        t=FIRST_STEP, estimate=int(10.4 * GB), peak=int(10.1 * GB), free=int(14.9 * GB), seconds=0.3
    )


def gpu(step: int) -> GpuSampled:
    """A reading of a 16 GB card."""
    return GpuSampled(
        t=FIRST_STEP + PACE * step + 0.05,
        memory_used=int(11.2 * GB),
        memory_total=int(16.0 * GB),
        others=int(1.1 * GB),
        utilisation=97 - step % 3,
        temperature=64 + step % 2,
        power=145.0 + step % 5,
        power_limit=165.0,
    )


def training(
    method: str = "simpo",
    *,
    upto: int = 120,
    steps: int = 240,
    cuda: bool = False,
    inflating: bool = False,
) -> Iterator[Event]:
    """A run from its first stage to step `upto`, with evaluations, saves and GPU readings."""
    rng = random.Random(7)
    every = max(1, steps // 10)
    first, *rest = preparing(method)
    yield first
    yield warned(0.5)
    yield from rest
    yield started(
        method, steps=steps, device="cuda:0 NVIDIA GeForce RTX 4060 Ti" if cuda else "cpu"
    )
    if cuda:
        yield probed()
    yield evaluated(method, 0, steps, inflating=inflating)
    for step in range(1, upto + 1):
        yield step_event(method, step, steps, rng, cuda=cuda)
        if cuda:
            yield gpu(step)
        if step % every == 0:
            yield evaluated(method, step, steps, inflating=inflating)
        if step % (steps // 2 or 1) == 0:
            yield Saved(
                t=FIRST_STEP + PACE * step + 0.2,
                step=step,
                path=f"runs/{method}-pocket/checkpoints/checkpoint-{step}",
                kind="checkpoint",
            )


def ending(method: str = "simpo", step: int = 240, *, stopped: bool = False) -> list[Event]:
    """The adapter is saved, the run is over."""
    t = FIRST_STEP + PACE * step + 0.5
    path = f"runs/{method}-pocket/adapter"
    return [
        Saved(t=t, step=step, path=path, kind="adapter"),
        Finished(
            t=t + 0.1,
            step=step,
            stopped=stopped,
            seconds=t,
            memory_peak=1_370 * MB,
            path=path,
            replay=f"backprop-tui run runs/{method}-pocket/run.toml",
        ),
    ]


def failure(t: float = 42.0) -> Failed:
    """A run that could not go on."""
    return Failed(
        t=t,
        code="RUN_OUT_OF_MEMORY",
        message="The card ran out of memory at step 120: 15.9 of 16.0 GB were in use.",
        hint="Lower data.max_length to 768, or training.batch_size to 1 and double "
        "training.accumulation.",
        log="runs/simpo-pocket/run.log",
    )

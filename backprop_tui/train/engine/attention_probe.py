"""Which variant of the shared attention is quickest on this card, for this model and these rows?

Every variant computes a forward and a backward pass of the model's own attention layers, with the
queries, keys and values that the model really makes. One that raises, or that gives something
else than the split variant, is out. On a CPU nothing is measured: split it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from backprop_tui.train.engine.attention import VARIANTS, Options, Variant, split_attention
from backprop_tui.train.engine.forward import LeanForward, Path, sums
from backprop_tui.train.engine.layout import Group, Layout, packed

# Passes of each variant that are timed, after one that compiles and one that warms up.
REPEATS = 5
# Seconds. No variant is begun after so many in all, compiling aside; and a variant whose first
# pass takes longer than PATIENCE is not used: it compiles again for each window, and for passes
# without gradients.
BUDGET, PATIENCE = 3.0, 60.0
# Largest difference of one token's result or gradient, relative to its size.
TOLERANCE, TOLERANCE_HALF = 1e-3, 5e-2
HALF = (torch.bfloat16, torch.float16)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """variant: the quickest that is right. times: milliseconds of a forward and a backward pass
    of one layer, by variant. refused: what is wrong with the others, in words."""

    variant: str = "split"
    times: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> str:
        """For the run file: "split 3.1 ms, varlen 1.2 ms, flex 1.9 ms"."""
        return ", ".join(f"{name} {time:.1f} ms" for name, time in self.times.items())


@dataclass(slots=True)
class Call:
    """What layers of one kind hand to their attention, and how many layers are of that kind."""

    inputs: tuple[Tensor, Tensor, Tensor]
    options: Options
    layers: int = 0


def choose_variant(forward: LeanForward, model: Any, groups: Sequence[Group]) -> Choice:
    """The quickest variant for these rows, which fit on the card as one packed row."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return Choice()
    lean = packed(groups).to(device)
    try:
        with torch.random.fork_rng([device]):  # what is measured does not change what is trained
            return compared(recorded(forward, model, lean), lean)
    except Exception:  # of any kind: the split variant is always there
        logger.warning("attention could not be measured", exc_info=True)
        return Choice()
    finally:
        torch.cuda.empty_cache()


def recorded(forward: LeanForward, model: Any, lean: Layout) -> list[Call]:
    """The calls of one forward pass in training mode, one of each kind."""
    calls: dict[Any, Call] = {}

    def record(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
        inputs = query, key, value
        kind = (o, *((tensor.shape, tensor.dtype) for tensor in inputs))
        calls.setdefault(kind, Call(inputs, o)).layers += 1
        return split_attention(query, key, value, lean, o)

    training = model.training
    VARIANTS["recorded"] = record
    try:
        model.train()  # with the dropout that training has
        with torch.no_grad(), forward.using(Path(shared=True, lean=True, variant="recorded")):
            sums(model, lean)
    finally:
        model.train(training)
        del VARIANTS["recorded"]
    return list(calls.values())


def compared(calls: Sequence[Call], lean: Layout) -> Choice:
    """Every variant checked and timed."""
    times: dict[str, float] = {}
    refused: dict[str, str] = {}
    right: list[tuple[Tensor, ...]] = []
    left = BUDGET
    for name, variant in VARIANTS.items():
        if left < 0:
            refused[name] = "there was no time to measure it"
            continue
        try:
            started = perf_counter()
            found = [_pass(variant, call, lean)() for call in calls]
            if lean.input_ids.is_cuda:
                torch.cuda.synchronize()  # what fails on the card is raised here
            compiled = perf_counter()
            if name == "split":
                right = found
            elif wrong := _wrong(found, right, compiled - started):
                refused[name] = wrong
                continue
            times[name] = _per_layer(variant, calls, lean)
            left -= perf_counter() - compiled
        except Exception as error:  # of any kind: the split variant is always there
            if name == "split":
                raise
            refused[name] = str(error).strip().split("\n")[0]
            logger.info("%s attention cannot be used", name, exc_info=True)
    choice = Choice(min(times, key=times.__getitem__), times, refused)
    logger.info("%s attention (%s); not used: %s", choice.variant, choice.measured, refused)
    return choice


def _pass(variant: Variant, call: Call, lean: Layout) -> Callable[[], tuple[Tensor, ...]]:
    """A forward and backward pass: the result and the gradients of queries, keys and values."""
    query, key, value = leaves = [tensor.detach().requires_grad_() for tensor in call.inputs]
    shape = (1, query.shape[2], query.shape[1], value.shape[3])
    source = torch.Generator(query.device).manual_seed(0)
    above = torch.randn(shape, generator=source, device=query.device).to(query.dtype)

    @torch.enable_grad()
    def run() -> tuple[Tensor, ...]:
        found = variant(query, key, value, lean, call.options)
        return (found.detach().transpose(1, 2), *torch.autograd.grad(found, leaves, above))

    return run


def _wrong(found: Sequence[Any], right: Sequence[Any], seconds: float) -> str:
    if seconds > PATIENCE:
        return f"its first pass took {seconds:.0f} s"
    for ours, theirs in zip(found, right, strict=True):
        for mine, yardstick in zip(ours, theirs, strict=True):
            off, limit = _difference(mine, yardstick), _tolerance(yardstick)
            if not off <= limit:
                return f"its results differ by {off:.0e} of their size ({limit:.0e} is allowed)"
    return ""


def _tolerance(tensor: Tensor) -> float:
    return TOLERANCE_HALF if tensor.dtype in HALF else TOLERANCE


def _difference(found: Tensor, right: Tensor) -> float:
    """The largest of any token, relative to its size and the mean size. [1, heads, tokens, width]
    both."""
    off = (found.float() - right.float()).norm(dim=(1, 3))
    size = right.float().norm(dim=(1, 3))
    return float((off / (size + size.mean())).max())


def _per_layer(variant: Variant, calls: Sequence[Call], lean: Layout) -> float:
    """Milliseconds of a pass, in the mean over the layers."""
    total = 0.0
    for call in calls:
        run = _pass(variant, call, lean)
        run()
        total += call.layers * median(_milliseconds(run, call) for _ in range(REPEATS))
    return total / sum(call.layers for call in calls)


def _milliseconds(run: Callable[[], Any], call: Call) -> float:
    if not call.inputs[0].is_cuda:
        started = perf_counter()
        run()
        return 1000 * (perf_counter() - started)
    before: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    after: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    before.record()
    run()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))

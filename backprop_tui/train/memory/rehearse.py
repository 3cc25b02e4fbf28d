"""One step of the real trainer on fake tensors, watched."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import TrainerCallback

from backprop_tui.core.memory_question import MemoryQuestion
from backprop_tui.core.methods import METHODS
from backprop_tui.train.engine.check import evaluating
from backprop_tui.train.engine.forward import OWN, sums
from backprop_tui.train.engine.layout import Group, padded
from backprop_tui.train.engine.trainer import PreferenceTrainer
from backprop_tui.train.memory.fakes import quantisation_state, with_fakes
from backprop_tui.train.memory.peak import Peak, PeakBytes
from backprop_tui.train.memory.stage import built

aten = torch.ops.aten


# Gradients of reading some places are summed up in zeros.
SUMS = {
    aten.scatter_add.default: aten.scatter_add_.default,
    aten.index_add.default: aten.index_add_.default,
    aten.index_put.default: aten.index_put_.default,
    aten.scatter.src: aten.scatter_.src,
    aten.scatter.value: aten.scatter_.value,
}
ALONE = 2  # references to the storage of a tensor: its own, and the one that asks


class Rehearsal(PeakBytes):  # type: ignore[no-untyped-call]
    """PeakBytes for fake tensors, which know no values: a number asked of one is 1, a mask picks
    everything. Products with 4-bit weights unpack them in a tensor of their own, as kernels do."""

    def __init__(self, *, on_card: bool) -> None:
        super().__init__()
        self.on_card = on_card

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return dtype != torch.bool and (1.0 if dtype.is_floating_point else 1)
        if func is aten.nonzero.default:
            return torch.zeros(args[0].numel(), args[0].dim(), dtype=torch.long)
        if func is aten.index.Tensor:
            args = args[0], [found for index in args[1] for found in _everywhere(index)]
        if torch._C._current_graph_task_id() != -1:  # in a backward pass
            func, args = self._in_place(func, args)
        if func is torch.ops.bitsandbytes.gemm_4bit.default:
            from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl

            with self:
                return _gemm_4bit_default_impl(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _in_place(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """What autograd does in place with real tensors, and with fake ones does not."""
        if func is not aten.add.Tensor or torch.is_grad_enabled():
            return SUMS.get(func, func), args
        one, other = args[:2]
        if one.shape == other.shape and one.dtype == other.dtype:
            if self._is_own(one):
                return aten.add_.Tensor, args
            if self._is_own(other):
                return aten.add_.Tensor, (other, one)
        return func, args

    def _is_own(self, tensor: torch.Tensor) -> bool:
        """Whether nothing else has its storage: a gradient on its way, or one that has come."""
        storage = tensor.untyped_storage()
        _, part = self._known.get(storage._cdata, (0, ""))
        return part == "gradients" or torch._C._storage_Use_Count(storage._cdata) <= ALONE

    def scratch(self, func: Any, args: tuple[Any, ...]) -> int:
        """Numbers of several types in one operation are made one type first, on a CPU, and what
        is computed in place goes back from it."""
        if func is aten.logsumexp.default:
            return int(args[0].numel() * args[0].itemsize)
        if self.on_card or torch.Tag.pointwise not in func.tags:
            return 0
        given = [x for x in args if isinstance(x, torch.Tensor) and x.dim()]
        if len({x.dtype for x in given}) < 2:
            return 0
        common = functools.reduce(torch.promote_types, (x.dtype for x in given))
        made = [x for x in given if x.dtype != common]
        in_place = func._schema.arguments[0].alias_info
        made += [x for x in args[:1] if in_place and x.dtype != common]
        return sum(x.numel() for x in made) * common.itemsize


def _everywhere(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    """A mask as the places of all its elements, one index a dimension."""
    if index is None or index.dtype != torch.bool:
        return [index]
    return [torch.zeros(index.numel(), dtype=torch.long) for _ in range(index.dim())]


def rehearse(asked: MemoryQuestion, model: Any, path: Any = None) -> dict[str, Peak]:
    """The peaks of a step in the middle of training, by moment; bytes by part.

    model: on the meta device; it is changed. path: how the lean engine computes.
    """
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    memory = Rehearsal(on_card=asked.on_card)
    with built(asked, model, path) as trainer, ExitStack() as open_:
        with_fakes(trainer.model, fakes)
        trainer.create_optimizer()  # bitsandbytes' looks at numbers of its own
        if asked.on_card:
            from backprop_tui.train.memory.card import as_on_a_card

            open_.enter_context(as_on_a_card())
        open_.enter_context(fakes)
        _hold(memory, trainer.model, lora=asked.lora is not None)
        _watch(memory, trainer, asked)
        open_.enter_context(memory)
        if isinstance(trainer, PreferenceTrainer):
            _check_before(memory, trainer)
        _step_before(memory, trainer.model, trainer.optimizer)
        if asked.accumulates:
            trainer.add_callback(_Accumulated(memory, trainer.model))
        trainer.train()
    return memory.peaks


def _hold(memory: PeakBytes, model: Any, *, lora: bool) -> None:
    """Count what is there before the first step."""
    for parameter in model.parameters():
        adapter = lora and parameter.requires_grad
        memory.hold(parameter, part="adapter" if adapter else "weights")
    memory.hold(*model.buffers(), part="weights")
    memory.hold(*quantisation_state(model), part="quantisation")


def _check_before(memory: PeakBytes, trainer: PreferenceTrainer) -> None:
    """The engine compares itself with the model's own logits on the longest row of all."""
    rows = trainer.train_dataset
    groups = [rows.group(row) for row in range(len(rows))]
    longest = max(groups, key=lambda group: group.packed_tokens)
    alone = Group(longest.prompt, (max(longest.answers, key=len),))
    memory.part, memory.moment = "loss", "check"
    with (
        torch.no_grad(),
        evaluating(trainer.model),
        trainer.lean.using(OWN),
        trainer.accelerator.autocast(),
    ):
        sums(trainer.model, padded([alone], 0))
    memory.part, memory.moment = "activations", "between steps"


def _give_gradients(memory: PeakBytes, model: Any) -> None:
    """As after a batch, before the optimizer's step."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            memory.move(parameter.grad, "gradients")


def _step_before(memory: PeakBytes, model: Any, optimizer: Any) -> None:
    """The optimizer's state is there from the second step on."""
    _give_gradients(memory, model)
    optimizer.step()
    optimizer.zero_grad()


class _Accumulated(TrainerCallback):  # type: ignore[misc]
    """Begins the step with the gradients of the batches before."""

    def __init__(self, memory: PeakBytes, model: Any) -> None:
        self.memory, self.model = memory, model

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        _give_gradients(self.memory, self.model)


def _watch(memory: PeakBytes, trainer: Any, asked: MemoryQuestion) -> None:
    """Tell the counter what is being computed, and what becomes of gradients.

    Moments are stretches that grow evenly with the number of layers. Of a backward pass the
    two halves are apart: in one activations go, in the other gradients have come.
    """
    from backprop_tui.train.engine.forward import causal_model

    causal = causal_model(trainer.model)
    decoder = causal.get_decoder()
    referenced = METHODS[asked.method].reference

    def now(part: str, moment: str) -> None:
        memory.part, memory.moment = part, moment

    def starts(*_: Any) -> None:
        if torch.is_grad_enabled():
            now("activations", "forward")
        elif referenced:
            now("reference", "reference")

    def ends(_module: Any, _inputs: Any, found: Any) -> None:
        if not torch.is_grad_enabled():
            return
        now("loss", "loss")
        hidden = found[0]
        if hidden.requires_grad:
            hidden.register_hook(lambda _gradient: now("activations", "backward, upper layers"))

    decoder.register_forward_pre_hook(starts)
    decoder.register_forward_hook(ends)

    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    middle = trained[len(trained) // 2]

    def arrived(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            memory.move(parameter.grad, "gradients")
        if parameter is middle:
            now("activations", "backward, lower layers")

    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(arrived)

    def stepping(*_: Any) -> None:
        now("optimizer", "optimizer")

    trainer.optimizer.register_step_pre_hook(stepping)
    trainer.optimizer.register_step_post_hook(lambda *_: now("activations", "between steps"))
    now("activations", "between steps")

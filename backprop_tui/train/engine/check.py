"""Before step 1: is the quick way right for this model? Measured on real rows, not assumed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from backprop_tui.train.engine.attention import CannotShare
from backprop_tui.train.engine.attention_probe import Choice, choose_variant
from backprop_tui.train.engine.forward import OWN, LeanForward, Path, sums
from backprop_tui.train.engine.layout import Group, packed, padded

# Largest difference of an answer's mean log-probability per token, in nats.
TOLERANCE = 1e-4
# With weights or arithmetic of 16 bits or fewer, two right ways differ by their rounding.
TOLERANCE_HALF = 3e-2
# Quickest first.
QUICKER = (Path(shared=True, lean=True), Path(shared=False, lean=True))
logger = logging.getLogger(__name__)


def decide(
    forward: LeanForward,
    model: Any,
    groups: Sequence[Group],
    *,
    half: bool,
    batch: Sequence[Group] = (),
    variant: str | None = None,
) -> Path:
    """The quickest way whose log-probabilities agree with the model's own logits on these rows.

    half: the model computes in 16 bits. batch: as many rows as are read at once, for measuring
    what is quickest. variant: the attention of the run that this one repeats, which is then
    not measured. What did not agree, and by how much, is in Path.why.
    """
    limit = TOLERANCE_HALF if half else TOLERANCE
    with torch.no_grad(), evaluating(model):
        with forward.using(OWN):
            right = torch.cat([_alone(model, group) for group in groups])
        refused: list[str] = []
        for path in QUICKER:
            name = "prompts are not shared" if path.shared else "all logits are kept in memory"
            if wrong := _wrong(forward, path, model, groups, right, limit):
                refused.append(f"{name}, because {wrong}")
                continue
            if path.shared:
                choice = Choice(variant) if variant else None
                choice = choice or choose_variant(forward, model, batch or groups)
                quickest = replace(path, variant=choice.variant, measured=choice.measured)
                changed = quickest.variant != path.variant
                if changed and (wrong := _wrong(forward, quickest, model, groups, right, limit)):
                    refused.append(f"{choice.variant} attention is not used, because {wrong}")
                else:
                    path = quickest
            return replace(path, why="; ".join(refused))
    return replace(OWN, why="; ".join(refused))


def _wrong(
    forward: LeanForward,
    path: Path,
    model: Any,
    groups: Sequence[Group],
    right: Tensor,
    limit: float,
) -> str:
    """What is wrong with computing this way, in words; "" when nothing is."""
    try:
        with forward.using(path):
            return _disagreement(path, model, groups, right, limit)
    except CannotShare as error:
        return str(error)
    except torch.OutOfMemoryError:
        raise  # it says nothing of the model
    except Exception as error:  # of any kind: the slow way is always there
        logger.warning("%s: %s", path, error, exc_info=True)
        return f"this model's code does not allow it ({error})"


def _disagreement(
    path: Path, model: Any, groups: Sequence[Group], right: Tensor, limit: float
) -> str:
    """How the log-probabilities are wrong, in words; "" when they are right."""
    found = _together(model, groups, shared=path.shared)
    off = _difference(found, right, groups)
    logger.info("%s: log-probabilities differ by %.2e a token", path, off)
    if off > limit:
        return (
            "this model then computes something else (its log-probabilities differ by "
            f"{off:.1e} a token, {limit:.0e} is allowed)"
        )
    if path.shared:
        # A layer that carries only a few tokens from one answer into the next, as a convolution
        # does, is lost in the mean over a long answer. So the answers before the last one are
        # turned round, which must not change the last one at all.
        turned = [
            Group(group.prompt, (*(a[::-1] for a in group.answers[:-1]), group.answers[-1]))
            for group in groups
        ]
        read = _difference(_together(model, turned, shared=True), found, groups, last=True)
        logger.info("%s: an answer changes by %.2e a token with the others", path, read)
        if read > (limit if _of_8_bits(model) else TOLERANCE):
            return (
                "this model's layers then carry one answer into the next (its log-probabilities "
                f"change by {read:.1e} a token)"
            )
    return ""


def _of_8_bits(model: Any) -> bool:
    """LLM.int8 (arXiv:2208.07339) picks the columns it keeps in 16 bits by the whole batch, so
    what lies beside a row changes it by rounding."""
    return bool(getattr(model, "is_loaded_in_8bit", False))


def _alone(model: Any, group: Group) -> Tensor:
    """Each answer by itself: no padding, no sharing, nothing else in the batch."""
    alone = [Group(group.prompt, (answer,)) for answer in group.answers]
    return torch.cat([sums(model, _moved(model, padded([one], 0))) for one in alone])


def _together(model: Any, groups: Sequence[Group], *, shared: bool) -> Tensor:
    return sums(model, _moved(model, packed(groups) if shared else padded(groups, 0)))


def _moved(model: Any, layout: Any) -> Any:
    return layout.to(next(model.parameters()).device)


def _difference(
    found: Tensor, right: Tensor, groups: Sequence[Group], *, last: bool = False
) -> float:
    """The largest of any answer, or of any group's last one, a token."""
    lengths = [max(len(group.scored(a)), 1) for group in groups for a in group.answers]
    counted = [not last or a is g.answers[-1] for g in groups for a in g.answers]
    each = (found - right).abs() / torch.tensor(lengths, device=right.device).clamp(min=1)
    # NaN compares false with everything; as infinity it is refused.
    return float(each[torch.tensor(counted, device=right.device)].nan_to_num(nan=torch.inf).max())


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Dropout off inside, the mode restored after."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)

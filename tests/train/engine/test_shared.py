"""Several pairs in one row give what each answer gives by itself, for every kind of attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from backprop_tui.train.engine.forward import LeanForward, Path, sums
from backprop_tui.train.engine.layout import Group, Layout, packed, padded
from tests.train.engine.tiny_models import plain_logprobs, some_groups, tiny

SHARED = Path(shared=True, lean=True)
PADDED = Path(shared=False, lean=True)
OWN = Path(shared=False, lean=False)
SHARING = (
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma2",
    "gemma3_text",
    "phi",
    "phi3",
    "mixtral",
    "qwen3_moe",
)
EXPERTS = ("mixtral", "qwen3_moe")


def lean_logprobs(model: Any, path: Path, layout: Layout) -> Tensor:
    """Of all scored tokens, in the order of the layout."""
    forward = LeanForward(model)
    with forward.using(path):
        found: Tensor = model(lean=layout)["logps"]
    forward.remove()
    return found


@pytest.mark.parametrize("kind", SHARING)
def test_packed_rows_give_the_same_log_probs(kind: str) -> None:
    """In float32, within 1e-6 a token in the mean over all tokens."""
    model, groups = tiny(kind), some_groups()
    right = torch.cat(plain_logprobs(model, groups))
    found = lean_logprobs(model, SHARED, packed(groups))
    assert (found - right).abs().mean() < 1e-6
    assert right.std() > 0.3  # else any attention would do


@pytest.mark.parametrize("kind", SHARING)
def test_packed_rows_give_the_same_gradients(kind: str) -> None:
    """Every tensor's gradient, relative to its norm. In float64, where rounding hides nothing,
    but for experts, which torch multiplies in float32 at most."""
    dtype, most = (torch.float32, 1e-5) if kind in EXPERTS else (torch.float64, 1e-6)
    model, groups = tiny(kind, dtype), some_groups()
    weights = torch.linspace(-1, 1, sum(len(a) for g in groups for a in g.answers), dtype=dtype)
    gradients = []
    for logps in (
        torch.cat(plain_logprobs(model, groups)),
        lean_logprobs(model, SHARED, packed(groups)),
    ):
        model.zero_grad()
        total: Any = (logps * weights).sum()
        total.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    right, found = gradients
    assert found.keys() == right.keys()
    for name, gradient in right.items():
        off = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-9)
        assert off < most, (name, off)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("path", [PADDED, OWN], ids=["padded", "own"])
def test_padded_rows_give_the_same_log_probs(kind: str, path: Path) -> None:
    model, groups = tiny(kind), some_groups()
    right = torch.cat(plain_logprobs(model, groups))
    found = lean_logprobs(model, path, padded(groups, 0))
    assert (found - right).abs().mean() < 1e-6


def test_an_answer_does_not_see_the_other_one_or_another_pair() -> None:
    """Not even by rounding: changing everything else leaves an answer's numbers as they are."""
    model, groups = tiny("llama"), some_groups()
    before = lean_logprobs(model, SHARED, packed(groups))
    others = some_groups(seed=1)
    first, last = groups[0], groups[2]
    changed = [
        Group(first.prompt, (first.answers[0], others[0].answers[1])),
        others[1],
        Group(last.prompt, (others[2].answers[0], last.answers[1])),
    ]
    after = lean_logprobs(model, SHARED, packed(changed))
    same = torch.equal(before[:8], after[:8]), torch.equal(before[-10:], after[-10:])
    assert same == (True, True)
    assert not torch.allclose(before[8:13], after[8:13])


def test_more_than_two_answers_share_a_prompt() -> None:
    model, groups = tiny("mistral"), some_groups()
    many = Group(groups[0].prompt, groups[0].answers + groups[2].answers)
    right = torch.cat(plain_logprobs(model, [many]))
    assert (lean_logprobs(model, SHARED, packed([many])) - right).abs().mean() < 1e-6


@pytest.mark.parametrize("path", [SHARED, PADDED, OWN], ids=["shared", "padded", "own"])
def test_answers_without_a_prompt_are_scored_from_their_second_token(path: Path) -> None:
    model, groups = tiny("mistral"), some_groups()
    answers = groups[1].answers[0], groups[2].answers[1]
    groups[1] = Group([], answers)
    with torch.no_grad():
        # The same as prompts of one token.
        alone = [Group(answer[:1], (answer[1:],)) for answer in answers]
        right = [float(logps.sum()) for logps in plain_logprobs(model, alone)]
        with LeanForward(model).using(path):
            found = sums(model, packed(groups) if path.shared else padded(groups, 0))
    assert found[2:4].tolist() == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("path", [SHARED, PADDED, OWN], ids=["shared", "padded", "own"])
def test_sums_of_an_empty_answer_are_zero_and_move_no_other(path: Path) -> None:
    model, groups = tiny("llama"), some_groups()
    groups[1] = Group(groups[1].prompt, (groups[1].answers[0], []))
    layout = packed(groups) if path.shared else padded(groups, 0)
    with torch.no_grad():
        right = [float(logps.sum()) for logps in plain_logprobs(model, groups[:1])]
        with LeanForward(model).using(path):
            found = sums(model, layout).tolist()
    assert found[3] == 0.0
    assert found[:2] == pytest.approx(right, abs=1e-4)
    assert all(value < 0 for place, value in enumerate(found) if place != 3)

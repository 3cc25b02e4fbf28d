"""The path that is taken for a model, and what is said where it is not the quickest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from backprop_tui.train.engine.check import decide
from backprop_tui.train.engine.forward import OWN, LeanForward, Path, sums
from backprop_tui.train.engine.layout import Group, packed, padded
from tests.train.engine.test_shared import SHARING
from tests.train.engine.tiny_models import WINDOW, plain_logprobs, some_groups, tiny


def decided(model: Any, groups: Sequence[Group] | None = None, *, half: bool = False) -> Path:
    """The choice, which leaves the model computing as it did before."""
    forward = LeanForward(model)
    path = decide(forward, model, groups or some_groups(), half=half)
    assert forward.path == OWN
    forward.remove()
    return path


@pytest.mark.parametrize("kind", SHARING)
def test_architectures_that_share_their_prompts(kind: str) -> None:
    model = tiny(kind)
    attention = model.config._attn_implementation
    path = decided(model)
    assert (path.shared, path.lean, path.why) == (True, True, "")
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("mamba", "differ by"),  # a running state instead of attention
        ("lfm2", "differ by"),  # convolutions beside attention
        ("recurrent_gemma", "differ by"),  # both, and a window
        ("bloom", "differ by"),  # attention of its own, which is not told where answers stand
        ("gpt_oss", "attention sinks"),
        ("stablelm", "does not tell its attention where each answer stands"),
        ("doge", "an attention mask of its own"),
        ("phimoe", "differ by"),  # a window that its attention is not told
    ],
)
def test_architectures_that_read_a_row_an_answer(kind: str, why: str) -> None:
    model = tiny(kind)
    path = decided(model)
    assert (path.shared, path.lean) == (False, True)
    assert path.why.startswith("prompts are not shared, because this model")
    assert why in path.why
    assert ";" not in path.why
    # What it takes instead is right.
    groups = some_groups()
    right = torch.stack([logps.sum() for logps in plain_logprobs(model, groups)])
    with torch.no_grad(), LeanForward(model).using(path):
        assert torch.allclose(sums(model, padded(groups, 0)), right, atol=1e-4)


def test_model_whose_layers_cannot_be_called_without_its_head() -> None:
    """Its own logits are always there."""
    path = decided(tiny("llama4_text"))
    assert (path.shared, path.lean) == (False, False)
    assert "prompts are not shared, because" in path.why
    assert "all logits are kept in memory, because" in path.why
    assert "does not name its decoder" in path.why


def test_window_is_only_seen_on_rows_longer_than_it() -> None:
    """Why the longest row is among those compared: within the window this model is alike."""
    short = Group([5, 6], ([7, 8], [9]))
    assert decided(tiny("phimoe"), [short]).shared
    long = Group([5, 6] * WINDOW, ([7, 8], [9]))
    assert not decided(tiny("phimoe"), [short, long]).shared


def test_leak_that_rounding_to_16_bits_would_hide_is_seen() -> None:
    """A short convolution carries two tokens of the chosen answer into the rejected one. Over a
    long answer that is less than two right ways may differ by in 16 bits."""
    groups = [Group(g.prompt, (g.answers[0], g.answers[1] * 40)) for g in some_groups()[::2]]
    model = tiny("lfm2", torch.bfloat16, max_position_embeddings=1024)
    path = decided(model, groups, half=True)
    assert not path.shared
    assert "carry one answer into the next" in path.why


def test_head_that_does_something_unseen_keeps_the_models_own_logits() -> None:
    model = tiny("llama")
    plain = model.forward

    def bent(*arguments: Any, **named: Any) -> Any:
        outputs = plain(*arguments, **named)
        outputs.logits = outputs.logits.clone()
        outputs.logits[..., 5] -= 3.0  # a word made unlikely, which no configuration tells
        return outputs

    model.forward = bent
    path = decided(model)
    assert (path.shared, path.lean) == (False, False)
    assert "all logits are kept in memory, because this model then computes" in path.why


def test_model_that_refuses_another_attention_still_gets_the_lean_head() -> None:
    model = tiny("llama")

    def refuse(name: str) -> None:
        raise ValueError(f"no {name}")

    model.set_attn_implementation = refuse
    path = decided(model)
    assert (path.shared, path.lean) == (False, True)
    assert "does not allow it (no backprop_shared_prompt)" in path.why


def test_numbers_that_are_not_finite_are_no_agreement() -> None:
    """A model that is broken is left to its own forward, where the loss shows it."""
    model = tiny("llama")
    model.model.norm.weight.data[:] = float("nan")
    path = decided(model)
    assert (path.shared, path.lean) == (False, False)


def test_dropout_neither_disturbs_the_comparison_nor_is_it_left_off() -> None:
    model = tiny("llama", attention_dropout=0.5).train()
    assert decided(model).shared
    assert model.training


def test_shared_attention_refuses_rows_that_are_not_packed() -> None:
    """Nobody can compute padded rows with it by mistake."""
    model = tiny("llama")
    groups = some_groups()
    with LeanForward(model).using(Path(shared=True, lean=True)):
        sums(model, packed(groups))
        with pytest.raises(Exception, match="where each answer stands"):
            sums(model, padded(groups, 0))

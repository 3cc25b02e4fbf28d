"""Which variant is taken, on what grounds; and that the one that is named is the one that runs."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from backprop_tui.train.engine import attention_probe, check
from backprop_tui.train.engine.attention import VARIANTS, Options, Variant, split_attention
from backprop_tui.train.engine.attention_probe import (
    Call,
    Choice,
    choose_variant,
    compared,
    recorded,
)
from backprop_tui.train.engine.forward import LeanForward, Path, sums
from backprop_tui.train.engine.layout import Layout, packed
from tests.train.engine.test_attention import inputs, row_of
from tests.train.engine.tiny_models import WINDOW, some_groups, tiny

LEAN = row_of([(40, (30, 20)), (20, (50, 10))])


def slow(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    time.sleep(0.03)
    return split_attention(query, key, value, lean, o)


def quick(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    return split_attention(query, key, value, lean, o)


def unable(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    raise RuntimeError("no kernel image for this card\nsome long trace")


def without_gradient(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    """Right forward, wrong backward."""
    return split_attention(query, key.detach() + 0 * key, value, lean, o)


def one_token_wrong(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    found = split_attention(query, key, value, lean, o)
    off = torch.zeros_like(found)
    off[:, -1] = 0.1
    return found + off


def not_finite(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
    return split_attention(query, key, value, lean, o) * torch.nan


def calls(dtype: torch.dtype = torch.float32) -> list[Call]:
    """A model of three layers, one of which has a window."""
    found = tuple(tensor.detach() for tensor in inputs(LEAN, dtype=dtype))
    query, key, value = found
    return [
        Call((query, key, value), Options(), layers=2),
        Call((query, key, value), Options(window=9), layers=1),
    ]


def variants(monkeypatch: pytest.MonkeyPatch, **others: Variant) -> None:
    for name in ("varlen", "flex"):
        monkeypatch.delitem(VARIANTS, name)
    for name, variant in others.items():
        monkeypatch.setitem(VARIANTS, name, variant)


def test_quickest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    variants(monkeypatch, quick=quick, slow=slow)
    monkeypatch.setitem(VARIANTS, "split", slow)
    choice = compared(calls(), LEAN)
    assert choice.variant == "quick"
    assert list(choice.times) == ["split", "quick", "slow"]
    assert choice.times["split"] > 30 > choice.times["quick"]
    assert choice.refused == {}


def test_times_are_the_mean_of_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window costs this one 30 ms, in one layer of three."""

    def slow_windows(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
        return (slow if o.window else quick)(query, key, value, lean, o)

    variants(monkeypatch, slow_windows=slow_windows)
    assert 10 <= compared(calls(), LEAN).times["slow_windows"] < 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("variant", "why"),
    [
        (unable, "no kernel image for this card"),
        (without_gradient, "differ by"),
        (one_token_wrong, "differ by"),
        (not_finite, "differ by nan"),
    ],
)
def test_variants_that_are_not_right_are_left_out(
    variant: Variant, why: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However quick."""
    variants(monkeypatch, wrong=variant)
    monkeypatch.setitem(VARIANTS, "split", slow)
    choice = compared(calls(dtype), LEAN)
    assert choice.variant == "split"
    assert list(choice.times) == ["split"]
    assert why in choice.refused["wrong"]
    assert "\n" not in choice.refused["wrong"]


def test_time_is_not_spent_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    variants(monkeypatch, quick=quick)
    monkeypatch.setattr(attention_probe, "PATIENCE", 0.0)
    assert "its first pass took" in compared(calls(), LEAN).refused["quick"]
    monkeypatch.setattr(attention_probe, "BUDGET", 0.0)
    assert "no time" in compared(calls(), LEAN).refused["quick"]


def test_calls_are_the_models_own_in_training() -> None:
    """gemma3: one layer with a window, one without, each with its own call; with the dropout
    that training has, and nothing left behind."""
    model = tiny("gemma3_text", attention_dropout=0.25)
    forward = LeanForward(model)
    lean = packed(some_groups())
    known = dict(VARIANTS)
    found = recorded(forward, model, lean)
    assert [(call.options.window, call.layers) for call in found] == [(WINDOW, 1), (None, 1)]
    assert {call.options.dropout for call in found} == {0.25}
    assert {call.options.scaling for call in found} == {8**-0.5}
    assert found[0].inputs[0].shape == (1, 4, lean.tokens, 8)
    assert found[0].inputs[1].shape == (1, 2, lean.tokens, 8)
    assert known == VARIANTS
    assert not model.training


def test_layers_that_are_alike_are_one_call() -> None:
    model = tiny("llama")
    (call,) = recorded(LeanForward(model), model, packed(some_groups()))
    assert call.layers == 2


def test_variants_that_need_a_card_are_left_out_where_there_is_none() -> None:
    """The real ones, from a model's calls to the choice."""
    model = tiny("gemma2", attention_dropout=0.0)
    lean = packed(some_groups())
    choice = compared(recorded(LeanForward(model), model, lean), lean)
    assert choice.variant == "split"
    assert choice.refused.keys() == {"varlen", "flex"}
    assert choice.refused["varlen"] == "varlen attention neither caps scores nor drops them"
    assert "does not support backward on CPU" in choice.refused["flex"]


def test_nothing_is_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    monkeypatch.setattr(torch.random, "fork_rng", lambda _devices: nullcontext())
    for step in ("recorded", "compared"):
        monkeypatch.setattr(attention_probe, step, lambda *given: measured.append(given))
    model = tiny("llama")
    assert choose_variant(LeanForward(model), model, some_groups()) == Choice()
    assert Choice().measured == ""
    assert not measured


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A variant "spy"; the tokens of each of its calls."""
    seen: list[int] = []

    def spy(query: Tensor, key: Tensor, value: Tensor, lean: Layout, o: Options) -> Tensor:
        seen.append(query.shape[2])
        return split_attention(query, key, value, lean, o)

    monkeypatch.setitem(VARIANTS, "spy", spy)
    return seen


def chosen(name: str) -> Any:
    return lambda *_: Choice(name, {"split": 3.14, name: 1.23})


def test_variant_of_the_path_is_the_one_that_runs(spied: list[int]) -> None:
    model = tiny("llama")
    lean = packed(some_groups())
    forward = LeanForward(model)
    with forward.using(Path(shared=True, lean=True, variant="spy")):
        sums(model, lean)
    assert spied == [lean.tokens] * 2  # one call a layer
    with forward.using(Path(shared=True, lean=True)):
        sums(model, lean)
    assert len(spied) == 2


def test_variant_survives_recomputing(spied: list[int]) -> None:
    """With checkpointing the layers run again in the backward pass, with the same variant."""
    model = tiny("llama").train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    LeanForward(model).use(Path(shared=True, lean=True, variant="spy"))
    loss: Any = sums(model, packed(some_groups())).sum()
    loss.backward()
    assert len(spied) == 4


def test_chosen_variant_is_recorded_and_compared(
    spied: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "choose_variant", chosen("spy"))
    model = tiny("llama")
    forward = LeanForward(model)
    path = check.decide(forward, model, some_groups(), half=False)
    assert (path.shared, path.variant, path.why) == (True, "spy", "")
    assert "shared prompt, spy attention (split 3.1 ms, spy 1.2 ms)" in path.words(forward.head)
    assert spied  # with it, log-probabilities were computed and found right


def test_variant_that_computes_something_else_in_the_model_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "choose_variant", chosen("wrong"))
    monkeypatch.setitem(VARIANTS, "wrong", not_finite)
    model = tiny("llama")
    path = check.decide(LeanForward(model), model, some_groups(), half=False)
    assert (path.shared, path.variant) == (True, "split")
    assert path.why.startswith("wrong attention is not used, because this model then computes")


def test_batch_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that are compared may be others."""
    seen = []

    def choose(_forward: LeanForward, _model: Any, groups: Any) -> Choice:
        seen.append(groups)
        return Choice()

    monkeypatch.setattr(check, "choose_variant", choose)
    model, groups = tiny("llama"), some_groups()
    check.decide(LeanForward(model), model, groups[:1], half=False, batch=groups)
    assert seen == [groups]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_variant_is_chosen_on_a_card() -> None:
    model = tiny("llama", torch.bfloat16, hidden_size=256, max_position_embeddings=4096).cuda()
    before = torch.random.get_rng_state(), torch.cuda.get_rng_state()
    choice = choose_variant(LeanForward(model), model, some_groups())
    assert set(choice.times) | set(choice.refused) == {"split", "varlen", "flex"}
    assert {"split", "varlen"} <= set(choice.times), choice.refused
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert torch.equal(before[1], torch.cuda.get_rng_state())

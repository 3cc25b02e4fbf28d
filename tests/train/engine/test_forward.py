"""What the engine installs on a model comes off again, and is in nobody's way meanwhile."""

from __future__ import annotations

import inspect
from pathlib import Path as Folder
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from backprop_tui.core.runfile_io import change
from backprop_tui.train.engine.attention import NAME
from backprop_tui.train.engine.forward import OWN, LeanForward, Path, sums
from backprop_tui.train.engine.layout import packed
from tests.conftest import pocket_run
from tests.train.engine.parity import build, rows_of, small_model
from tests.train.engine.tiny_models import some_groups, tiny

SHARED = Path(shared=True, lean=True)
IDS = torch.tensor([[0, 0, 5, 6, 7], [9, 8, 7, 6, 5]])
MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])


def generated(model: Any) -> list[list[int]]:
    """Two prompts of different lengths, padded on the left, as generation wants them."""
    found = model.generate(
        input_ids=IDS, attention_mask=MASK, max_new_tokens=8, do_sample=False, eos_token_id=None
    )
    return list(found.tolist())


@pytest.mark.parametrize("kind", ["llama", "gemma2", "mamba"])
def test_removing_leaves_the_model_as_it_was(kind: str) -> None:
    model = tiny(kind)
    attention, own = model.config._attn_implementation, vars(model).get("forward")
    before = model(input_ids=IDS).logits
    forward = LeanForward(model)
    forward.use(SHARED)
    forward.remove()
    assert model.config._attn_implementation == attention
    assert vars(model).get("forward") is own is None
    assert torch.equal(model(input_ids=IDS).logits, before)
    with pytest.raises(ValueError, match="input_ids"):  # it knows nothing of layouts
        sums(model, packed(some_groups()))


def test_removing_gives_back_a_forward_that_was_installed_before() -> None:
    model = tiny("llama")
    first = LeanForward(model)
    theirs = model.forward
    LeanForward(model).remove()
    assert model.forward is theirs
    with first.using(SHARED):
        sums(model, packed(some_groups()))


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_model_computes_and_generates_as_ever_while_prompts_are_shared(kind: str) -> None:
    """Without our keyword its own attention is used, which knows padding and caches."""
    model = tiny(kind)
    logits, text = model(input_ids=IDS, attention_mask=MASK).logits, generated(model)
    signature = inspect.signature(model.forward)
    forward = LeanForward(model)
    forward.use(SHARED)
    scored = sums(model, packed(some_groups()))
    assert torch.equal(model(input_ids=IDS, attention_mask=MASK).logits, logits)
    assert generated(model) == text
    assert inspect.signature(model.forward) == signature
    assert model.config._attn_implementation == NAME
    assert torch.equal(sums(model, packed(some_groups())), scored)


def test_saved_model_knows_nothing_of_it(tmp_path: Folder) -> None:
    model = tiny("llama")
    before = model(input_ids=IDS).logits
    LeanForward(model).use(SHARED)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    assert torch.equal(again(input_ids=IDS).logits, before)


def test_trained_model_generates(tmp_path: Folder) -> None:
    """As whoever holds the trainer would call it: through the adapter, after training."""
    run = change(pocket_run("simpo", tmp_path / "run"), {"training.max_steps": 2})
    trainer = build(run, rows_of("simpo"), tmp_path, small_model())
    trainer.train()
    assert trainer.lean.path.shared
    trainer.model.eval()
    found = generated(trainer.model)
    trainer.lean.remove()
    assert generated(trainer.model) == found


def test_path_is_restored_after_an_error() -> None:
    model = tiny("llama")
    forward = LeanForward(model)

    def fail() -> None:
        with forward.using(SHARED):
            assert model.config._attn_implementation == NAME
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert forward.path == OWN
    assert model.config._attn_implementation == "sdpa"

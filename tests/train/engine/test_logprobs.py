"""Token log-probabilities without logits, against log_softmax of whole logits."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from backprop_tui.train.engine.logprobs import Head, head_of, token_logprobs
from backprop_tui.train.memory.peak import PeakBytes

os.environ.setdefault("HF_HUB_OFFLINE", "1")
N, H, V = 37, 24, 301
SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def head(
    dtype: torch.dtype = torch.float32,
    *,
    bias: bool = False,
    scale: float = 1.0,
    softcap: float | None = None,
    trained: bool = False,
) -> Head:
    """A head whose logits have a spread of about 5, as a trained model's have."""
    torch.manual_seed(1)
    linear = nn.Linear(H, V, bias=bias)
    nn.init.normal_(linear.weight)
    return Head(linear.to(dtype).requires_grad_(trained), scale, softcap)


def rows(dtype: torch.dtype = torch.float32, count: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states that ask for a gradient, targets, and what a loss would send back."""
    torch.manual_seed(2)
    hidden = torch.randn(count, H).to(dtype).requires_grad_()
    return hidden, torch.randint(0, V, (count,)), torch.randn(count)


def whole(hidden: Tensor, head: Head) -> Tensor:
    """Logits by definition, in float64."""
    module: Any = head.module
    bias = None if module.bias is None else module.bias.double()
    logits = nn.functional.linear(hidden, module.weight.double(), bias) * head.scale
    return logits if head.softcap is None else head.softcap * (logits / head.softcap).tanh()


def expected(hidden: Tensor, targets: Tensor, weights: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Log-probabilities and the gradient of their weighted sum, in float64."""
    exact = hidden.detach().double().requires_grad_()
    logps = whole(exact, head).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(logps @ weights.double(), exact)
    return logps.detach(), gradient


def away(found: Tensor, wanted: Tensor) -> float:
    """Relative distance."""
    return float((found.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


def back(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("trained", [False, True], ids=["unit-gradient", "recomputed"])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_log_softmax(
    dtype: torch.dtype, bias: bool, scale: float, softcap: float | None, trained: bool
) -> None:
    made = head(dtype, bias=bias, scale=scale, softcap=softcap, trained=trained)
    assert made.frozen is not trained
    hidden, targets, weights = rows(dtype)
    logps, gradient = expected(hidden, targets, weights, made)

    found = token_logprobs(hidden, targets, made, 4000)
    back((found * weights).sum())

    near = 1e-6 if dtype == torch.float32 else 1e-14
    assert found.dtype == dtype
    assert hidden.grad is not None
    assert hidden.grad.dtype == dtype
    assert away(found, logps) < near
    assert away(hidden.grad, gradient) < near


@pytest.mark.parametrize("trained", [False, True], ids=["unit-gradient", "recomputed"])
@pytest.mark.parametrize("softcap", [None, 30.0])
def test_half_precision_is_as_good_as_its_logits(softcap: float | None, trained: bool) -> None:
    made = head(torch.bfloat16, softcap=softcap, trained=trained)
    hidden, targets, weights = rows(torch.bfloat16)
    logps, gradient = expected(hidden, targets, weights, made)
    rounding = whole(hidden.detach().double(), made).abs().amax() * 2**-8  # bf16: 8 bits

    found = token_logprobs(hidden, targets, made, 4000)
    back((found * weights).sum())

    assert found.dtype == torch.float32
    assert hidden.grad is not None
    assert (found - logps).abs().amax() < 2 * rounding  # of the target's logit and the largest
    assert away(hidden.grad, gradient) < 0.02


def test_a_sure_prediction_keeps_its_small_gradient_in_half_precision() -> None:
    """p of the target is 0.98 and more: W_t - p W would be the rounding of its terms."""
    made = head(torch.bfloat16)
    weight: Any = made.module.weight
    targets = torch.arange(N)
    hidden = (weight[:N] * 0.6).detach().requires_grad_()
    logps, gradient = expected(hidden, targets, torch.ones(N), made)
    sure = logps.exp() > 0.98
    assert sure.sum() > 5

    back(token_logprobs(hidden, targets, made).sum())

    assert hidden.grad is not None
    assert away(hidden.grad[sure], gradient[sure]) < 0.1


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_tiles_of_every_size_agree(softcap: float | None) -> None:
    made = head(bias=True, softcap=softcap)
    hidden, targets, weights = rows()
    logps, gradient = expected(hidden, targets, weights, made)

    for tile_bytes in (1, 999, *(N * 8 * words for words in range(1, V, 13)), 2**30):
        found, entropies = token_logprobs(hidden, targets, made, tile_bytes, statistics=True)
        (given,) = torch.autograd.grad(found @ weights, hidden)
        probabilities = whole(hidden.detach().double(), made).softmax(-1)
        assert away(found, logps) < 1e-6
        assert away(given, gradient) < 1e-6
        assert away(entropies, torch.special.entr(probabilities).sum(-1)) < 1e-5


def test_more_rows_than_a_tile_has() -> None:
    made = head()
    hidden, targets, weights = rows(count=2500)
    logps, gradient = expected(hidden, targets, weights, made)

    found = token_logprobs(hidden, targets, made)
    back((found * weights).sum())

    assert hidden.grad is not None
    assert away(found, logps) < 1e-6
    assert away(hidden.grad, gradient) < 1e-6


@pytest.mark.parametrize("trained", [False, True])
def test_entropy_is_detached_and_does_not_change_the_gradient(trained: bool) -> None:
    made = head(scale=0.5, trained=trained)
    hidden, targets, weights = rows()
    _, gradient = expected(hidden, targets, weights, made)

    found, entropies = token_logprobs(hidden, targets, made, 4000, statistics=True)
    back((found * weights).sum())

    probabilities = whole(hidden.detach().double(), made).softmax(-1)
    assert away(entropies, torch.special.entr(probabilities).sum(-1)) < 1e-6
    assert not entropies.requires_grad
    assert hidden.grad is not None
    assert away(hidden.grad, gradient) < 1e-6


def test_a_trained_head_gets_its_gradient() -> None:
    made = head(bias=True, scale=0.7, softcap=4.0, trained=True)
    hidden, targets, weights = rows()
    parameters = list(made.module.parameters())
    wanted = torch.autograd.grad(
        whole(hidden.detach().double(), made).log_softmax(-1)[range(N), targets] @ weights.double(),
        parameters,
    )

    # 1 byte: as small as tiles get, so that they have to be summed
    back((token_logprobs(hidden, targets, made, 1) * weights).sum())

    for parameter, gradient in zip(parameters, wanted, strict=True):
        assert parameter.grad is not None
        assert away(parameter.grad, gradient.double()) < 1e-6


def test_an_adapter_on_the_head() -> None:
    config = LlamaConfig(**{**SMALL, "vocab_size": 500, "num_hidden_layers": 1})
    wrapped = get_peft_model(
        LlamaForCausalLM(config), LoraConfig(r=4, target_modules=["lm_head"], lora_dropout=0.0)
    )
    made = head_of(wrapped)
    assert not made.frozen
    assert made.vocabulary == 500
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    trained = [one for one in made.module.parameters() if one.requires_grad]
    assert len(trained) == 2
    hidden = torch.randn(90, 32, requires_grad=True)
    targets, weights = torch.randint(0, 500, (90,)), torch.randn(90)
    logps = made.module(hidden).log_softmax(-1)[range(90), targets]
    wanted = torch.autograd.grad(logps @ weights, [hidden, *trained])

    found = token_logprobs(hidden, targets, made, 1)
    gradients = torch.autograd.grad(found @ weights, [hidden, *trained])

    assert away(found, logps.double()) < 1e-6
    for got, want in zip(gradients, wanted, strict=True):
        assert away(got, want.double()) < 2e-6
    with wrapped.disable_adapter():
        base = token_logprobs(hidden, targets, made)
    assert (base - found).abs().max() > 0.1


def test_dropout_in_a_wrapped_head_is_the_same_when_recomputed() -> None:
    linear = nn.Linear(H, V, bias=False).requires_grad_(False)
    made = Head(nn.Sequential(nn.Dropout(0.5), linear))
    made.module.out_features = V  # type: ignore[assignment]
    hidden, targets, _ = rows()
    torch.manual_seed(3)
    found = token_logprobs(hidden, targets, made)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)

    torch.manual_seed(3)
    wanted = made.module(hidden).log_softmax(-1)[range(N), targets]

    assert torch.allclose(gradient, torch.autograd.grad(wanted.sum(), hidden)[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_it_computes_in_half_precision(dtype: torch.dtype) -> None:
    made = head(dtype)
    hidden, targets, weights = rows()
    logps, gradient = expected(hidden, targets, weights, made)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, entropies = token_logprobs(hidden, targets, made, statistics=True)
        stock = made.module(hidden).float().log_softmax(-1)
    back((found * weights).sum())

    assert (found.dtype, hidden.grad is not None and hidden.grad.dtype) == (torch.float32,) * 2
    assert (found - stock[range(N), targets]).abs().max() < 1e-5  # the same logits
    assert (entropies + (stock.exp() * stock).sum(-1)).abs().max() < 1e-4
    assert away(found, logps) > 1e-5  # and they were rounded
    assert hidden.grad is not None
    assert away(hidden.grad, gradient) < 0.02


def test_a_head_wider_or_narrower_than_the_hidden_states() -> None:
    for mine, other in ((torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)):
        made, (hidden, targets, weights) = head(other), rows(mine)
        logps, gradient = expected(hidden, targets, weights, made)
        found = token_logprobs(hidden, targets, made)
        (given,) = torch.autograd.grad(found @ weights, hidden)
        assert given.dtype == mine
        assert away(found, logps) < 0.01
        assert away(given, gradient) < 0.02


def test_huge_logits_are_not_nan() -> None:
    for trained in (False, True):
        made = head(scale=3000.0, trained=trained)
        hidden, targets, _ = rows()
        logits = whole(hidden.detach().double(), made)
        assert logits.abs().max() > 1e4
        targets[: N // 2] = logits.argmax(-1)[: N // 2]
        found = token_logprobs(hidden, targets, made, 4000)
        back(found.sum())
        assert found.isfinite().all()
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all()
        assert away(found, logits.log_softmax(-1)[range(N), targets]) < 1e-6


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("wrong", [-100, -1, V, 2**40])
def test_a_target_outside_the_vocabulary_is_named(wrong: int, trained: bool) -> None:
    hidden, targets, _ = rows()
    targets[5] = wrong
    with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary of {V}"):
        token_logprobs(hidden, targets, head(trained=trained))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("wrong", [-100, V])
def test_where_targets_cannot_be_looked_at_a_wrong_one_is_nan(wrong: int, trained: bool) -> None:
    class Elsewhere(Tensor):
        """Stands for a tensor on a card."""

    hidden, targets, _ = rows()
    targets[5] = wrong
    found = token_logprobs(hidden, targets.as_subclass(Elsewhere), head(trained=trained), 4000)
    assert found.isnan().nonzero().tolist() == [[5]]


@pytest.mark.parametrize("trained", [False, True])
def test_no_rows(trained: bool) -> None:
    hidden, targets, _ = rows(count=0)
    found, entropies = token_logprobs(hidden, targets, head(trained=trained), statistics=True)
    back(found.sum())
    assert found.shape == entropies.shape == (0,)
    assert hidden.grad is not None
    assert hidden.grad.shape == (0, H)


def test_a_second_derivative_is_refused() -> None:
    hidden, targets, _ = rows()
    found = token_logprobs(hidden, targets, head())
    (first,) = torch.autograd.grad(found.square().sum(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        back(first.sum())


@pytest.mark.parametrize("kind", ["frozen", "trained", "hooked"])
def test_memory_is_a_tile_and_a_vector_a_row(kind: str) -> None:
    count, width, words, tile = 400, 16, 20_000, 2**20
    trained = kind == "trained"
    linear = nn.Linear(width, words, bias=False).requires_grad_(trained)
    if kind == "hooked":
        linear.register_forward_hook(lambda module, given, made: made)
    assert Head(linear).frozen is (kind == "frozen")
    hidden = torch.randn(count, width, requires_grad=True)
    targets = torch.randint(0, words, (count,))
    called = 0 if kind == "frozen" else linear.weight.nbytes

    with PeakBytes() as memory:
        back(token_logprobs(hidden, targets, Head(linear), tile).sum())

    assert count * words * 4 > 30 * tile  # what the logits would take
    bound = tile + 8 * hidden.nbytes + 200 * count  # kept vectors, and some numbers a row
    assert memory.peak < bound + 3 * called, memory.at


def test_nothing_is_stored_without_gradients() -> None:
    linear = nn.Linear(512, 300, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(800, 512), torch.randint(0, 300, (800,))
    wanted = linear(hidden).log_softmax(-1)[range(800), targets]
    with PeakBytes() as memory:
        quiet = token_logprobs(hidden, targets, Head(linear), 2**16)
        with torch.no_grad():
            silent = token_logprobs(hidden.requires_grad_(), targets, Head(linear), 2**16)
    assert memory.peak < 2**16 + 200 * 800 < hidden.nbytes
    for found in (quiet, silent):
        assert not found.requires_grad
        assert torch.allclose(found, wanted, atol=1e-5)


def test_fake_tensors_go_the_same_way() -> None:
    """Memory is estimated by running on tensors that have no values."""
    with FakeTensorMode():
        linear = nn.Linear(16, 5000, bias=False).requires_grad_(False)
        hidden = torch.randn(50, 16, requires_grad=True)
        made = Head(linear)
        assert made.frozen
        back(token_logprobs(hidden, torch.zeros(50, dtype=torch.long), made).sum())
        assert hidden.grad is not None


def test_what_is_not_plain_is_not_frozen() -> None:
    hooked = nn.Linear(H, V).requires_grad_(False)
    hooked.register_forward_hook(lambda module, given, made: made * 2)
    bias_only = nn.Linear(H, V).requires_grad_(False)
    bias_only.bias.requires_grad_(True)

    class Own(nn.Linear):
        pass

    assert not Head(hooked).frozen
    assert not Head(bias_only).frozen
    assert not Head(Own(H, V).requires_grad_(False)).frozen
    integers = nn.Linear(H, V, bias=False).requires_grad_(False)
    integers.weight = nn.Parameter(torch.zeros(V, H, dtype=torch.int8), requires_grad=False)
    assert not Head(integers).frozen


# xlstm, which needs its own kernels, and those with pictures are covered by their config alone.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "phi": {},  # a bias
    "gemma2": {"final_logit_softcapping": 0.5},
    "gemma3_text": {"final_logit_softcapping": 0.5},
    "cohere2": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 8.0},
    "hyperclovax": {"logits_scaling": 3.0},
    "minicpm3": {
        "dim_model_base": 16,
        "q_lora_rank": 16,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
    },
    "falcon_h1": {
        "lm_head_multiplier": 0.3,
        "mamba_d_ssm": 64,
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 16,
    },
    "recurrent_gemma": {"logits_soft_cap": 0.5, "lru_width": 32, "num_hidden_layers": 3},
    "nanochat": {"final_logit_softcapping": 0.5},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_model(family: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]})
    model = AutoModelForCausalLM.from_config(config).eval()
    made = head_of(model)
    ids = torch.randint(3, 60, (1, 7))
    with torch.no_grad():
        for parameter in made.module.parameters():
            parameter.normal_()
        hidden = model.base_model(ids).last_hidden_state
        logits = model(ids).logits.float()
        assert (made.bend(made.module(hidden)) - logits).abs().max() < 1e-5
        plain = made.module(hidden)
    assert torch.allclose(plain, logits, atol=1e-3) is (not FAMILIES[family])


@pytest.mark.parametrize(
    ("settings", "scale", "softcap"),
    [
        ({"model_type": "xlstm", "output_logit_soft_cap": 30.0}, 1.0, 30.0),
        ({"model_type": "x", "output_multiplier": 0.5, "final_logit_softcapping": 20}, 0.5, 20.0),
        ({"model_type": "cohere", "logit_scale": None}, 1.0, None),
        ({"model_type": "gemma3_text", "final_logit_softcapping": None}, 1.0, None),
    ],
)
def test_head_of_a_configuration(
    settings: dict[str, Any], scale: float, softcap: float | None
) -> None:
    module = nn.Linear(2, 3)
    inner = SimpleNamespace(**settings)
    model = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: inner), get_output_embeddings=lambda: module
    )
    assert head_of(model) == Head(module, scale, softcap)


def test_a_model_without_a_head_is_refused() -> None:
    model = SimpleNamespace(get_output_embeddings=lambda: None)
    with pytest.raises(ValueError, match="no output embeddings"):
        head_of(model)

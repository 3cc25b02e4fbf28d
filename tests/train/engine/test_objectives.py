"""The nine losses: against their equations by hand in float64, against the installed TRL's own
code in float32, and at the extremes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from backprop_tui.core.methods import METHODS
from backprop_tui.train.engine.objectives import OBJECTIVES, Result, Sides, log1mexp

KNOBS: dict[str, dict[str, float]] = {
    "orpo": {"beta": 0.3},
    "simpo": {"beta": 2.5, "gamma": 1.4},
    "kto": {"beta": 0.2, "desirable_weight": 1.5, "undesirable_weight": 0.5},
    "dpo": {"beta": 0.2},
    "ipo": {"tau": 0.4},
    "cpo": {"beta": 0.2, "imitation_weight": 0.7},
    "slic": {"delta": 2.0, "imitation_weight": 0.3},
    "rrhf": {"imitation_weight": 0.3},
    "rdpo": {"beta": 0.2, "alpha": 0.1},
}
PAIRED = [name for name, objective in OBJECTIVES.items() if objective.data == "pairs"]
# Sums over completion tokens, and how many tokens; chosen leads in the first pair only.
CHOSEN, REJECTED = [-4.0, -9.5, -30.25], [-7.0, -6.5, -3.5]
LONG, SHORT = [5, 3, 12], [7, 4, 2]
BASE_CHOSEN, BASE_REJECTED = [-5.0, -9.0, -31.0], [-6.0, -7.0, -3.25]
APART, BASE_APART = [-20.0, -11.0, -8.0], [-22.5, -12.0, -8.5]


def sides(chosen: Any, rejected: Any, mismatched: Any = None, **of: Any) -> Sides:
    """Lists as tensors, float64 unless told otherwise."""
    of.setdefault("dtype", torch.float64)
    apart = None if mismatched is None else torch.tensor(mismatched, **of)
    return Sides(torch.tensor(chosen, **of), torch.tensor(rejected, **of), apart)


def computed(name: str, dtype: torch.dtype = torch.float64) -> Result:
    """The objective on the numbers above."""
    policy = sides(CHOSEN, REJECTED, APART, dtype=dtype)
    reference = sides(BASE_CHOSEN, BASE_REJECTED, BASE_APART, dtype=dtype)
    lengths = sides(LONG, SHORT, dtype=torch.int64)
    return OBJECTIVES[name].loss(policy, lengths, reference, KNOBS[name])


# --- By hand: one pair at a time, in Python's floats


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_odds(mean: float) -> float:
    return math.log(math.exp(mean) / (1 - math.exp(mean)))


def by_hand(name: str, w: float, l: float, base_w: float, base_l: float, m: int, n: int) -> float:  # noqa: E741
    """The equation of methods.md for sums w, l, the base's sums and m, n tokens."""
    k = KNOBS[name]
    match name:
        case "orpo":
            return -w / m - k["beta"] * math.log(sigma(log_odds(w / m) - log_odds(l / n)))
        case "simpo":
            return -math.log(sigma(k["beta"] * (w / m - l / n) - k["gamma"]))
        case "dpo":
            return -math.log(sigma(k["beta"] * ((w - base_w) - (l - base_l))))
        case "ipo":
            return ((w - base_w) / m - (l - base_l) / n - 1 / (2 * k["tau"])) ** 2
        case "cpo":
            return -math.log(sigma(k["beta"] * (w - l))) - k["imitation_weight"] * w / m
        case "slic":
            return max(0, k["delta"] - w + l) - k["imitation_weight"] * w
        case "rrhf":
            return max(0, -w / m + l / n) - k["imitation_weight"] * w
        case "rdpo":
            ratios = (w - base_w) - (l - base_l)
            return -math.log(sigma(k["beta"] * ratios + k["alpha"] * (m - n)))
    raise AssertionError(name)


@pytest.mark.parametrize("name", PAIRED)
def test_a_paired_loss_is_its_equation(name: str) -> None:
    rows = zip(CHOSEN, REJECTED, BASE_CHOSEN, BASE_REJECTED, LONG, SHORT, strict=True)
    expected = [by_hand(name, *row) for row in rows]
    assert computed(name).losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_kto_is_its_equation_good_rows_first() -> None:
    beta = KNOBS["kto"]["beta"]
    z0 = sum(a - b for a, b in zip(APART, BASE_APART, strict=True)) / 3
    good = [
        1.5 * (1 - sigma(beta * (p - b - z0))) for p, b in zip(CHOSEN, BASE_CHOSEN, strict=True)
    ]
    bad = [
        0.5 * (1 - sigma(beta * (z0 - (p - b))))
        for p, b in zip(REJECTED, BASE_REJECTED, strict=True)
    ]
    found = computed("kto")
    assert found.losses.tolist() == pytest.approx(good + bad, rel=1e-12)
    assert found.kl is not None
    assert found.kl.item() == pytest.approx(z0) == 4 / 3


def test_ktos_drift_is_clamped_at_zero_and_has_no_gradient() -> None:
    policy = sides([-4.0], [-7.0], BASE_APART, requires_grad=True)
    reference = sides([-4.0], [-7.0], APART)  # the policy likes mismatched answers less
    found = OBJECTIVES["kto"].loss(policy, sides([3], [3]), reference, KNOBS["kto"])
    assert found.kl is not None
    assert found.kl.item() == 0
    assert found.losses.tolist() == pytest.approx([0.75, 0.25])
    assert policy.mismatched is not None
    (pull,) = torch.autograd.grad(found.losses.sum(), policy.mismatched, allow_unused=True)
    assert pull is None


REWARDS: dict[str, Callable[[float, float, int], float]] = {
    "orpo": lambda p, _base, n: 0.3 * p / n,
    "simpo": lambda p, _base, n: 2.5 * p / n,
    "kto": lambda p, base, _n: 0.2 * (p - base),
    "dpo": lambda p, base, _n: 0.2 * (p - base),
    "ipo": lambda p, base, _n: 0.4 * (p - base),
    "cpo": lambda p, _base, _n: 0.2 * p,
    "slic": lambda p, _base, _n: p,
    "rrhf": lambda p, _base, n: p / n,
    "rdpo": lambda p, base, _n: 0.2 * (p - base),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_rewards_are_what_is_compared(name: str) -> None:
    found = computed(name)
    for rewards, sums, base, lengths in (
        (found.chosen_rewards, CHOSEN, BASE_CHOSEN, LONG),
        (found.rejected_rewards, REJECTED, BASE_REJECTED, SHORT),
    ):
        expected = [REWARDS[name](*row) for row in zip(sums, base, lengths, strict=True)]
        assert rewards.tolist() == pytest.approx(expected)
        assert not rewards.requires_grad


@pytest.mark.parametrize("name", OBJECTIVES)
def test_whether_it_divides_by_length_is_as_said(name: str) -> None:
    policy, reference = sides([-8.0], [-8.0], [-1.0]), sides([0.0], [0.0], [0.0])
    found = OBJECTIVES[name].loss(policy, sides([2], [4]), reference, KNOBS[name])
    ratio = (found.chosen_rewards / found.rejected_rewards).item()
    assert ratio == pytest.approx({"mean": 2.0, "sum": 1.0}[OBJECTIVES[name].reward])


def test_rdpo_learns_less_from_a_longer_chosen_answer() -> None:
    pulls = []
    for longer in (20, 10, 5):
        policy = sides([-9.0], [-9.0], requires_grad=True)
        lengths = sides([longer], [10])
        loss = OBJECTIVES["rdpo"].loss(policy, lengths, sides([-9.0], [-9.0]), KNOBS["rdpo"]).losses
        (pull,) = torch.autograd.grad(loss.sum(), policy.chosen)
        pulls.append(-pull.item())
    assert 0 < pulls[0] < pulls[1] < pulls[2]
    assert pulls[1] == pytest.approx(KNOBS["rdpo"]["beta"] / 2)  # dpo's, where lengths are equal


# --- Against the installed TRL, float32: losses, rewards and gradients


class Stand(SimpleNamespace):
    """What TRL's loss functions read from their trainer: one process, on a CPU."""

    def __init__(self, **own: Any) -> None:
        same = SimpleNamespace(
            device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
        )
        super().__init__(
            accelerator=same,
            model=SimpleNamespace(training=True),
            label_smoothing=0.0,
            aux_loss_enabled=False,
            precompute_ref_logps=True,
            _metrics={"train": defaultdict(list)},
            _total_train_tokens=0,
            _tp_size=1,
            **own,
        )


def spread(sums: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Sums as per-token log-probabilities [rows, longest], all on the first, and the mask of a
    one-token prompt and the answer [rows, 1 + longest]."""
    places = torch.arange(int(lengths.max()))[None]
    mask = places < lengths[:, None]
    tokens = sums[:, None] * (places == 0)
    return tokens, torch.cat((torch.zeros(len(sums), 1, dtype=torch.bool), mask), dim=1)


def told(tokens: Tensor) -> Callable[..., Any]:
    """A model that has these log-probabilities, and nothing else to say."""
    nothing = torch.zeros_like(tokens)
    answer = SimpleNamespace(
        log_probs=tokens, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )
    return lambda **_named: answer


def trl_means(policy: Sides, lengths: Sides) -> tuple[Tensor, Tensor]:
    return policy.chosen / lengths.chosen, policy.rejected / lengths.rejected


def trl_orpo(policy: Sides, lengths: Sides, _reference: Sides) -> tuple[Tensor, Any]:
    means = trl_means(policy, lengths)
    stand = Stand(beta=KNOBS["orpo"]["beta"])
    losses, chosen, rejected, *_ = ORPOTrainer.odds_ratio_loss(stand, *means)
    return (-means[0] - losses).mean(), (chosen, rejected)


def trl_simpo(policy: Sides, lengths: Sides, _reference: Sides) -> tuple[Tensor, Any]:
    k = KNOBS["simpo"]
    stand = Stand(alpha=0.0, beta=k["beta"], simpo_gamma=k["gamma"], loss_type="simpo")
    losses, *rewards = CPOTrainer.cpo_loss(stand, *trl_means(policy, lengths))
    return losses.mean(), rewards


def trl_cpo(policy: Sides, lengths: Sides, _reference: Sides) -> tuple[Tensor, Any]:
    """TRL's imitation term is the mean over all tokens of a batch: ours where rows are equal."""
    stand = Stand(alpha=0.0, beta=KNOBS["cpo"]["beta"], loss_type="sigmoid")
    losses, *rewards = CPOTrainer.cpo_loss(stand, policy.chosen, policy.rejected)
    imitation = policy.chosen / lengths.chosen
    return (losses - KNOBS["cpo"]["imitation_weight"] * imitation).mean(), rewards


def trl_dpo(
    policy: Sides, lengths: Sides, reference: Sides, kind: str = "sigmoid", beta: float = 0.2
) -> tuple[Tensor, Any]:
    tokens, mask = spread(torch.cat(policy[:2]), torch.cat(lengths[:2]))
    inputs = {
        "input_ids": torch.zeros_like(mask, dtype=torch.int64),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": reference.chosen,
        "ref_rejected_logps": reference.rejected,
    }
    stand = Stand(
        beta=beta,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        use_weighting=False,
    )
    loss = DPOTrainer._compute_loss(stand, told(tokens), inputs, return_outputs=False)
    logged = stand._metrics["train"]
    return loss, (logged["rewards/chosen"], logged["rewards/rejected"])


def trl_ipo(policy: Sides, lengths: Sides, reference: Sides) -> tuple[Tensor, Any]:
    return trl_dpo(policy, lengths, reference, "ipo", KNOBS["ipo"]["tau"])


def trl_kto(policy: Sides, lengths: Sides, reference: Sides) -> tuple[Tensor, Any]:
    k = KNOBS["kto"]
    tokens, mask = spread(torch.cat(policy[:2]), torch.cat(lengths[:2]))
    good = len(policy.chosen)
    inputs = {
        "input_ids": torch.zeros_like(mask, dtype=torch.int64),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "label": torch.tensor([True] * good + [False] * (len(mask) - good)),
        "ref_logps": torch.cat(reference[:2]),
        "ref_KL_logps": reference.mismatched,
    }
    stand = Stand(
        **k,
        loss_type="kto",
        calculate_KL=True,
        _compute_kl_logps=lambda _model, _batch: policy.mismatched,
    )
    loss = KTOTrainer._compute_loss(stand, told(tokens), inputs, return_outputs=False)
    logged = stand._metrics["train"]
    return loss, (logged["rewards/chosen"], logged["rewards/rejected"])


TRL: dict[str, Callable[[Sides, Sides, Sides], tuple[Tensor, Any]]] = {
    "orpo": trl_orpo,
    "simpo": trl_simpo,
    "kto": trl_kto,
    "dpo": trl_dpo,
    "ipo": trl_ipo,
    "cpo": trl_cpo,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", TRL)
def test_trl_computes_the_same(name: str, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    lengths = Sides(*(torch.randint(1, 200, (8,), generator=draw) for _ in range(2)))
    sums = [-torch.rand(8, generator=draw) * 2 * n for n in (*lengths[:2], lengths.chosen)]
    policy = Sides(*(one.requires_grad_() for one in sums))
    near = (one.detach() + torch.randn(8, generator=draw) for one in sums)
    reference = Sides(*near)
    ours = OBJECTIVES[name].loss(policy, lengths, reference, KNOBS[name])
    theirs, rewards = TRL[name](policy, lengths, reference)
    torch.testing.assert_close(ours.losses.mean(), theirs, rtol=1e-5, atol=1e-6)
    for mine, logged in zip((ours.chosen_rewards, ours.rejected_rewards), rewards, strict=True):
        mean = sum(logged) / len(logged)
        assert mine.mean().item() == pytest.approx(float(mean), rel=1e-5, abs=1e-6)
    pulls = [
        torch.autograd.grad(loss, policy[:2], retain_graph=True)
        for loss in (ours.losses.mean(), theirs)
    ]
    for mine, pull in zip(*pulls, strict=True):
        torch.testing.assert_close(mine, pull, rtol=1e-5, atol=1e-7)


def test_every_method_trl_has_is_held_against_it() -> None:
    assert {name for name in OBJECTIVES if METHODS[name].trl} == TRL.keys()


# --- The extremes

SUMS = [0.0, -1e-9, -1e-7, -1e-3, -1.0, -1e4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_is_ever_not_finite(name: str, dtype: torch.dtype) -> None:
    """Every pair of extreme sums, the same ones among them, one token or many."""
    chosen, rejected = zip(*((a, b) for a in SUMS for b in SUMS), strict=True)
    for tokens in (1, 1000):
        policy = sides(chosen, rejected, chosen, dtype=dtype, requires_grad=True)
        reference = sides(rejected, chosen, rejected, dtype=dtype)
        lengths = sides([tokens] * len(chosen), [1] * len(chosen), dtype=torch.int64)
        found = OBJECTIVES[name].loss(policy, lengths, reference, KNOBS[name])
        assert found.losses.dtype == (dtype if dtype == torch.float64 else torch.float32)
        for values in (found.losses, found.chosen_rewards, found.rejected_rewards):
            assert values.isfinite().all()
        pulls = torch.autograd.grad(found.losses.float().mean(), policy[:2])
        assert all(pull.isfinite().all() for pull in pulls)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_that_of_the_loss(name: str) -> None:
    lengths, reference = sides(LONG, SHORT), sides(BASE_CHOSEN, BASE_REJECTED, BASE_APART)

    def losses(chosen: Tensor, rejected: Tensor) -> Tensor:
        apart = torch.tensor(APART, dtype=torch.float64)
        policy = Sides(chosen, rejected, apart)
        return OBJECTIVES[name].loss(policy, lengths, reference, KNOBS[name]).losses

    policy = sides(CHOSEN, REJECTED, requires_grad=True)
    assert torch.autograd.gradcheck(losses, policy[:2])


@pytest.mark.parametrize(("good", "bad"), [(0, 2), (2, 0), (0, 1), (1, 0)])
def test_kto_bears_one_side_empty(good: int, bad: int) -> None:
    policy = sides([-4.0] * good, [-7.0] * bad, [-1.0], requires_grad=True)
    reference = sides([-4.0] * good, [-7.0] * bad, [-1.0])
    found = OBJECTIVES["kto"].loss(policy, sides([3] * good, [3] * bad), reference, KNOBS["kto"])
    assert found.losses.tolist() == pytest.approx([0.75] * good + [0.25] * bad)
    assert (len(found.chosen_rewards), len(found.rejected_rewards)) == (good, bad)
    pulls = torch.autograd.grad(found.losses.mean(), policy[:2])
    assert all(pull.isfinite().all() for pull in pulls)


def test_kto_without_mismatched_rows_takes_no_drift() -> None:
    policy = sides([-4.0], [-7.0], [])
    found = OBJECTIVES["kto"].loss(policy, sides([3], [3]), policy, KNOBS["kto"])
    assert found.kl is not None
    assert found.kl.item() == 0


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if OBJECTIVES[name].reference])
def test_a_missing_reference_is_said(name: str) -> None:
    policy = sides([-4.0], [-7.0], [-1.0])
    with pytest.raises(ValueError, match="frozen base"):
        OBJECTIVES[name].loss(policy, sides([3], [3]), None, KNOBS[name])


def test_kto_says_that_mismatched_answers_are_missing() -> None:
    policy = sides([-4.0], [-7.0])
    with pytest.raises(ValueError, match="mismatched"):
        OBJECTIVES["kto"].loss(policy, sides([3], [3]), policy, KNOBS["kto"])


@pytest.mark.parametrize("name", PAIRED)
def test_an_empty_answer_divides_by_nothing(name: str) -> None:
    policy = sides([0.0], [-7.0], requires_grad=True)
    found = OBJECTIVES[name].loss(policy, sides([0], [3]), sides([0.0], [-7.0]), KNOBS[name])
    assert found.losses.isfinite().all()


def test_log1mexp_is_exact_from_end_to_end() -> None:
    """Against the standard library, whose log1p and expm1 bear these arguments."""
    values = [-1e4, -700.0, -40.0, -2.0, -0.7, -0.69, -1e-3, -1e-9, -1e-15]
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    found = log1mexp(x)
    expected = [
        math.log(-math.expm1(v)) if v > -math.log(2) else math.log1p(-math.exp(v)) for v in values
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-14)
    (pull,) = torch.autograd.grad(found.sum(), x)
    slopes = [1 / math.expm1(-v) if v > -700 else math.exp(v) for v in values]
    assert pull.tolist() == pytest.approx([-slope for slope in slopes], rel=1e-12)


def test_log1mexp_at_zero_is_that_of_one_rounding_step() -> None:
    x = torch.zeros(1, requires_grad=True)
    found = log1mexp(x)
    step = torch.finfo(torch.float32).eps
    assert found.item() == pytest.approx(math.log(step))
    (pull,) = torch.autograd.grad(found.sum(), x)
    assert pull.item() == pytest.approx(-1 / step, rel=1e-3)


# --- The table


def test_objectives_are_the_preference_methods_and_agree_with_them() -> None:
    assert list(OBJECTIVES) == [name for name in METHODS if name != "sft"]
    for name, objective in OBJECTIVES.items():
        method = METHODS[name]
        assert objective.reference == method.reference
        assert method.shapes[0] == {"pairs": "paired", "labels": "unpaired"}[objective.data]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_knobs_of_the_run_file_are_all_it_reads(name: str) -> None:
    knobs = {knob.name: knob.default for knob in METHODS[name].knobs}
    read: set[str] = set()

    class Watched(dict[str, float]):
        def __getitem__(self, key: str) -> float:
            read.add(key)
            return super().__getitem__(key)

    policy = sides(CHOSEN, REJECTED, APART)
    OBJECTIVES[name].loss(policy, sides(LONG, SHORT), policy, Watched(knobs))
    assert read == knobs.keys()

"""The rule of an ablation, on figures made for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from backprop_tui.core.cells import CellScores, Field, Measured, Missing, cleanliness, compared
from backprop_tui.core.decision import Decision, beats, decide, lower_rank, ranked, simplicity
from backprop_tui.core.interval import Interval
from backprop_tui.core.scores import PairLogps

N = 40


def scored(margins: Sequence[float], *, start: int = 0) -> tuple[PairLogps, ...]:
    """Pairs with these margins per token; sides of unlike length, so that sums would differ."""
    return tuple(
        PairLogps(start + i, 4 * (margin - 1.0), -8.0, 4, 8) for i, margin in enumerate(margins)
    )


def margins(right: float, *, clean: bool = True) -> list[float]:
    """N margins, so many above zero; the clean ones vary less."""
    whole = int(right)
    spread = 0.01 if clean else 0.9
    found = [1.0 + spread * (-1) ** i for i in range(whole)]
    found += [0.0] if right != whole else []
    return found + [-0.05] * (N - len(found))


def cell(
    name: str,
    values: Sequence[float],
    *,
    setting: str = "",
    train: float | None = 1.0,
    start: int = 0,
) -> CellScores:
    method, _, rank = (setting or name).partition("-r")
    pairs = scored(values, start=start)
    number = int(rank) if rank else None
    return CellScores(name, setting or name, method, number, pairs, train, peers=method)


def field(*cells: CellScores, base: float | None = 20, missing: Sequence[Missing] = ()) -> Field:
    settings = list(dict.fromkeys([c.setting for c in cells] + [m.setting for m in missing]))
    return compared(settings, cells, scored(margins(base)) if base is not None else (), missing)


def sure(one: Measured, other: Measured) -> Interval:
    lead = (one.right - other.right) / N
    return lead - 0.01, lead + 0.01


def unsure(_one: Measured, _other: Measured) -> Interval:
    return -0.05, 0.1


def judged(*cells: CellScores, base: float | None = 20, interval: object = sure) -> Decision:
    return decide(field(*cells, base=base), sure if interval is sure else unsure)


# --- the figures


def test_right_margin_and_cleanliness_by_hand() -> None:
    values = [0.5, 1.5, -1.0, 0.0] * 10
    (one,) = field(cell("simpo-r8", values)).settings
    assert one.right == 25  # two of four, and a half
    assert one.margin == pytest.approx(0.25)
    mean = sum(values) / 40
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 39)
    assert one.cleanliness == pytest.approx(mean / spread)
    assert one.outcomes[0][:4] == (1.0, 1.0, 0.0, 0.5)


def test_cleanliness_does_not_see_the_scale() -> None:
    values = [0.1, 0.4, -0.2, 0.3]
    assert cleanliness([10 * v for v in values]) == pytest.approx(cleanliness(values))
    assert cleanliness([2.0, 2.0]) == math.inf
    assert cleanliness([-2.0, -2.0]) == -math.inf
    assert cleanliness([0.0, 0.0]) == 0
    with pytest.raises(ValueError, match="two margins"):
        cleanliness([1.0])


def test_the_margin_is_per_token_not_summed() -> None:
    # Summed, the rejected answer is the likelier one; per token the chosen is.
    pairs = (PairLogps(0, -10.0, -9.0, 20, 3), PairLogps(1, -10.0, -9.0, 20, 3)) * 1
    (one,) = compared(["simpo"], [CellScores("simpo", "simpo", "simpo", 8, pairs)], ()).settings
    assert pairs[0].margin < 0
    assert one.right == 2


def test_only_pairs_that_every_cell_held_out_count() -> None:
    found = field(cell("simpo-r8", margins(30)), cell("orpo-r8", margins(30), start=5))
    assert found.n == N - 5
    assert {one.n for one in found.settings} == {35}
    assert found.base is not None
    assert found.base.n == 35


def test_seeds_are_averaged() -> None:
    cells = [
        cell(f"simpo-r8-s{seed}", margins(right), setting="simpo-r8", train=float(seed))
        for seed, right in enumerate((30, 33))
    ]
    (one,) = field(*cells).settings
    assert (one.seeds, one.right, one.train_margin) == (2, 31.5, 0.5)
    assert len(one.outcomes) == 2


def test_a_setting_that_misses_a_seed_is_left_out_and_named() -> None:
    missing = [Missing("orpo-r8-s1", "orpo-r8", "failed: out of memory")]
    cells = [
        cell("orpo-r8-s0", margins(39), setting="orpo-r8"),
        cell("simpo-r8", margins(30)),
        cell("simpo-r16", margins(28, clean=False)),
    ]
    found = field(*cells, missing=missing)
    assert [one.setting for one in found.settings] == ["simpo-r8", "simpo-r16"]
    decision = decide(found, sure)
    assert decision.setting == "simpo-r8"
    assert "Left out: orpo-r8 (orpo-r8-s1 failed: out of memory)." in decision.reasons


def test_a_cell_whose_scores_are_no_numbers_does_not_take_the_pairs_from_the_others() -> None:
    found = field(
        cell("simpo-r8", margins(30)), cell("simpo-r16", margins(35)), cell("orpo-r8", [1.0, 1.0])
    )
    assert found.n == N
    assert [one.setting for one in found.settings] == ["simpo-r8", "simpo-r16"]
    assert "2 of 40" in found.left_out["orpo-r8"]


# --- the rule


def test_one_pair_more_and_a_cleaner_margin_win() -> None:
    found = judged(cell("simpo-r16", margins(31)), cell("orpo-r8", margins(30, clean=False)))
    assert (found.kind, found.setting, found.leader) == ("winner", "simpo-r16", "simpo-r16")
    assert "31 of 40 held-out pairs right against 30 of orpo-r8" in found.sentence


def test_less_than_one_pair_is_no_decision_and_the_lower_rank_is_preferred() -> None:
    found = judged(cell("simpo-r16", margins(30.5)), cell("simpo-r8", margins(30, clean=False)))
    assert (found.kind, found.setting) == ("no-decision", "simpo-r8")
    assert "less than one pair apart" in found.sentence
    assert found.leader == "simpo-r16"


def test_more_pairs_without_a_cleaner_margin_is_no_decision() -> None:
    found = judged(cell("simpo-r16", margins(33, clean=False)), cell("simpo-r8", margins(31)))
    assert (found.kind, found.setting) == ("no-decision", "simpo-r8")
    assert "simpo-r8 the cleaner margin" in found.sentence
    assert any("all that counts: simpo-r16" in reason for reason in found.reasons)


def test_a_tie_is_no_decision() -> None:
    same = margins(30)
    found = judged(cell("orpo-r16", same), cell("simpo-r8", same), cell("orpo-r8", same))
    assert (found.kind, found.setting) == ("no-decision", "orpo-r8")
    assert "orpo-r8, simpo-r8 and orpo-r16" in found.sentence
    assert found.sentence.endswith("Prefer the simpler: orpo-r8.")


def test_where_only_a_value_differs_none_is_simpler() -> None:
    alike = [
        replace(cell(name, margins(30), setting="simpo-r8"), name=name, setting=name)
        for name in ("simpo-beta2.5", "simpo-beta2")
    ]
    found = judged(*alike)
    assert (found.kind, found.setting) == ("no-decision", "simpo-beta2.5")
    assert found.sentence.endswith("None is simpler; the first in the plan is kept: simpo-beta2.5.")


def seeds(setting: str, rights: Sequence[float], *, clean: bool = True) -> list[CellScores]:
    return [
        cell(f"{setting}-s{i}", margins(right, clean=clean), setting=setting)
        for i, right in enumerate(rights)
    ]


def test_with_seeds_the_interval_decides() -> None:
    cells = [*seeds("simpo-r16", (33, 35)), *seeds("orpo-r8", (31, 30), clean=False)]
    assert judged(*cells).kind == "winner"
    found = judged(*cells, interval=unsure)
    assert (found.kind, found.setting) == ("no-decision", "orpo-r8")
    assert "may be none (-5.0 to +10.0 points)" in found.sentence


def test_with_one_seed_an_interval_over_zero_is_said_beside_the_winner() -> None:
    cells = cell("simpo-r16", margins(31)), cell("orpo-r8", margins(30, clean=False))
    found = judged(*cells, interval=unsure)
    assert found.kind == "winner"
    assert any("--seeds 3" in reason for reason in found.reasons)
    assert not any("--seeds 3" in reason for reason in judged(*cells).reasons)


def test_no_cell_beats_the_base() -> None:
    found = judged(cell("simpo-r8", margins(30)), cell("orpo-r8", margins(25)), base=30)
    assert (found.kind, found.setting) == ("no-better-than-base", None)
    assert found.sentence.startswith("No cell beats the base: it has 30 of 40")


def test_cells_that_are_no_better_than_the_base_are_named() -> None:
    found = judged(
        cell("simpo-r16", margins(35)), cell("orpo-r8", margins(22, clean=False)), base=25
    )
    assert found.setting == "simpo-r16"
    assert "orpo-r8 has no more pairs right than the base (25)." in found.reasons


def test_the_simpler_is_never_one_that_training_made_worse() -> None:
    cells = cell("simpo-r16", margins(30, clean=False)), cell("orpo-r8", margins(24))
    assert judged(*cells, base=20).setting == "orpo-r8"
    assert judged(*cells, base=26).setting == "simpo-r16"


def test_between_ranks_the_objective_may_be_decided() -> None:
    found = judged(
        cell("simpo-r16", margins(36.5)),
        cell("simpo-r8", margins(36)),
        cell("orpo-r8", margins(30, clean=False)),
        cell("orpo-r16", margins(31, clean=False)),
    )
    assert (found.kind, found.setting) == ("no-decision", "simpo-r8")
    assert any("The objective is decided" in reason for reason in found.reasons)


def test_equal_on_held_out_rows_with_a_lower_train_margin_prefers_the_lower_rank() -> None:
    high = cell("simpo-r16", margins(30), train=2.0)
    low = cell("simpo-r8", margins(30), train=1.5)
    found = judged(high, low)
    assert found.setting == "simpo-r8"
    assert any("prefer the lower rank" in reason for reason in found.reasons)
    assert [(a.setting, b.setting) for a, b in lower_rank(field(high, low))] == [
        ("simpo-r8", "simpo-r16")
    ]
    assert lower_rank(field(high, cell("simpo-r8", margins(30), train=2.5))) == []
    assert lower_rank(field(high, cell("orpo-r8", margins(30), train=1.0))) == []
    assert lower_rank(field(high, cell("simpo-r8", margins(28), train=1.0))) == []


def test_a_base_that_was_not_scored_is_said() -> None:
    cells = cell("simpo-r16", margins(31)), cell("orpo-r8", margins(30, clean=False))
    found = judged(*cells, base=None)
    assert found.setting == "simpo-r16"
    assert any("base was not scored" in reason for reason in found.reasons)
    assert not any("base was not scored" in reason for reason in judged(*cells).reasons)


def test_too_few_pairs_decide_nothing() -> None:
    few = [1.0] * 19
    found = decide(compared(["simpo", "orpo"], [cell("simpo", few), cell("orpo", few)], ()), sure)
    assert (found.kind, found.setting) == ("not-comparable", None)
    assert "only 19 held-out pairs" in found.sentence


def test_one_setting_left_is_no_comparison() -> None:
    missing = [Missing("orpo-r8", "orpo-r8", "failed: out of memory")]
    found = decide(field(cell("simpo-r8", margins(30)), missing=missing), sure)
    assert found.kind == "not-comparable"
    assert "simpo-r8 is the only setting" in found.sentence
    assert len(found.reasons) == 1


def test_nothing_scored_is_no_decision() -> None:
    found = decide(compared(["a"], [], (), [Missing("a", "a", "is not finished")]), sure)
    assert found.kind == "not-comparable"
    assert found.reasons == ("Left out: a (a is not finished).",)


# --- order


def test_simpler_is_lower_rank_then_no_reference_then_fewer_knobs() -> None:
    same = margins(30)
    found = field(
        *(cell(name, same) for name in ("dpo-r8", "simpo-r8", "orpo-r16", "orpo-r8", "rrhf"))
    )
    order = simplicity(found)
    assert sorted(order, key=order.__getitem__) == [
        *("orpo-r8", "simpo-r8", "dpo-r8", "orpo-r16"),
        "rrhf",  # every weight is trained
    ]


def test_the_order_does_not_depend_on_how_the_cells_come() -> None:
    cells = [
        cell("simpo-r16", margins(30)),
        cell("simpo-r8", margins(30)),
        cell("orpo-r8", margins(31)),
    ]
    first = [one.setting for one in ranked(field(*cells))]
    assert first == ["orpo-r8", "simpo-r8", "simpo-r16"]
    assert first == [one.setting for one in ranked(field(*reversed(cells)))]


def test_a_lead_of_exactly_one_pair_counts() -> None:
    one, other = field(cell("simpo", margins(31)), cell("orpo", margins(30, clean=False))).settings
    assert beats(one, other, None)
    assert not beats(other, one, None)
